"""What `jaxmask.masks` knows of mask files: where they lie, what is in them, over which weights."""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util

from jaxmask import mask
from jaxmask.errors import InputError
from jaxmask.mask.codec import GIVEN_WEIGHTS
from jaxmask.mask.file import MaskFile

# in a folder of mask files, in a method's run directory, in that of `adapt`
PLACES = ("*.mask", "masks/*.mask", "*/masks/*.mask")

# compiled as a whole: each operation by itself takes twice the time for a ResNet-50
_restore = jax.jit(mask.restore, static_argnames=("rescale", "low_rank_scale"))


class Adapted(NamedTuple):
    """A network that has taken on a task.

    Attributes:
      variables: {"params", "batch_stats"}, nested dicts of arrays.
      about: the file's metadata, as `metadata` gives them.
      layout: that of the base weights, if they are PyTorch's; else "".
      inputs: the files that it was made of.
    """

    variables: dict[str, Any]
    about: dict[str, Any]
    layout: str
    inputs: list[Path]


def find(given: Sequence[Path]) -> list[Path]:
    """The mask files that paths of files and folders mean.

    Raises:
      InputError: a folder holds none.
    """
    found = []
    for path in given:
        inside = (sorted(path.glob(place)) for place in PLACES) if path.is_dir() else iter([[path]])
        files = next(filter(None, inside), [])
        if not files:
            raise InputError(f"there is no mask file in {path}; give one, or a folder of them")
        found += files
    return found


def labels(paths: Sequence[Path]) -> list[str]:
    """What tells files apart: their paths without the folders that they begin and end with alike.

    Example:
      >>> labels([Path("runs/a/masks/task.mask"), Path("runs/b/masks/task.mask")])
      ['a', 'b']
    """
    whole = [Path(os.path.abspath(path)).with_suffix("") for path in paths]
    above = os.path.commonpath([path.parent for path in whole])
    parts = [path.relative_to(above).parts for path in whole]
    while min(map(len, parts)) > 1 and len({each[-1] for each in parts}) == 1:
        parts = [each[:-1] for each in parts]
    return ["/".join(each) for each in parts]


def leaves(tree: Any) -> dict[str, np.ndarray]:
    """The arrays of a nested dict by their paths."""
    return {
        path: np.asarray(leaf) for path, leaf in traverse_util.flatten_dict(tree, sep="/").items()
    }


def metadata(texts: dict[str, str]) -> dict[str, Any]:
    """A file's metadata: what is JSON read as such, and all else as the text that it is."""
    found: dict[str, Any] = {}
    for name, text in texts.items():
        try:
            found[name] = json.loads(text, parse_constant=lambda _: None)  # a loss may be NaN
        except (ValueError, RecursionError):
            found[name] = text
    return found


def summary(path: Path, base: str) -> dict[str, Any]:
    """What is in a file, ready for JSON; the "kept" are those on, of masks of signs the +."""
    header = mask.file.read_header(path)
    file = _read(path, header, base)
    shapes = header["leaves"]
    kept = {name: int((leaf > 0).sum()) for name, leaf in leaves(file.masks).items()}
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    stored, bits, on = header["bytes"], sum(sizes.values()), sum(kept.values())
    return {
        "file": str(path),
        "base": file.base and file.base._asdict(),
        "kind": file.kind,
        "codec": file.codec,
        "version": file.version,
        "metadata": metadata(file.metadata),
        "bits": bits,
        "kept": on,
        "density": on / bits if bits else None,
        "stored_bits_a_weight": 8 * stored["masks"] / bits if bits else None,
        "masks": [
            {"path": name, "shape": shape, "bits": sizes[name], "kept": kept[name],
             "density": kept[name] / max(sizes[name], 1)}
            for name, shape in shapes.items()
        ],
        "arrays": [
            {"path": name, "shape": shape, "dtype": dtype}
            for name, (shape, dtype) in header["arrays"].items()
        ],
        "bytes": {"header": stored["file"] - stored["masks"] - stored["arrays"], **stored},
    }  # fmt: skip


def read(path: Path, base: str) -> MaskFile:
    """A mask file; the base weights are looked for if its masks are coded given them."""
    return _read(path, mask.file.read_header(path), base)


def _read(path: Path, header: dict[str, Any], base: str) -> MaskFile:
    if header["codec"] != GIVEN_WEIGHTS:
        return mask.file.read(path)
    return mask.file.read(path, weights=base_of(path, header, base)[0]["params"])


def read_alike(paths: Sequence[Path], base: str) -> list[MaskFile]:
    """Two or more files of one base network and the same leaves.

    A file that names no base network is taken to be for that of the others.

    Raises:
      InputError: naming two files that do not go together.
    """
    if len(paths) < 2:
        raise InputError(f"{paths[0]} is one mask file; give two or more")
    files = [read(path, base) for path in paths]
    told = [(path, file.base) for path, file in zip(paths, files) if file.base]
    for path, base_of in told[1:]:
        if base_of.fingerprint != told[0][1].fingerprint:
            both = " and ".join(
                f"{where} (over {what.name}, {what.fingerprint[:12]})"
                for where, what in (told[0], (path, base_of))
            )
            raise InputError(f"{both} are for different base networks; give masks of one")
    shapes = [{name: leaf.shape for name, leaf in leaves(file.masks).items()} for file in files]
    for path, named in zip(paths, shapes):
        if not named:
            raise InputError(f"{path} holds no mask; leave it out")
        for name in sorted(shapes[0].keys() | named.keys()):
            if shapes[0].get(name) != named.get(name):
                first, other = shapes[0].get(name, "missing"), named.get(name, "missing")
                raise InputError(
                    f"{paths[0]} and {path} do not mask the same weights: {name!r} is {first} in "
                    f"the one, {other} in the other"
                )
    return files


class Counts(NamedTuple):
    """Numbers of weights for every two of some masks, arrays [masks, masks].

    Attributes:
      both: on in both.
      either: on in one of them at least.
      both_by_chance: expected on in both, were the masks independent.
      either_by_chance: expected on in one of them at least.
      equal: with equal bits.
      all: all.
    """

    both: np.ndarray
    either: np.ndarray
    both_by_chance: np.ndarray
    either_by_chance: np.ndarray
    equal: np.ndarray
    all: np.ndarray

    def shares(self) -> list[np.ndarray]:
        """Jaccard's index, that of independent masks, and the share of equal bits; 0 / 0 is 1."""
        pairs = zip(self[::2], self[1::2])
        return [np.divide(x, y, out=np.ones(x.shape), where=y > 0) for x, y in pairs]


def counted(masks: Sequence[np.ndarray]) -> Counts:
    """What every two of the masks of one leaf have in common; the positive are on."""
    size = masks[0].size
    packed = [np.packbits(leaf > 0) for leaf in masks]
    both = np.array([[np.bitwise_count(a & b).sum(dtype=np.int64) for b in packed] for a in packed])
    each = np.diag(both)
    sums = each[:, None] + each
    chance = each[:, None] * each / max(size, 1)
    equal = size - sums + 2 * both
    return Counts(both, sums - both, chance, sums - chance, equal, np.full_like(both, size))


def adapted(path: Path, base: str) -> Adapted:
    """The network that has taken on a file's task.

    Args:
      path: of the mask file.
      base: the weights that it was learned over; "" for those of the run that it lies in, or else
        those that it names.

    Raises:
      InputError: the weights are not found or are others, or the task is no network of its own.
    """
    header = mask.file.read_header(path)
    if any(name.startswith("neighbors/") for name in header["arrays"]):
        raise InputError(
            f"{path} classifies by its nearest neighbors, which no weights can hold; use it with "
            "python -m jaxmask.task"
        )
    weights, layout, source = base_of(path, header, base)
    file = mask.file.read(path, weights=weights["params"])
    about = metadata(file.metadata)
    scale = about.get("low_rank_scale", 1.0)
    if not isinstance(scale, int | float) or not math.isfinite(scale):
        raise InputError(f"{path} has a low_rank_scale of {scale!r}, not a number")
    rescale = bool(about.get("rescale", True))
    variables = _restore(
        weights, file.masks, file.arrays, rescale=rescale, low_rank_scale=float(scale)
    )
    return Adapted(variables, about, layout, [path, source])


def base_of(path: Path, header: dict[str, Any], base: str) -> tuple[dict[str, Any], str, Path]:
    """The variables that a file is for, the layout that they were in, and the file of them.

    Args:
      path: of the mask file; header: of `mask.file.read_header`.
      base: as for `adapted`.

    Raises:
      InputError: the file has no task, or the weights are not found or are others.
    """
    from jaxmask.model import checkpoint, pretrained

    about = metadata(header["metadata"])
    name, width, stem = about.get("network"), about.get("width"), about.get("stem", "")
    if not (
        isinstance(name, str)
        and isinstance(width, int | float)
        and isinstance(stem, str)
        and header["base"]
    ):
        raise InputError(
            f"{path} has a mask and no task with it: its header names no network, width and base; "
            "give a file that the recipe 'adapt' wrote"
        )
    source = base or _beside(path) or about.get("start", "")
    if not isinstance(source, str) or source in ("", "random", "pretrain"):
        raise InputError(
            f"{path} was learned over weights that are not with it; give them: --base=PATH"
        )
    if not source.startswith("hub:") and not Path(source).exists():
        raise InputError(f"there are no weights at {source}; give them: --base=PATH")
    layout = ""
    if pretrained.is_ours(source):
        place = Path(source) / "weights.safetensors" if Path(source).is_dir() else Path(source)
        weights = traverse_util.unflatten_dict(checkpoint.read_safetensors(place), sep="/")
    else:
        seen = about.get("image_shape") or [0]
        weights, found = pretrained.load(source, name, width=width, stem=stem, size=seen[0] or None)
        layout, place = found["layout"], checkpoint.find(source)
    parameters = weights.get("params", {})
    without_head = {key: leaf for key, leaf in parameters.items() if key != "head"}
    # the head is a part of the base network where the task has the classes of the base
    for part in (without_head, parameters):
        bare = {"params": part, "batch_stats": weights.get("batch_stats", {})}
        if mask.file.fingerprint(bare) == header["base"].fingerprint:
            return bare, layout, place
    raise InputError(
        f"{path} was learned over another network than {source}: the fingerprints of their "
        "weights differ; give its own: --base=PATH"
    )


def _beside(path: Path) -> str:
    """The base weights of the run that a file lies in, or ""."""
    for folder in path.absolute().parents:
        for name in ("start.safetensors", "pretrain/weights.safetensors"):
            if (folder / name).exists() and (folder / "config.json").exists():
                return str(folder / name)
    return ""
