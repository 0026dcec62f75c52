"""The leaves of a tree by path."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from jaxmask.errors import InputError

PyTree = Any


def paths(tree: PyTree) -> list[str]:
    """The path of every leaf, in the order of `jax.tree.leaves`; InputError if two are equal.

    Example:
      >>> tree.paths({"conv": {"bias": 0.0, "kernel": 1.0}, "scale": 2.0})
      ['conv/bias', 'conv/kernel', 'scale']
    """
    return list(named_leaves(tree))


def named_leaves(tree: PyTree) -> dict[str, Any]:
    """The leaves by path, in the order of `jax.tree.leaves`; InputError if two are equal.

    Example:
      >>> tree.named_leaves({"conv": {"bias": 0.0, "kernel": 1.0}})
      {'conv/bias': 0.0, 'conv/kernel': 1.0}
    """
    return named(tree, lambda node: False)


def size(tree: PyTree) -> int:
    """The total number of elements in the arrays of `tree`.

    Example:
      >>> tree.size({"a": jnp.ones((2, 3)), "hole": None})
      6
    """
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def is_floating(leaf: Any) -> bool:
    """Whether a leaf is a floating-point array (or its shape and dtype): maskable, trainable."""
    return (
        hasattr(leaf, "shape")
        and hasattr(leaf, "dtype")
        and bool(jnp.issubdtype(leaf.dtype, jnp.floating))
    )


def nested(leaves: dict[str, Any]) -> dict[str, Any]:
    """A nested dict from leaves by path; leaves that are None are left out.

    Raises:
      InputError: for a leaf `a` beside `a/b`.

    Example:
      >>> tree.nested({"conv/kernel": 1.0, "conv/bias": 2.0, "hole": None})
      {'conv': {'kernel': 1.0, 'bias': 2.0}}
    """
    present = {path: leaf for path, leaf in leaves.items() if leaf is not None}
    found: dict[str, Any] = {}
    for path, leaf in present.items():
        *folders, last = path.split("/")
        place = found
        for depth, folder in enumerate(folders, 1):
            if (above := "/".join(folders[:depth])) in present:
                raise InputError(f"{above!r} cannot be a leaf beside {path!r} in a nested dict")
            place = place.setdefault(folder, {})
        place[last] = leaf
    return found


def is_hole(node: Any) -> bool:
    """Whether a node is None."""
    return node is None


def named(tree: PyTree, stop: Callable[[Any], bool]) -> dict[str, Any]:
    """`named_leaves`; a node for which `stop` is true, such as a hole, counts as a leaf."""
    found = {}
    for path, leaf in _walk(tree, (), stop):
        if path in found:
            raise InputError(f"two leaves have the path {path!r}; rename a key that contains '/'")
        found[path] = leaf
    return found


def has_leaves_at(node: PyTree, wanted: set[str]) -> bool:
    """Whether `node` has a leaf at each of the paths, or a part without leaves, and no others.

    It has at least one leaf. Optimizer states hold such trees: `optax.masked` puts a `MaskedNode`
    without leaves in the place of each parameter that it leaves out.
    """
    given = named(node, _is_empty)
    leaves = {path for path, leaf in given.items() if not _is_empty(leaf)}
    if not leaves or not leaves <= wanted:
        return False
    left_out = tuple(f"{path}/" for path in given if path not in leaves)
    return all(f"{path}/".startswith(left_out) for path in wanted - leaves)


def _is_empty(node: Any) -> bool:
    return not jax.tree.leaves(node)


def _is_box(node: Any) -> bool:
    """Whether a node holds an array and what is known of it, as Flax's variables and boxes do."""
    # By name: this package must not import Flax, and a user of Equinox need not have it.
    return any(
        (base.__name__ == "Variable" and base.__module__.startswith("flax.nnx"))
        or (base.__name__ == "AxisMetadata" and base.__module__.startswith("flax."))
        for base in type(node).__mro__
    )


def _walk(
    tree: PyTree, before: tuple[Any, ...], stop: Callable[[Any], bool]
) -> Iterator[tuple[str, Any]]:
    """(path, leaf) in the order of `jax.tree.leaves`, of a node with the keys `before`."""

    def at(node: Any) -> bool:
        return stop(node) or (node is not tree and _is_box(node))

    boxed = _is_box(tree)
    for keys, node in jax.tree_util.tree_flatten_with_path(tree, is_leaf=at)[0]:
        first = getattr(keys[0], "name", None) if keys else None
        path = (*before, *(keys[1:] if boxed and first == "value" else keys))
        if node is not tree and _is_box(node) and not stop(node):
            yield from _walk(node, path, stop)
        else:
            yield jax.tree_util.keystr(path, simple=True, separator="/"), node
