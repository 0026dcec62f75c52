"""Guesses what the axes of a network's leaves mean, from types, names and biases.

Every function here gives the *possible* readings of a leaf; `axes` refuses those whose differences
matter. A leaf of a name that no library gives is read as one layer `[..., in, out]`, as documented.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxmask.tree import PyTree, named_leaves

Words = tuple[str, ...]
Shape = tuple[int, ...]
VECTORS = ("bias", "scale")
HEADS = {"into heads": ("in", "out", "out"), "from heads": ("in", "in", "out")}
# In a path: a layer of several inputs or outputs, or one that is often stacked.
SIGNS = re.compile(
    r"(?i)attn|attention|einsum|general|query|key/|value|qkv|kv\b|head|transpose|deconv"
    r"|scan|vmap|stack|ensemble|(layers|blocks)(?!/\d)|dense|linear|fc|mlp|ffn|proj|gate"
)


def guess(tree: PyTree) -> dict[str, list[Words]]:
    """The possible readings of every leaf, by path."""
    shapes = {path: np.shape(leaf) for path, leaf in named_leaves(tree).items()}
    found = {path: list(dict.fromkeys(_by_name(path, shapes))) for path in shapes}
    for path, words in _by_type(tree).items():
        if path in shapes and all(len(each) <= len(shapes[path]) for each in words):
            # What a module stacks is in front of the axes that its type has.
            found[path] = [_stacked(each, len(shapes[path])) for each in words]
    return found


def _stacked(words: Words, rank: int) -> Words:
    return ("layers",) * (rank - len(words)) + words


def _window(sides: int, *others: str) -> Words:
    return ("window",) * sides + others


# by type: modules of Equinox, and of Flax NNX, are nodes of the tree


def _is_layer(node: Any) -> bool:
    # By name: this module must import neither library.
    module = type(node).__module__
    return module.startswith(("equinox.nn", "flax.nnx.nn")) and any(
        base.__name__ in LAYERS for base in type(node).__mro__
    )


def _by_type(tree: PyTree) -> dict[str, list[Words]]:
    found = {}
    for keys, node in jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_layer)[0]:
        if _is_layer(node):
            place = jax.tree_util.keystr(keys, simple=True, separator="/")
            name = next(base.__name__ for base in type(node).__mro__ if base.__name__ in LAYERS)
            for leaf, options in LAYERS[name](node).items():
                found[f"{place}/{leaf}" if place else leaf] = options
    return found


def _is_equinox(node: Any) -> bool:
    return type(node).__module__.startswith("equinox")


def _linear(node: Any) -> dict[str, list[Words]]:
    return {"weight": [("out", "in")], "kernel": [("in", "out")], "bias": [("out",)]}


def _linear_general(node: Any) -> dict[str, list[Words]]:
    inputs, outputs = (len(tuple(each)) for each in (node.in_features, node.out_features))
    ahead = ("layers",) * len(tuple(getattr(node, "batch_axis", ())))
    outs = ("out",) * outputs
    return {"kernel": [ahead + ("in",) * inputs + outs], "bias": [ahead + outs]}


def _conv(node: Any) -> dict[str, list[Words]]:
    if _is_equinox(node):
        sides = node.num_spatial_dims
        return {"weight": [("out", "in", *_window(sides))], "bias": [("out", *_window(sides))]}
    order = ("out", "in") if getattr(node, "transpose_kernel", False) else ("in", "out")
    return {"kernel": [_window(len(node.kernel_size), *order)], "bias": [("out",)]}


def _embedding(node: Any) -> dict[str, list[Words]]:
    return dict.fromkeys(("weight", "embedding"), EMBEDDING)


def _cell(node: Any) -> dict[str, list[Words]]:
    return {"weight_ih": [("out", "in")], "weight_hh": [("out", "in")], "bias": [("out",)]}


# A lookup gives a row; multiplied with features (tied logits), the rows are the outputs.
EMBEDDING: list[Words] = [("in", "out"), ("out", "in")]
LAYERS = {
    "Linear": _linear,
    "LinearGeneral": _linear_general,
    "Conv": _conv,
    "ConvTranspose": _conv,
    "Embedding": _embedding,
    "Embed": _embedding,
    "GRUCell": _cell,
    "LSTMCell": _cell,
}


# by name


def _by_name(path: str, shapes: Mapping[str, Shape]) -> list[Words]:
    shape = shapes[path]
    *folders, leaf = re.split(r"[/.]", path)
    if len(shape) < 2:
        return [("out",) * len(shape)]
    if leaf in VECTORS:
        return _vectors(path[: len(path) - len(leaf)], shapes, len(shape))
    if leaf == "embedding" or (len(shape) == 2 and "embedding" in leaf):
        return [_stacked(words, len(shape)) for words in EMBEDDING]
    if "weight" in leaf:
        options = _out_first(path, folders, leaf, shape)
    else:
        options = _out_last(path, folders, shapes)
        usual = _window(len(shape) - 2, "in", "out")
        if usual in options and not SIGNS.search(path) and not _odd_window(path, shape):
            kept = _fitting(options, path, shapes)
            return [usual] if usual in kept or len(kept) == len(options) else kept
    return _fitting(options, path, shapes)


def _fitting(options: list[Words], path: str, shapes: Mapping[str, Shape]) -> list[Words]:
    """The readings that the layer's bias allows, of shape [layers..., out...]."""
    leaf = re.split(r"[/.]", path)[-1]
    above, shape = path[: len(path) - len(leaf)], shapes[path]
    for name in ("bias", "b"):
        if bias := shapes.get(above + name) if name == "bias" or leaf == "w" else None:
            fits = [
                words
                for words in options
                if bias
                == tuple(
                    length
                    for kind in ("layers", "out")
                    for length, word in zip(shape, words)
                    if word == kind
                )
            ]
            return fits or options
    return options


def _vectors(above: str, shapes: Mapping[str, Shape], rank: int) -> list[Words]:
    """Of a bias with two axes or more: of stacked layers, or of several heads."""
    kernel = above + "kernel"
    if kernel in shapes:
        found = [
            tuple(word for word in words if word in ("layers", "out"))
            for words in _by_name(kernel, shapes)
        ]
        if fits := [words for words in found if len(words) == rank]:
            return fits
    return [_stacked(("out",) * outputs, rank) for outputs in range(1, rank + 1)]


def _out_last(path: str, folders: list[str], shapes: Mapping[str, Shape]) -> list[Words]:
    """Linen's, NNX's and Haiku's kernels: outputs last."""
    shape = shapes[path]
    rank = len(shape)
    module = _of_attention(path, folders[-1] if folders else "", shapes)
    options = [
        _stacked(words, rank) for inner in range(rank, 1, -1) for words in _one_layer(module, inner)
    ]
    if _window(rank - 2, "in", "out") in options and _has_a_window(folders, shape):
        options = [words for words in options if words.count("window") == rank - 2]
    return options or [_stacked(("in", "out"), rank)]


def _of_attention(path: str, module: str, shapes: Mapping[str, Shape]) -> str:
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
    if before[-2:] != after[-3:-1]:
        return "without heads"
    return "from heads" if module == "out" else "into heads"


def _has_a_window(folders: list[str], shape: Shape) -> bool:
    """Whether equal sides are a window: that so many layers were stacked is next to impossible."""
    sides = shape[:-2]
    if len(sides) < 2 or len(set(sides)) > 1 or sides[0] > 16:
        return False
    lifted = any(re.match(r"Scan|Vmap", folder) for folder in folders)
    named = any(re.search(r"(?i)conv|patch|stem|down", folder) for folder in folders[-1:])
    return not lifted and (named or sides[0] % 2 == 1)


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
    if module in ("query", "key", "value"):
        return [HEADS["into heads"]] if rank == 3 else flat
    if module == "without heads" or re.fullmatch(r"Dense_\d+", module):
        return flat
    if re.search(r"(?i)transpose|deconv", module):
        return [_window(rank - 2, *order) for order in EMBEDDING] if 3 <= rank <= 5 else []
    if re.search(r"(?i)conv", module):
        return [_window(rank - 2, "in", "out")] if 3 <= rank <= 5 else []
    several: dict[int, list[Words]] = {
        3: [("in", "out", "out"), ("in", "in", "out")],
        4: [("in", "in", "out", "out")],
    }
    return flat + ([_window(rank - 2, "in", "out")] if rank > 2 else []) + several.get(rank, [])


def _out_first(path: str, folders: list[str], leaf: str, shape: Shape) -> list[Words]:
    """PyTorch's weights: outputs first, then inputs and the window."""
    rank, module = len(shape), folders[-1] if folders else ""
    if re.search(r"(?i)embed|token", module):
        return [_stacked(words, rank) for words in EMBEDDING]
    if leaf != "weight":  # in_proj_weight, weight_ih_l0
        return [_stacked(("out", "in"), rank)]
    orders: list[Words] = [("out", "in")]
    # The c_* are GPT-2's, with inputs first.
    if "." not in path or re.search(r"(?i)transpose|deconv|^up|^c_(attn|fc|proj)$", module):
        orders.append(("in", "out"))
    options = [order + _window(rank - 2) for order in orders]
    if rank == 2:
        return options
    if "." not in path:
        options.append(_window(rank - 2, "in", "out"))
    square = rank > 3 and len(set(shape[2:])) == 1
    if not square and not (rank == 3 and "conv" in module):
        options.append(("layers", "out", "in", *_window(rank - 3)))
    return options
