"""The content of mask files, and the networks that they make of their base weights."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxmask import maskfile, signals
from jaxmask.adapter import KNOWN, Stored
from jaxmask.errors import InputError
from jaxmask.maskfile.codec import GIVEN_WEIGHTS
from jaxmask.model import outside
from jaxmask.task import base as bases
from jaxmask.task import file as task_file
from jaxmask.task import learned, schema
from jaxmask.tree import named_leaves


class Adapted(NamedTuple):
    """A network adapted to a task.

    Attributes:
      variables: {"params", "batch_stats"}, nested dicts of arrays.
      about: metadata of its file, by name.
      layout: the kind of PyTorch names of the base weights; "" if they have this package's.
      names: {plain name: name in their file} of PyTorch names.
      inputs: the files that it was made from.
    """

    variables: dict[str, Any]
    about: dict[str, Any]
    layout: str
    names: Mapping[str, str]
    inputs: list[Path]


def adapted(path: Path, base: str, adapters: task_file.Adapters = KNOWN) -> Adapted:
    """The base network with a file's task applied.

    Args:
      path: of the mask file.
      base: the base weights; "" for those of the run that contains the file, or else those that
        it names.
      adapters: those that the file may name.

    Raises:
      InputError: the weights are not found or do not match, or the task is not a network by
        itself.
    """
    header = maskfile.read_header(path)
    about = task_file.metadata(header["metadata"])
    merged = "merged" in about  # a mask without a task
    voters = any(name.startswith(("neighbors/", "neighbours/")) for name in header["arrays"])
    if not voters:
        schema.check(about, path, () if merged else schema.needed(about))
    if voters or learned.classifier_of(about) is not None:
        raise InputError(
            f"{path} classifies by nearest neighbors, which cannot be written as weights; use it "
            "with jaxmask task"
        )
    if learned.is_cascade(about):
        raise InputError(
            f"{path} is a cascade of networks, which are not the weights of one; use it with "
            "jaxmask task"
        )
    found = bases.find(path, about, header["base"], base)
    file = task_file.read(path, weights=found.variables["params"])
    adapter = task_file.adapter_of(file, adapters)
    if not merged and not outside.is_outside(about["network"]):
        with schema.naming(path):
            module, _ = learned.pipeline(about, len(about["classes"]))
        shapes = jax.eval_shape(lambda: task_file.put_on(found.variables, file, adapter))
        schema.check_network(about, shapes, module, path)

    # compiled as a whole: operation by operation takes twice the time for a ResNet-50
    @jax.jit
    def restored(variables: Any, masks: Any, arrays: Any, statistics: Any) -> Any:
        stored = Stored(masks, arrays, file.stored.settings)
        given = file._replace(stored=stored, batch_stats=statistics)
        return task_file.put_on(variables, given, adapter)

    stored = file.stored
    variables = restored(found.variables, stored.masks, stored.arrays, file.batch_stats)
    return Adapted(variables, file.about, found.layout, found.names, [path, found.place])


def summary(path: Path, base: str) -> dict[str, Any]:
    """The content of a file, ready for JSON; "kept" are the bits on, or + in masks of signs."""
    signals.obey()
    header = maskfile.read_header(path)
    file = _read(path, header, base)
    shapes = header["leaves"]
    kept = {name: int((leaf > 0).sum()) for name, leaf in named_leaves(file.masks).items()}
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    stored, bits, on = header["bytes"], sum(sizes.values()), sum(kept.values())
    return {
        "file": str(path),
        "base": file.base and file.base._asdict(),
        "kind": file.kind,
        "codec": file.codec,
        "version": file.version,
        "metadata": task_file.metadata(file.metadata),
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


def read(path: Path, base: str) -> maskfile.MaskFile:
    """Reads a mask file, and its base weights if its masks are coded given them."""
    signals.obey()
    return _read(path, maskfile.read_header(path), base)


def _read(path: Path, header: dict[str, Any], base: str) -> maskfile.MaskFile:
    if header["codec"] != GIVEN_WEIGHTS:
        return maskfile.read(path)
    about = task_file.metadata(header["metadata"])
    schema.check(about, path)
    weights = bases.find(path, about, header["base"], base).variables["params"]
    return maskfile.read(path, weights=weights)


def read_alike(paths: Sequence[Path], base: str) -> list[maskfile.MaskFile]:
    """Reads two or more files of one base network and the same leaves.

    A file that names no base network is assumed to have that of the others.

    Raises:
      InputError: naming two files that do not match.
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
    shapes = [{name: leaf.shape for name, leaf in named_leaves(file.masks).items()}
              for file in files]  # fmt: skip
    for path, named in zip(paths, shapes):
        if not named:
            raise InputError(f"{path} holds no mask; leave it out")
        for name in sorted(shapes[0].keys() | named.keys()):
            if shapes[0].get(name) != named.get(name):
                first, other = shapes[0].get(name, "missing"), named.get(name, "missing")
                raise InputError(
                    f"{paths[0]} and {path} do not mask the same weights: {name!r} is {first} in "
                    f"the first, {other} in the second"
                )
    return files
