"""The axes of leaves whose modules are nodes of the tree: layers of Equinox and of Flax NNX.

A module knows its sizes. If an array has one axis more, the others tell which one counts layers.
"""

from collections.abc import Iterator
from typing import Any

import jax

from jaxmask.tree import PyTree

Words = tuple[str, ...]
Shape = tuple[int, ...]
Kind = tuple[Words, Shape]  # words, and the lengths that go with them

# A lookup gives a row; multiplied with features (tied logits), the rows are the outputs.
EMBEDDING: list[Words] = [("in", "out"), ("out", "in")]


def by_type(tree: PyTree) -> Iterator[tuple[str, list[Kind]]]:
    """(path, what a leaf is if its layer is not stacked) of the leaves of known modules."""
    for keys, node in jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_layer)[0]:
        if _is_layer(node):
            place = jax.tree_util.keystr(keys, simple=True, separator="/")
            for leaf, kinds in _read(node).items():
                yield f"{place}/{leaf}" if place else leaf, kinds


def with_layers(kind: Kind, shape: Shape) -> list[Words]:
    """The words for an array that may have one axis more than its module, or several in front."""
    words, lengths = kind
    more = len(shape) - len(words)
    if more == 1:
        places = [at for at in range(len(shape)) if shape[:at] + shape[at + 1 :] == lengths]
        found = [(*words[:at], "layers", *words[at:]) for at in places]
        # Equal lengths beside each other: the first, as all libraries do by default.
        return found[:1] if len({shape[at] for at in places}) == 1 else found
    fits = more >= 0 and shape[more:] == lengths
    return [("layers",) * more + words] if fits else []


def _is_layer(node: Any) -> bool:
    return _library(node) is not None


def _library(node: Any) -> dict[str, Any] | None:
    # By name: this module must import neither library.
    module = type(node).__module__
    for library, layers in (("equinox.nn", EQUINOX), ("flax.nnx.nn", NNX)):
        if module.startswith(library) and any(b.__name__ in layers for b in type(node).__mro__):
            return layers
    return None


def _read(node: Any) -> dict[str, list[Kind]]:
    layers = _library(node) or {}
    name = next(base.__name__ for base in type(node).__mro__ if base.__name__ in layers)
    try:
        found: dict[str, list[Kind]] = layers[name](node)
    except (AttributeError, TypeError, ValueError):  # of another version of the library
        return {}
    return found


def _several(lengths: Any) -> Shape:
    return tuple(lengths) if isinstance(lengths, tuple | list) else (lengths,)


def _equinox_linear(node: Any) -> dict[str, list[Kind]]:
    sizes = [1 if size == "scalar" else size for size in (node.out_features, node.in_features)]
    return {"weight": [(("out", "in"), tuple(sizes))], "bias": [(("out",), (sizes[0],))]}


def _equinox_conv(node: Any) -> dict[str, list[Kind]]:
    window = ("window",) * node.num_spatial_dims
    inputs = node.in_channels // node.groups
    weight = ("out", "in", *window), (node.out_channels, inputs, *_several(node.kernel_size))
    bias = ("out", *window), (node.out_channels, *(1,) * len(window))
    return {"weight": [weight], "bias": [bias]}


def _equinox_embedding(node: Any) -> dict[str, list[Kind]]:
    sizes = (node.num_embeddings, node.embedding_size)
    return {"weight": [(words, sizes) for words in EMBEDDING]}


def _equinox_cell(node: Any) -> dict[str, list[Kind]]:
    gates = 3 if hasattr(node, "bias_n") else 4
    size = node.hidden_size
    return {
        "weight_ih": [(("out", "in"), (gates * size, node.input_size))],
        "weight_hh": [(("out", "in"), (gates * size, size))],
        "bias": [(("out",), (gates * size,))],
        "bias_n": [(("out",), (size,))],
    }


def _nnx_linear(node: Any) -> dict[str, list[Kind]]:
    kernel = ("in", "out"), (node.in_features, node.out_features)
    return {"kernel": [kernel], "bias": [(("out",), (node.out_features,))]}


def _nnx_linear_general(node: Any) -> dict[str, list[Kind]]:
    inputs, outputs = _several(node.in_features), _several(node.out_features)
    batch = tuple(dict(getattr(node, "batch_axis", {})).values())
    ahead, outs = ("layers",) * len(batch), ("out",) * len(outputs)
    kernel = ahead + ("in",) * len(inputs) + outs, batch + inputs + outputs
    return {"kernel": [kernel], "bias": [(ahead + outs, batch + outputs)]}


def _nnx_conv(node: Any) -> dict[str, list[Kind]]:
    window = _several(node.kernel_size)
    sides = node.in_features // getattr(node, "feature_group_count", 1), node.out_features
    words, sizes = ("in", "out"), sides
    if getattr(node, "transpose_kernel", False):
        words, sizes = ("out", "in"), (node.out_features, node.in_features)
    kernel = ("window",) * len(window) + words, window + sizes
    return {"kernel": [kernel], "bias": [(("out",), (node.out_features,))]}


def _nnx_embed(node: Any) -> dict[str, list[Kind]]:
    return {"embedding": [(words, (node.num_embeddings, node.features)) for words in EMBEDDING]}


def _nnx_einsum(node: Any) -> dict[str, list[Kind]]:
    """An axis of the kernel that is only in the input is summed over."""
    inputs, result = node.einsum_str.replace(" ", "").split("->")
    given, kernel = inputs.split(",")
    words = {(True, False): "in", (False, True): "out", (True, True): "layers"}
    named = tuple(words[letter in given, letter in result] for letter in kernel)
    return {"kernel": [(named, tuple(node.kernel_shape))]}


EQUINOX = {
    "Linear": _equinox_linear,
    "Conv": _equinox_conv,
    "ConvTranspose": _equinox_conv,
    "Embedding": _equinox_embedding,
    "GRUCell": _equinox_cell,
    "LSTMCell": _equinox_cell,
}
NNX = {
    "Linear": _nnx_linear,
    "LinearGeneral": _nnx_linear_general,
    "Conv": _nnx_conv,
    "ConvTranspose": _nnx_conv,
    "Embed": _nnx_embed,
    "Einsum": _nnx_einsum,
}
