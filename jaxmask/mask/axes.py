"""What the axes of a leaf mean: stacked layers, window, inputs, outputs.

A layer multiplies inputs by a weight and sums. Which axes it sums over, and whether a leaf is one
layer or a stack of them, is not in the array. `layout` guesses it from names, biases and the
types of modules; whoever knows better states it, in words, one per axis:

- `layers`: each index is a layer of its own (`nn.scan`, `nn.vmap`, `equinox.filter_vmap`);
- `window`: the sides of a convolution's kernel;
- `in`: an input, summed over; `out`: an output.

Heads are inputs or outputs like others: the kernel of a query `[features, heads, size]` is
`in out out`, the one after attention, `[heads, size, features]`, is `in in out`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxmask.errors import InputError
from jaxmask.mask.layout import guess
from jaxmask.mask.modules import Words
from jaxmask.tree import PyTree, named_leaves

Stated = Mapping[str, str] | Iterable[tuple[str, str]]
WORDS = ("layers", "window", "in", "out")
OR = " or "


class Axes(NamedTuple):
    """The positions of a leaf's axes by their meaning."""

    layers: tuple[int, ...]
    window: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def describe(tree: PyTree, axes: Stated = ()) -> dict[str, str]:
    """What the axes of every leaf mean, in words, by path.

    The result may be given as `axes` to all functions that take it: described once from the whole
    parameters, with their biases, it is more certain than what is guessed from kernels alone.

    Args:
      tree: arrays or anything else with shapes.
      axes: what you know better: pairs (regular expression of a path, words), the first match
        wins; or a mapping from paths to words, which may hold other paths too.

    Returns:
      A word for each axis: "in out". If several readings are possible, they are joined by " or ";
      functions whose answer depends on the reading refuse such a leaf.

    Raises:
      InputError: for a rule that matches no path, or words that do not fit a leaf.

    Example:
      >>> params = {"Dense_0": {"kernel": jnp.ones((6, 16, 8)), "bias": jnp.ones((6, 8))}}
      >>> mask.describe(params)["Dense_0/kernel"]
      'layers in out'
      >>> mask.describe({"w": jnp.ones((6, 16, 8))}, [("w", "layers out in")])
      {'w': 'layers out in'}
    """
    return {
        path: OR.join(" ".join(words) for words in options)
        for path, options in _read(tree, axes).items()
    }


def answers(
    tree: PyTree, axes: Stated, question: Callable[[Axes, tuple[int, ...]], Any], what: str
) -> list[Any]:
    """Asks a question of the axes and the shape of every leaf, in the order of `jax.tree.leaves`.

    Raises:
      InputError: naming the leaf, if its possible readings give different answers; `what` says
        what depends on them.
    """
    found = []
    leaves = named_leaves(tree)
    for path, options in _read(tree, axes).items():
        shape = np.shape(leaves[path])
        given = [question(_axes(words), shape) for words in options]
        if any(each != given[0] for each in given[1:]):
            readings = [" ".join(words) for words in options]
            raise InputError(
                f"{path!r} of shape {shape} may be {', '.join(map(repr, readings[:-1]))} or "
                f"{readings[-1]!r}, and {what} depends on it; "
                f"state its axes, such as axes=[({re.escape(path)!r}, {readings[0]!r})]"
            )
        found.append(given[0])
    return found


def layers_of(tree: PyTree, axes: Stated, what: str) -> list[tuple[int, ...]]:
    """The axes of stacked layers of every leaf, () for a leaf that is one layer."""
    return answers(tree, axes, lambda found, shape: found.layers, what)


def certain_layers(tree: PyTree, axes: Stated) -> list[tuple[int, ...]]:
    """As `layers_of`, but () for a leaf that may be one layer as well."""
    every = [{_axes(words).layers for words in options} for options in _read(tree, axes).values()]
    return [found.pop() if len(found) == 1 else () for found in every]


def _axes(words: Words) -> Axes:
    return Axes(*(tuple(i for i, each in enumerate(words) if each == word) for word in WORDS))


def _read(tree: PyTree, axes: Stated) -> dict[str, list[Words]]:
    """The possible readings of every leaf: the stated one, or what may be guessed."""
    leaves = named_leaves(tree)
    if isinstance(axes, Mapping):
        stated = {path: axes[path] for path in leaves if path in axes}
    else:
        stated = _by_rules(leaves, axes)
    read = {path: _checked(path, text, np.shape(leaves[path])) for path, text in stated.items()}
    guessed = guess(tree) if len(read) < len(leaves) else {}
    return {path: read.get(path) or guessed[path] for path in leaves}


def _by_rules(leaves: Mapping[str, Any], rules: Iterable[tuple[str, str]]) -> dict[str, str]:
    stated: dict[str, str] = {}
    for rule in rules:
        try:
            pattern, text = rule
            regex = re.compile(pattern)
        except (TypeError, ValueError, re.error, RecursionError, OverflowError):
            raise InputError(f"axes: {rule!r}; give (regular expression, words)") from None
        matches = [path for path in leaves if regex.fullmatch(path)]
        if not matches:
            raise InputError(f"axes: {pattern!r} matches no path of {list(leaves)[:3]}")
        for path in matches:
            stated.setdefault(path, text)
    return stated


def _checked(path: str, text: Any, shape: tuple[int, ...]) -> list[Words]:
    options: list[Words] = [("",)]
    if isinstance(text, str):
        options = [tuple(each.split()) for each in text.split(OR)]
    for words in options:
        if len(words) != len(shape) or not set(words) <= set(WORDS):
            raise InputError(
                f"axes: {text!r} for {path!r} of shape {shape}; give one word for each axis, of "
                f"{', '.join(map(repr, WORDS))}"
            )
    return options
