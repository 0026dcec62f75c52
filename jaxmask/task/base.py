"""The base network of a learned task: found, read, and checked against its fingerprint."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flax import traverse_util

from jaxmask import maskfile, model
from jaxmask.errors import InputError
from jaxmask.model import bert, checkpoint, outside, pretrained, transformer
from jaxmask.model import weights as weights_file


class Found(NamedTuple):
    """A base network.

    Attributes:
      variables: {"params", "batch_stats"}, nested dicts; without the head if that is the task's.
      layout: the kind of PyTorch names in its file; "" if they are this package's.
      names: {plain name: name in its file} of PyTorch names.
      place: its file.
    """

    variables: dict[str, Any]
    layout: str
    names: Mapping[str, str]
    place: Path


def find(path: Path, about: Mapping[str, Any], wanted: maskfile.Base | None, base: str) -> Found:
    """The base network of a task.

    Args:
      path: of the task's file.
      about: the file's metadata.
      wanted: the base that the file names.
      base: where the weights are; "" for those of the run that contains the file, or, if these
        are others or there are none, those that it names.

    Raises:
      InputError: the file has no task, or the weights are not found or do not match.
    """
    name, width, stem = about.get("network"), about.get("width"), about.get("stem", "")
    known = isinstance(name, str) and isinstance(width, int | float) and isinstance(stem, str)
    if not known or wanted is None:
        raise InputError(
            f"{path} has a mask but no task: its header lacks the network, width or base; "
            "give a file that the recipe 'adapt' wrote"
        )
    named = about.get("start", "")
    if not isinstance(named, str) or named in ("random", "pretrain"):
        named = ""
    sources = [base] if base else [each for each in (_beside(path), named) if each]
    if not sources:
        raise InputError(f"the base weights of {path} are not with it; give them: --base=PATH")
    for source in sources:
        if checkpoint.is_path(source) and not os.path.exists(source):
            raise InputError(f"there are no weights at {source}; give them: --base=PATH")
        if found := _matching(source, about, wanted):
            return found
    raise InputError(
        f"{path} was learned over another network than {sources[0]}: the fingerprints of the "
        "weights differ; give its own base weights: --base=PATH"
    )


def _matching(source: str, about: Mapping[str, Any], wanted: maskfile.Base) -> Found | None:
    """The network at a place, if it is the one wanted."""
    layout: str = ""
    names: dict[str, str] = {}
    if pretrained.is_ours(source):
        place = Path(source) / weights_file.NAME if Path(source).is_dir() else Path(source)
        weights = traverse_util.unflatten_dict(checkpoint.read_safetensors(place), sep="/")
        weights_file.check_variances(weights, place)
    else:
        weights, found = pretrained.load(
            source, about["network"], width=float(about["width"] or 1), stem=about.get("stem", ""),
            **about.get("options", {}),
        )  # fmt: skip
        layout, names, place = found["layout"], found["names"], checkpoint.find(source)
    weights = _for_images(weights, about)
    parameters = weights.get("params", {})
    without_head = {key: leaf for key, leaf in parameters.items() if key != "head"}
    # the head is part of the base network if the task has its classes
    for part in (without_head, parameters):
        bare = {"params": part, "batch_stats": weights.get("batch_stats", {})}
        if maskfile.fingerprint(bare) == wanted.fingerprint:
            return Found(bare, layout, names, place)
    return None


def _for_images(weights: dict[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """The weights with learned positions for the task's images, as when it was learned.

    Of texts, without what the task's network has no use for.
    """
    params, shape = weights.get("params", {}), about.get("image_shape")
    if options := about.get("options"):
        pool, mlm = options.get("pool", "mean"), options.get("mlm", False)
        return {**weights, "params": bert.without_unused(params, pool, mlm)[0]}
    if not shape or "position" not in params or outside.is_outside(about["network"]):
        return weights
    patch = model.create(about["network"], classes=1).patch
    return {**weights, "params": transformer.fitted(params, shape, patch)[0]}


def _beside(path: Path) -> str:
    """The base weights of the run that contains a file, or ""."""
    for folder in path.absolute().parents:
        for name in ("start.safetensors", f"pretrain/{weights_file.NAME}"):
            if (folder / name).exists() and (folder / "config.json").exists():
                return str(folder / name)
    return ""
