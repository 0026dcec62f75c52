"""Names and layouts of weights in PyTorch and here: translation both ways."""

import math
import re
from collections.abc import Iterable, Mapping

import numpy as np

from jaxmask.errors import InputError
from jaxmask.model import inside
from jaxmask.model.torch_layouts import (
    COUNTERS,
    KINDS,
    PROJECTION,
    UNSUPPORTED,
    Layout,
    family,
    layout,
    layouts,
)

__all__ = ["Layout", "layout", "layouts", "misfits", "recognize", "their_name", "to_ours",
           "to_theirs", "unsupported"]  # fmt: skip

Flat = dict[str, np.ndarray]
Shape = tuple[int, ...]

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "embedding": "weight",
    "mean": "running_mean",
    "var": "running_var",
}
_FUSED = ("query", "key", "value")  # stacked in this order

_LISTED = 3  # most names of each kind in a message: another network differs in hundreds


def recognize(
    keys: Iterable[str], name: str, prefix: str | None = None
) -> tuple[str, dict[str, str]]:
    """The kind of a checkpoint for network `name`, and {plain name: key} of the network's arrays.

    Counters, other networks and names that match `Layout.dropped` are left out.

    Args:
        keys: the names in a file.
        name: one of `model.names()`.
        prefix: of the network's names, as `inside.find` gives it; None finds it.
    """
    keys, found = list(keys), family(name)
    if prefix is None:
        prefix = inside.find({"": keys}, found.body, "the checkpoint").prefix
    bare = inside.bare(keys, prefix, found.renamed)
    which = next(iter(found.layouts))
    for kind, pattern in KINDS.items():
        if kind in found.layouts and any(re.fullmatch(pattern, key) for key in keys):
            which = kind
    for kind, known in found.layouts.items():
        if known.own and any(re.fullmatch(known.own, key) for key in bare):
            which = kind
    dropped = rf"{COUNTERS}|{PROJECTION}|{found.layouts[which].dropped}"
    return which, {key: whole for key, whole in bare.items() if not re.fullmatch(dropped, key)}


def their_name(path: str, layout: Layout) -> str:
    """PyTorch's plain name of our leaf `params/...` or `batch_stats/...`."""
    module, _, leaf = path.partition("/")[2].rpartition("/")
    if not module:
        return _renamed(leaf, layout)
    return f"{_renamed(module, layout)}.{_LEAVES.get(leaf, leaf)}"


def _renamed(module: str, layout: Layout) -> str:
    for pattern, theirs in layout.modules:
        match = re.fullmatch(pattern, module)
        if match:
            return match.expand(theirs)
    raise InputError(f"{module} has no name in PyTorch")


def _parts(paths: Iterable[str], layout: Layout) -> dict[str, list[str]]:
    """{PyTorch's name: our leaves in it, in their order there}."""
    parts: dict[str, list[str]] = {}
    for path in paths:
        parts.setdefault(their_name(path, layout), []).append(path)
    for name, ours in parts.items():
        if ".qkv." in name:
            ours.sort(key=lambda path: _FUSED.index(path.split("/")[-2]))
            if len(ours) != len(_FUSED):
                raise InputError(f"{name} needs query, key and value; there is only {ours}")
    return parts


def to_theirs(flat: Mapping[str, np.ndarray], layout: Layout) -> Flat:
    """Our leaves by their paths -> PyTorch's arrays by their plain names."""
    state = {}
    for name, paths in sorted(_parts(flat, layout).items()):
        arrays = [_transposed(path, flat[path], layout) for path in paths]
        joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        # safetensors ignores the order of a view that is not contiguous
        state[name] = np.asarray(joined, order="C")
    return state


def _transposed(path: str, array: np.ndarray, layout: Layout) -> np.ndarray:
    leaf = path.rpartition("/")[2]
    if leaf == "kernel":  # [.., in, out] -> [out, in, ..]
        return np.transpose(array, (3, 2, 0, 1) if array.ndim == 4 else (1, 0))
    return array.reshape((1,) * layout.leading.get(leaf, 0) + array.shape)


def to_ours(
    state: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], layout: Layout
) -> Flat:
    """PyTorch's arrays by their plain names -> ours in float32, of the given shapes."""
    flat = {}
    for name, paths in _parts(shapes, layout).items():
        for path, array in zip(paths, np.split(state[name], len(paths)), strict=True):
            if path.endswith("/kernel"):
                array = np.transpose(array, (2, 3, 1, 0) if array.ndim == 4 else (1, 0))
            flat[path] = np.asarray(array.reshape(shapes[path]), np.float32, order="C")
    return flat


def misfits(have: Mapping[str, Shape], shapes: Mapping[str, Shape], layout: Layout) -> list[str]:
    """How arrays of shapes `have` (their names) differ from ours of `shapes`: one line per kind.

    Missing names, extra names, and names of another shape, the first of each listed.
    """
    want = _wanted(shapes, layout)
    other = [
        f"{name} {have[name]} instead of {want[name]}"
        for name in sorted(want.keys() & have.keys())
        if have[name] != want[name]
    ]
    found = []
    for what, names in (
        ("lack", sorted(want.keys() - have.keys())),
        ("also have", sorted(have.keys() - want.keys())),
        ("have", other),
    ):
        if names:
            rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            found.append(f"{what} {', '.join(names[:_LISTED])}{rest}")
    return found


def _wanted(shapes: Mapping[str, Shape], layout: Layout) -> dict[str, Shape]:
    """Our shapes by our paths -> theirs by their names."""
    # an array of one broadcast zero takes no memory
    zeros = {path: np.broadcast_to(np.int8(0), shape) for path, shape in shapes.items()}
    return {
        name: _fused_shape([_transposed(path, zeros[path], layout).shape for path in paths])
        for name, paths in _parts(shapes, layout).items()
    }


def _fused_shape(shapes: list[Shape]) -> Shape:
    return (len(shapes) * shapes[0][0], *shapes[0][1:]) if shapes[0] else ()


def unsupported(have: Mapping[str, Shape], shapes: Mapping[str, Shape], layout: Layout) -> str:
    """What a network has that ours lacks, in a few words, each with one name.

    Args:
        have: shapes by their names.
        shapes: ours by our paths.

    Returns:
        "" if nothing is known of it, or if it is not the only difference in names.
    """
    want = _parts(shapes, layout)
    parts: dict[str, str] = {}
    for name in sorted(have.keys() - want.keys()):
        what = next((what for key, what in UNSUPPORTED.items() if re.fullmatch(key, name)), None)
        if what is None:
            return ""
        parts.setdefault(what, name)
    found = [f"{what} ({name})" for what, name in parts.items()]
    token, position = (
        their_name(f"params/{leaf}", layout) if f"params/{leaf}" in shapes else ""
        for leaf in ("class_token", "position")
    )
    lacking = want.keys() - have.keys()
    if token in lacking and all(name.startswith("norm.") for name in lacking - {token}):
        found.append(f"no class token ({token})")
    elif token and not found and not lacking and not _square(have[position][-2] - 1):
        alone = "for patches alone" if _square(have[position][-2]) else "for no square of patches"
        found.append(f"positions {alone} ({position} {have[position]})")
    return " and ".join(found)


def _square(count: int) -> bool:
    return math.isqrt(max(0, count)) ** 2 == count
