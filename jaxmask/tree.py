"""Label, partition and combine parameter trees by path: trees with holes.

A *tree with holes* has the structure of the parameters and `None` in place of each leaf that it
lacks (the convention of `equinox.partition`). `None` is an empty subtree for JAX, so such trees go
through `jax.grad`, `jit`, `vmap`, `scan` and optax as they are.

A *path* joins the keys that lead to a leaf with `/`: `layer1_0/conv1/kernel`. The `value` under
which an `nnx.Variable` holds its array is left out, so an NNX state and the same parameters in a
plain dict have the same paths.
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmask.errors import InputError

PyTree = Any
LABELS = ("mask", "train", "freeze")


def label(tree: PyTree, rules: Iterable[tuple[str, str]], default: str = "freeze") -> PyTree:
    """Gives every leaf of `tree` one of the labels `"mask"`, `"train"`, `"freeze"`.

    A leaf gets the label of the first rule whose regular expression matches its whole path, and
    `default` if none does. A leaf that is not a floating-point array (a random key, a counter, a
    function, a Python number) is always frozen, whatever the rules say.

    Args:
      tree: any pytree: Linen params, an `nnx` state, an Equinox module, a dict.
      rules: pairs (regular expression, label), the first match wins.
      default: the label of the leaves that no rule matches.

    Returns:
      A tree of `str` with the structure of `tree`.

    Raises:
      InputError: if a rule is not a regular expression, matches no path, or never decides a leaf
        (earlier rules take all its paths, or none of them can be masked or trained); if a label
        is not one of the three; if two leaves share a path.

    Example:
      >>> params = {"body": {"kernel": jnp.ones((2, 3))}, "head": {"kernel": jnp.ones((3, 1))}}
      >>> tree.label(params, [("head/.*", "train"), (".*/kernel", "mask")])
      {'body': {'kernel': 'mask'}, 'head': {'kernel': 'train'}}
    """
    _check_label(default, "the default")
    compiled = [_compiled(index, rule) for index, rule in enumerate(rules)]
    leaves = named_leaves(tree)
    decided = [0] * len(compiled)
    labels = []
    for path, leaf in leaves.items():
        chosen = default
        for index, (regex, name) in enumerate(compiled):
            if regex.fullmatch(path):
                chosen = name
                decided[index] += name == "freeze" or is_floating(leaf)
                break
        labels.append(chosen if is_floating(leaf) else "freeze")
    for index, wins in enumerate(decided):
        if not wins:
            raise InputError(_idle_rule(index, compiled, leaves))
    return jax.tree.unflatten(jax.tree.structure(tree), labels)


def partition(tree: PyTree, labels: PyTree) -> dict[str, PyTree]:
    """Splits `tree` into `{"mask": ..., "train": ..., "freeze": ...}`, trees with holes.

    Each leaf is in the part that its label names and is `None` in the other two. The labels may
    come from another tree of the same structure: scores or masks are partitioned like weights.

    Args:
      tree: any pytree.
      labels: a tree of `str` of the same structure, as `label` returns it.

    Raises:
      InputError: if the structures differ or a label is not one of the three.

    Example:
      >>> tree.partition({"a": 1.0, "b": 2.0}, {"a": "mask", "b": "freeze"})["mask"]
      {'a': 1.0, 'b': None}
    """
    leaves, structure = jax.tree.flatten(tree)
    names = align(tree, labels, "the labels", shapes=False)
    for path, name in zip(paths(tree), names):
        _check_label(name, f"the label of {path!r}")
    return {
        part: jax.tree.unflatten(
            structure, [leaf if name == part else None for leaf, name in zip(leaves, names)]
        )
        for part in LABELS
    }


def combine(*parts: PyTree) -> PyTree:
    """Fills the holes of each part with the leaves of the others: the inverse of `partition`.

    `combine(*partition(tree, labels).values())` is `tree`, exactly; a `None` of the original
    stays `None`.

    Args:
      *parts: trees of one structure; each leaf is in at most one of them.

    Raises:
      InputError: if there are no parts, the structures differ, or two parts hold the same leaf.

    Example:
      >>> tree.combine({"a": 1.0, "b": None}, {"a": None, "b": 2.0})
      {'a': 1.0, 'b': 2.0}
    """
    if not parts:
        raise InputError("combine: no parts; give the trees that partition returned")
    columns, structures = zip(*(jax.tree.flatten(part, is_leaf=_is_none) for part in parts))
    for index, structure in enumerate(structures):
        if structure != structures[0]:
            difference = _difference(_named(parts[0], True), _named(parts[index], True))
            raise InputError(
                f"combine: part {index} differs in structure from part 0{difference}; "
                "combine trees that one partition returned"
            )
    leaves = []
    for position, column in enumerate(zip(*columns)):
        present = [index for index, leaf in enumerate(column) if leaf is not None]
        if len(present) > 1:
            path = list(_named(parts[0], True))[position]
            raise InputError(
                f"combine: {path!r} is present in parts {present[0]} and {present[1]}; "
                "a leaf may be in one part only"
            )
        leaves.append(column[present[0]] if present else None)
    return jax.tree.unflatten(structures[0], leaves)


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
    return _named(tree, False)


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
    have, given = named_leaves(reference), named_leaves(other)
    for path, leaf in given.items():
        if path not in have:
            near = difflib.get_close_matches(path, have, n=3, cutoff=0.0)
            raise InputError(f"{what}: there is no {path!r}; the nearest are {', '.join(near)}")
        if np.shape(leaf) != np.shape(have[path]):
            raise InputError(
                f"{what}: {path!r} has shape {np.shape(leaf)} instead of {np.shape(have[path])}"
            )
    return jax.tree.unflatten(jax.tree.structure(reference), [given.get(path) for path in have])


def replaced(reference: PyTree, other: PyTree, what: str = "the other tree") -> PyTree:
    """`reference` with leaves replaced by those of `other` with the same path.

    Raises:
      InputError: as `matched`.

    Example:
      >>> tree.replaced({"a": 1.0, "b": 2.0}, {"b": 3.0})
      {'a': 1.0, 'b': 3.0}
    """
    new = matched(reference, other, what)
    return jax.tree.map(
        lambda b, a: a if b is None else b, new, reference, is_leaf=lambda node: node is None
    )


def nested(leaves: dict[str, Any]) -> dict[str, Any]:
    """A nested dict from leaves by path; leaves that are None are left out.

    Example:
      >>> tree.nested({"conv/kernel": 1.0, "conv/bias": 2.0, "hole": None})
      {'conv': {'kernel': 1.0, 'bias': 2.0}}
    """
    found: dict[str, Any] = {}
    for path, leaf in leaves.items():
        if leaf is not None:
            *folders, last = path.split("/")
            place = found
            for folder in folders:
                place = place.setdefault(folder, {})
            place[last] = leaf
    return found


def _is_nnx_variable(node: Any) -> bool:
    # By name: this module must not import Flax, and a user of Equinox need not have it.
    return any(
        base.__name__ == "Variable" and base.__module__.startswith("flax.nnx")
        for base in type(node).__mro__
    )


def _is_none(node: Any) -> bool:
    return node is None


def _walk(tree: PyTree, holes: bool) -> Iterator[tuple[str, Any]]:
    """(path, leaf) in the order of `jax.tree.leaves`; with `holes`, each None is a leaf too."""
    flatten = jax.tree_util.tree_flatten_with_path
    hole = _is_none if holes else lambda node: False
    for keys, node in flatten(tree, is_leaf=lambda x: hole(x) or _is_nnx_variable(x))[0]:
        inner = flatten(node, is_leaf=hole)[0] if _is_nnx_variable(node) else [((), node)]
        for more, leaf in inner:
            # The first key inside a variable is its `value`.
            path = (*keys, *more[1:])
            yield jax.tree_util.keystr(path, simple=True, separator="/"), leaf


def _named(tree: PyTree, holes: bool) -> dict[str, Any]:
    named = {}
    for path, leaf in _walk(tree, holes):
        if path in named:
            raise InputError(f"two leaves have the path {path!r}; rename a key that contains '/'")
        named[path] = leaf
    return named


def _difference(expected: dict[str, Any], given: dict[str, Any]) -> str:
    """The first paths that only one of two trees has, as `": no 'a'; unexpected 'b'"`, or ''."""
    parts = []
    for words, here, there in (("no", expected, given), ("unexpected", given, expected)):
        extra = [path for path in here if path not in there]
        if extra:
            more = f" and {len(extra) - 3} more" if len(extra) > 3 else ""
            parts.append(f"{words} {', '.join(map(repr, extra[:3]))}{more}")
    return ": " + "; ".join(parts) if parts else ""


def _check_label(name: Any, where: str) -> None:
    if not isinstance(name, str) or name not in LABELS:
        raise InputError(f"{where} is {name!r}; a label is one of {', '.join(map(repr, LABELS))}")


def _compiled(index: int, rule: Any) -> tuple[re.Pattern[str], str]:
    try:
        pattern, name = rule
        regex = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise InputError(
            f"rule {index} ({rule[0]!r}) is not a regular expression: {error}"
        ) from None
    except (TypeError, ValueError):
        raise InputError(f"rule {index} is {rule!r}; give (regular expression, label)") from None
    _check_label(name, f"the label of rule {index} ({pattern!r})")
    return regex, name


def _idle_rule(index: int, rules: list[tuple[re.Pattern[str], str]], leaves: dict[str, Any]) -> str:
    """Why rule `index` decides no leaf, in one line."""
    regex, name = rules[index]
    rule = f"rule {index} ({regex.pattern!r}: {name!r})"
    matches = [path for path in leaves if regex.fullmatch(path)]
    if not matches:
        plain = re.sub(r"\.[*+?]|[\\^$()\[\]{}|*+?]", "", regex.pattern)
        near = difflib.get_close_matches(plain, leaves, n=3, cutoff=0.0)
        return f"{rule} matches no path; the nearest are {', '.join(map(repr, near)) or 'none'}"
    floating = [path for path in matches if name == "freeze" or is_floating(leaves[path])]
    if not floating:
        return (
            f"{rule} matches only leaves that are not floating-point arrays ({matches[0]!r}); "
            "such leaves are always frozen: remove the rule"
        )
    first = next(i for i, (other, _) in enumerate(rules) if other.fullmatch(floating[0]))
    return (
        f"{rule} never wins: every path it matches ({floating[0]!r}, ...) is taken by an "
        f"earlier rule, such as rule {first} ({rules[first][0].pattern!r}); put it first"
    )
