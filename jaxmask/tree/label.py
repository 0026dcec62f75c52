"""Labels of leaves, by rules for their paths."""

import difflib
import re
from collections.abc import Iterable
from typing import Any

import jax

from jaxmask.errors import InputError
from jaxmask.tree.path import PyTree, is_floating, named_leaves

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
    check_label(default, "the default")
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


def check_label(name: Any, where: str) -> None:
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
    check_label(name, f"the label of rule {index} ({pattern!r})")
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
