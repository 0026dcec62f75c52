"""Two trees or more, matched leaf by leaf by path, whatever their containers."""

import difflib
from typing import Any

import jax
import numpy as np

from jaxmask.errors import InputError
from jaxmask.tree.label import LABELS, check_label
from jaxmask.tree.path import PyTree, is_hole, named, named_leaves, paths


def partition(tree: PyTree, labels: PyTree) -> dict[str, PyTree]:
    """Splits `tree` into `{"mask": ..., "train": ..., "freeze": ...}`, trees with holes.

    Each leaf is in the part that its label names and is `None` in the other two. The labels may
    come from another tree with the same paths: scores or masks are partitioned like weights.

    Args:
      tree: any pytree.
      labels: a tree of `str` with the paths of `tree`, as `label` returns it.

    Raises:
      InputError: if the paths differ or a label is not one of the three.

    Example:
      >>> tree.partition({"a": 1.0, "b": 2.0}, {"a": "mask", "b": "freeze"})["mask"]
      {'a': 1.0, 'b': None}
    """
    leaves, structure = jax.tree.flatten(tree)
    names = align(tree, labels, "the labels", shapes=False)
    for path, name in zip(paths(tree), names):
        check_label(name, f"the label of {path!r}")
    return {
        part: jax.tree.unflatten(
            structure, [leaf if name == part else None for leaf, name in zip(leaves, names)]
        )
        for part in LABELS
    }


def combine(*parts: PyTree) -> PyTree:
    """Fills the holes of the first part with the leaves of the others: the inverse of `partition`.

    `combine(*partition(tree, labels).values())` is `tree`, exactly; a `None` of the original
    stays `None`. Leaves are matched by path, so the other parts may have other containers, such as
    nested dicts, and may lack leaves.

    Args:
      *parts: trees with holes. Each leaf is in at most one of them; the first has a leaf or a hole
        for each.

    Returns:
      A tree of the structure of the first part.

    Raises:
      InputError: if there are no parts, a part has a leaf for which the first has no place, or two
        parts hold the same leaf.

    Example:
      >>> tree.combine({"a": 1.0, "b": None}, {"a": None, "b": 2.0})
      {'a': 1.0, 'b': 2.0}
    """
    if not parts:
        raise InputError("combine: no parts; give the trees that partition returned")
    structure: Any = jax.tree.structure(parts[0], is_leaf=is_hole)
    leaves = []
    rows = [_in_order(parts[0], part, index) for index, part in enumerate(parts)]
    for position, column in enumerate(zip(*rows)):
        present = [index for index, leaf in enumerate(column) if leaf is not None]
        if len(present) > 1:
            path = list(named(parts[0], is_hole))[position]
            raise InputError(
                f"combine: {path!r} is present in parts {present[0]} and {present[1]}; "
                "a leaf may be in one part only"
            )
        leaves.append(column[present[0]] if present else None)
    return jax.tree.unflatten(structure, leaves)


def _in_order(first: PyTree, part: PyTree, index: int) -> list[Any]:
    """The leaves and holes of a part in the order of those of the first part."""
    structure: Any = jax.tree.structure(part, is_leaf=is_hole)
    if structure == jax.tree.structure(first, is_leaf=is_hole):
        return jax.tree.leaves(part, is_leaf=is_hole)
    expected, given = named(first, is_hole), named(part, is_hole)
    for path, leaf in given.items():
        # a hole may be in the place of a whole subtree
        whole = leaf is None and any(other.startswith(f"{path}/") for other in expected)
        if path not in expected and not whole:
            raise InputError(
                f"combine: part {index} differs in structure from part 0"
                f"{_difference(expected, given)}; combine parts of one tree"
            )
    return [given.get(path) for path in expected]


def align(reference: PyTree, other: PyTree, what: str, shapes: bool = True) -> list[Any]:
    """The leaves of `other` in the order of `reference`'s, matched by path.

    Containers may differ (a dict for a `FrozenDict` or an NNX state); paths must match, and shapes
    too unless `shapes` is False.

    Raises:
      InputError: naming `what` and the first difference.
    """
    structure: Any = jax.tree.structure(reference)
    if structure == jax.tree.structure(other):
        leaves = jax.tree.leaves(other)
    else:
        expected, given = named_leaves(reference), named_leaves(other)
        if difference := _difference(expected, given):
            raise InputError(f"{what}: not the expected structure{difference}")
        leaves = [given[path] for path in expected]
    if shapes:
        for index, (wanted, leaf) in enumerate(zip(jax.tree.leaves(reference), leaves)):
            if np.shape(wanted) != np.shape(leaf):
                raise InputError(
                    f"{what}: {paths(reference)[index]!r} has shape {np.shape(leaf)}, "
                    f"expected {np.shape(wanted)}"
                )
    return leaves


def aligned(reference: PyTree, other: PyTree, what: str = "the other tree") -> PyTree:
    """The leaves of `other` in the structure of `reference`, matched by path: none may be missing.

    Raises:
      InputError: naming `what`, for paths that only one of the trees has, or other shapes.

    Example:
      >>> tree.aligned({"a": 1.0, "b": (2.0, None)}, {"b": {"0": 4.0}, "a": 3.0})
      {'a': 3.0, 'b': (4.0, None)}
    """
    return jax.tree.unflatten(jax.tree.structure(reference), align(reference, other, what))


def some(reference: PyTree, other: PyTree, what: str = "the other tree") -> list[Any]:
    """As `align`, but `other` may lack leaves: None in their places.

    Raises:
      InputError: as `matched`.
    """
    structure: Any = jax.tree.structure(reference)
    if structure == jax.tree.structure(other):
        return align(reference, other, what)
    have, given = named_leaves(reference), named_leaves(other)
    for path, leaf in given.items():
        if path not in have:
            near = difflib.get_close_matches(path, have, n=3, cutoff=0.0)
            raise InputError(
                f"{what}: there is no {path!r}; the nearest are {', '.join(near) or 'none'}"
            )
        if np.shape(leaf) != np.shape(have[path]):
            raise InputError(
                f"{what}: {path!r} has shape {np.shape(leaf)} instead of {np.shape(have[path])}"
            )
    return [given.get(path) for path in have]


def matched(reference: PyTree, other: PyTree, what: str = "the other tree") -> PyTree:
    """The leaves of `other` in the structure of `reference`, matched by path.

    Leaves that `other` lacks are None.

    Raises:
      InputError: naming `what`, for a leaf of `other` that `reference` lacks, or has with another
        shape.

    Example:
      >>> tree.matched({"a": jnp.ones(2), "b": jnp.ones(3)}, {"b": jnp.zeros(3)})
      {'a': None, 'b': Array([0., 0., 0.], dtype=float32)}
    """
    return jax.tree.unflatten(jax.tree.structure(reference), some(reference, other, what))


def replaced(reference: PyTree, other: PyTree, what: str = "the other tree") -> PyTree:
    """`reference` with leaves replaced by those of `other` with the same path.

    Raises:
      InputError: as `matched`.

    Example:
      >>> tree.replaced({"a": 1.0, "b": 2.0}, {"b": 3.0})
      {'a': 1.0, 'b': 3.0}
    """
    leaves, structure = jax.tree.flatten(reference)
    pairs = zip(leaves, some(reference, other, what))
    return jax.tree.unflatten(structure, [old if new is None else new for old, new in pairs])


def _difference(expected: dict[str, Any], given: dict[str, Any]) -> str:
    """The first paths that only one of two trees has, as `": no 'a'; unexpected 'b'"`, or ''."""
    parts = []
    for words, here, there in (("no", expected, given), ("unexpected", given, expected)):
        extra = [path for path in here if path not in there]
        if extra:
            more = f" and {len(extra) - 3} more" if len(extra) > 3 else ""
            parts.append(f"{words} {', '.join(map(repr, extra[:3]))}{more}")
    return ": " + "; ".join(parts) if parts else ""
