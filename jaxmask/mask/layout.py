"""Guesses what the axes of a network's leaves mean, from types, names, biases and lengths.

Every function here gives the *possible* readings of a leaf; `axes` refuses those whose differences
matter. A leaf of a name that no library gives is read as one layer `[..., in, out]`, as documented.
"""

import os
import re
from collections.abc import Iterable, Mapping

import numpy as np

from jaxmask.mask.modules import EMBEDDING, Shape, Words, by_type, with_layers
from jaxmask.tree import PyTree, named_leaves

Shapes = Mapping[str, Shape]
VECTORS = ("bias", "scale")
HEADS = {"into heads": ("in", "out", "out"), "from heads": ("in", "in", "out")}
# In a path: layers that are often stacked, ...
STACKS = r"scan|vmap|stack|ensemble|expert|moe|(layers|blocks)(?![/_]\d)"
# ... and those of several inputs or outputs, or whose kernels have two axes if not stacked.
SIGNS = re.compile(
    rf"(?i){STACKS}|attn|attention|einsum|general|query|key/|value|qkv|kv\b|head|transpose|deconv"
    r"|dense|linear|fc|mlp|ffn|proj|gate|lora"
)
# modules whose kernel [in, out] has no other form: Linen's Dense, and within its recurrent cells
FLAT = re.compile(r"Dense_\d+|[ih][fgiorzn]|without heads")


def guess(tree: PyTree) -> dict[str, list[Words]]:
    """The possible readings of every leaf, by path."""
    shapes = {path: np.shape(leaf) for path, leaf in named_leaves(tree).items()}
    found = {path: list(dict.fromkeys(_by_name(path, shapes))) for path in shapes}
    for path, kinds in by_type(tree):
        if path in shapes and (known := _with_layers(kinds, shapes[path])):
            found[path] = known
    return _settled(found, shapes)


def _with_layers(kinds: Iterable[tuple[Words, Shape]], shape: Shape) -> list[Words]:
    return [words for kind in kinds for words in with_layers(kind, shape)]


def _stacked(words: Words, rank: int) -> list[Words]:
    """One layer's words with stacked layers: one axis, first or second, or more in front."""
    more = rank - len(words)
    front = ("layers",) * more + words
    return [front, (words[0], "layers", *words[1:])] if more == 1 else [front]


def _window(sides: int, *others: str) -> Words:
    return ("window",) * sides + others


def _settled(found: dict[str, list[Words]], shapes: Shapes) -> dict[str, list[Words]]:
    """Chooses between stacks along the first and the second axis, by lengths that leaves share."""
    stacks = [
        path
        for path, options in found.items()
        if len(options) > 1 and all(words.count("layers") == 1 for words in options)
    ]
    common = os.path.commonprefix([path.split("/")[:-2] for path in stacks])
    groups: dict[str, list[str]] = {}
    for path in stacks:
        own = path.split("/")[:-2][len(common) :]
        groups.setdefault("".join(own[:1]), []).append(path)
    whole = _shared(stacks, shapes)
    for paths in groups.values():
        # Leaves of several stacks may by chance be as long along the second axis.
        place = _shared(paths, shapes) if len(paths) > 1 or whole else whole
        for path in paths:
            found[path] = [words for words in found[path] if _at(words) == place] or found[path]
    return found


def _at(words: Words) -> int:
    return words.index("layers")


def _shared(paths: list[str], shapes: Shapes) -> int | None:
    """The axis, 0 or 1, along which these stacks have as many layers; None: it cannot be told."""
    alike = {axis for axis in (0, 1) if len({shapes[path][axis] for path in paths}) == 1}
    # A layer with as many inputs as outputs: the other axis counts layers.
    cubes = [shapes[path] for path in paths if len(shapes[path]) == 3]
    square = {a for a in (0, 1) for s in cubes if s[-1] == s[1 - a] != s[a]}
    sure = square if len(alike) != 1 else alike if square <= alike else set()
    return next(iter(sure)) if len(sure) == 1 else None


# by name


def _by_name(path: str, shapes: Shapes) -> list[Words]:
    shape = shapes[path]
    *folders, leaf = re.split(r"[/.]", path)
    above = path[: len(path) - len(leaf)]
    if len(shape) < 2:
        return [("out",) * len(shape)]
    if leaf in VECTORS or (leaf == "b" and above + "w" in shapes):
        return _vectors(above + ("w" if leaf == "b" else "kernel"), shapes, len(shape))
    if leaf == "embedding" or (len(shape) == 2 and "embedding" in leaf):
        return [each for words in EMBEDDING for each in _stacked(words, len(shape))]
    if re.match(r"(?i)(pos|cls|class)_?(emb|tok)", leaf):
        return [_window(len(shape) - 2, "in", "out"), ("out",) * len(shape)]
    if "weight" in path[len(above) :] or "parametrizations.weight" in path:
        return _fitting(_out_first(path, folders, leaf, shapes), path, shapes)
    options = _out_last(path, folders, shapes)
    usual = _window(len(shape) - 2, "in", "out")
    if usual in options and not SIGNS.search(path) and not _odd_window(path, shape):
        kept = _fitting(options, path, shapes)
        return [usual] if usual in kept or kept == options else kept
    return _fitting(options, path, shapes)


def _fitting(options: list[Words], path: str, shapes: Shapes) -> list[Words]:
    """The readings that the layer's bias allows, or any others that it allows, or all."""
    leaf = re.split(r"[/.]", path)[-1]
    above, shape = path[: len(path) - len(leaf)], shapes[path]
    bias = shapes.get(above + "bias") or (shapes.get(above + "b") if leaf == "w" else None)
    if bias is None:
        return options
    fits = [words for words in options if _bias(words, shape) == bias]
    others = [words for words in _any(len(shape)) if _bias(words, shape) == bias]
    return fits or others or options + _any(len(shape))


def _bias(words: Words, shape: Shape) -> Shape:
    """The shape of the bias of a kernel: its outputs, with layers at the same place."""
    outputs = [length for length, word in zip(shape, words) if word == "out"]
    layers = [length for length, word in zip(shape, words) if word == "layers"]
    place = words.index("layers") if layers else 0
    return (*outputs[:place], *layers, *outputs[place:])


def _any(rank: int) -> list[Words]:
    """Every reading of a kernel that some library has."""
    layers: list[Words] = []
    for inner in (rank, rank - 1):
        if inner == 2:
            layers += [each for words in EMBEDDING for each in _stacked(words, rank)]
        elif inner > 2:
            window = [_window(inner - 2, *order) for order in EMBEDDING]
            torch = [(*order, *_window(inner - 2)) for order in EMBEDDING]
            heads = list(HEADS.values()) if inner == 3 else []
            layers += [each for words in window + torch + heads for each in _stacked(words, rank)]
    return layers


def _vectors(kernel: str, shapes: Shapes, rank: int) -> list[Words]:
    """Of a bias with two axes or more: of stacked layers, or of several heads."""
    readings = _by_name(kernel, shapes) if kernel in shapes else []
    found = []
    for words in readings:
        layers = tuple(word for word in words if word == "layers")
        place, outputs = words.index("layers") if layers else 0, words.count("out")
        vector = ("out",) * min(place, outputs) + layers + ("out",) * max(outputs - place, 0)
        if len(vector) == rank:
            found.append(vector)
    return found or [("layers",) * (rank - n) + ("out",) * n for n in range(1, rank + 1)]


def _out_last(path: str, folders: list[str], shapes: Shapes) -> list[Words]:
    """Linen's, NNX's and Haiku's kernels: outputs last."""
    shape = shapes[path]
    rank = len(shape)
    module = _of_attention(path, folders[-1] if folders else "", shapes)
    options = [
        each
        for inner in range(rank, 1, -1)
        for words in _one_layer(module, inner)
        for each in _stacked(words, rank)
    ]
    window = _window(rank - 2, "in", "out")
    if window in options and _has_a_window(path, folders, shape):
        return [words for words in options if words.count("window") == rank - 2]
    return options or [("layers",) * (rank - 2) + ("in", "out")]


def _of_attention(path: str, module: str, shapes: Shapes) -> str:
    """The module's name; of attention's four, what the shapes beside it make of it.

    A query [features, heads, size] goes with an `out` [heads, size, features].
    """
    into = ("query", "key", "value")
    if module not in (*into, "out"):
        return module
    place = path.removesuffix(f"{module}/kernel")
    before = next((s for name in into if (s := shapes.get(f"{place}{name}/kernel"))), None)
    after = shapes.get(f"{place}out/kernel")
    if not before or not after:
        return "" if module == "out" else module
    if before[-2:] == after[-3:-1]:
        return "from heads" if module == "out" else "into heads"
    # heads of layers along the second axis
    second = len(before) == len(after) == 4 and before[-2:] == (after[0], after[2])
    return module if second else "without heads"


def _has_a_window(path: str, folders: list[str], shape: Shape) -> bool:
    """Whether equal sides are a window: nothing says that as many layers may be stacked."""
    sides = shape[:-2]
    if len(sides) < 2 or len(set(sides)) > 1 or sides[0] > 16 or re.search(f"(?i){STACKS}", path):
        return False
    named = any(re.search(r"(?i)conv|patch|stem|down", folder) for folder in folders[-1:])
    return named or sides[0] % 2 == 1


def _odd_window(path: str, shape: Shape) -> bool:
    """Whether the sides of what may be a convolution's window differ, as if one counted layers."""
    sides = shape[:-2]
    different = len(set(sides)) > 1 and min(sides) > 1
    return different and (len(sides) > 2 or bool(re.search(r"(?i)conv[^/]*/(kernel|w)$", path)))


def _one_layer(module: str, rank: int) -> list[Words]:
    """The readings of one layer's kernel, by the name of its module."""
    flat: list[Words] = [("in", "out")] if rank == 2 else []
    if flat and re.match(r"(?i)einsum|.*_einsum$", module):
        return list(EMBEDDING)  # any order
    if module in HEADS:
        return [HEADS[module]] if rank == 3 else []
    if module in ("query", "key", "value", "out"):
        return [HEADS["from heads" if module == "out" else "into heads"]] if rank == 3 else flat
    if FLAT.fullmatch(module):
        return flat
    if re.search(r"(?i)transpose|deconv", module):
        return [_window(rank - 2, *order) for order in EMBEDDING] if 3 <= rank <= 5 else []
    if re.search(r"(?i)conv", module):
        return [_window(rank - 2, "in", "out")] if 3 <= rank <= 5 else []
    several: dict[int, list[Words]] = {
        3: list(HEADS.values()),
        4: [("in", "in", "out", "out")],
    }
    return flat + ([_window(rank - 2, "in", "out")] if rank > 2 else []) + several.get(rank, [])


def _out_first(path: str, folders: list[str], leaf: str, shapes: Shapes) -> list[Words]:
    """PyTorch's weights: outputs first, then inputs and the window."""
    if "parametrizations" in folders:
        folders = folders[: folders.index("parametrizations")]
    elif not re.fullmatch(r"weight(_orig|_mask|_v|_g)?", leaf):  # in_proj_weight, weight_ih_l0
        return _stacked(("out", "in"), len(shapes[path]))
    shape, module = shapes[path], folders[-1] if folders else ""
    rank, named = len(shape), "." in path  # a state dict of PyTorch, not a dict of the user's own
    table = bool(re.search(r"(?i)embed|token|^w[tp]e$", module))
    known = any(re.search(r"(?i)conv|down|feature|layer|block|stem|patch|short|skip", f)
                for f in folders)  # fmt: skip
    if table and rank == 2:
        return list(EMBEDDING)
    orders: list[Words] = [("out", "in")]
    # The c_* are GPT-2's, with inputs first; of a convolution in a row, nothing tells its kind.
    either = re.search(r"(?i)transpose|deconv|^up|^c_(attn|fc|proj)$", module)
    if not named or either or (rank > 2 and not known and not table):
        orders.append(("in", "out"))
    options = [order + _window(rank - 2) for order in orders]
    if rank == 2:
        return options
    if not named:
        options.append(_window(rank - 2, "in", "out"))
    square = rank > 3 and len(set(shape[2:])) == 1
    flat = re.search(r"(?i)fc|linear|proj|attn|mlp|dense", module)
    if not square and (flat or not (named and known)):
        options += _stacked(("out", "in", *_window(rank - 3)), rank)
    return options
