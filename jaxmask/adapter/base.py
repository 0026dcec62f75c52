"""The types of adapters and evaluators."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax

from jaxmask import tree
from jaxmask.errors import InputError

Tree = Any
Rules = tuple[tuple[str, str], ...]  # pairs (regex of whole paths, label), see `tree.label`


class Stored(NamedTuple):
    """All that a file must hold of an adapted network, except batch statistics.

    Attributes:
      masks: a tree of {0, 1}, {-1, 1} or bool by parameter path; {} without masks.
      arrays: dict of trees by name. "params" has the parameters that the adapter replaces; a head
        in it is not stored again elsewhere.
      settings: what else `restore` needs, JSON by name.
    """

    masks: Tree
    arrays: dict[str, Tree]
    settings: dict[str, Any]


def check_used(stored: Stored, groups: Collection[str], masked: Collection[str] = ()) -> None:
    """Raises InputError for content that an adapter would not use: it is another adapter's.

    Args:
      groups: the names of arrays that it uses; `masked`: the paths whose masks it uses.
    """
    if others := sorted(set(stored.arrays) - set(groups)):
        raise InputError(f"it holds the arrays {others[0]!r}, which its method does not use")
    if others := sorted(tree.named_leaves(stored.masks).keys() - set(masked)):
        raise InputError(f"it holds a mask of {others[0]!r}, which its method does not use")


class Adapter(NamedTuple):
    """A way to adapt a frozen network to a task, as pure functions of pytrees.

    The law: `restore(params, store(learned, frozen))` equals `parameters(learned, frozen)` for the
    `params` given to `init`; bit for bit if both are compiled the same way.

    Attributes:
      init: (key, params) -> (learned, frozen), dicts of trees with holes, by group. A learned
        group called "scores" is drawn as histograms in TensorBoard.
      parameters: (learned, frozen) -> params that the network computes with; differentiable.
      optimizers: (`train.optimizer.Section`) -> {group of `learned`: optax transformation}.
      store: (learned, frozen) -> Stored.
      restore: (params, Stored) -> params. The trees of a file are nested dicts by path.

    Example:
      >>> from jaxmask import adapter, mask
      >>> way = adapter.masks(mask.threshold(), [("head/.*", "train"), (".*/kernel", "mask")])
      >>> params = {"fc": {"kernel": jnp.ones((2, 2))}, "head": {"kernel": jnp.ones((2, 1))}}
      >>> learned, frozen = way.init(jax.random.key(0), params)
      >>> sorted(learned), sorted(frozen)
      (['scores', 'train'], ['freeze', 'weights'])
      >>> way.restore(params, way.store(learned, frozen))["fc"]["kernel"].tolist()
      [[1.0, 1.0], [1.0, 1.0]]
    """

    init: Callable[[jax.Array, Tree], tuple[dict[str, Tree], dict[str, Tree]]]
    parameters: Callable[[dict[str, Tree], dict[str, Tree]], Tree]
    optimizers: Callable[[Any], dict[str, Any]]
    store: Callable[[dict[str, Tree], dict[str, Tree]], Stored]
    restore: Callable[[Tree, Stored], Tree]


class Site(NamedTuple):
    """The network to adapt.

    Attributes:
      name: the network's name.
      parameters: their shapes and dtypes.
      rules: its default rules for what to mask, without the head.
      stages: regexes of its stages, first to last.
      head: the rule for the head: ("head/.*", "train"), or "freeze" for a text head.
      axes: what the axes of its parameters mean, as `mask.describe` gives it.
    """

    name: str
    parameters: Tree
    rules: Rules
    stages: tuple[str, ...]
    head: tuple[str, str]
    axes: Mapping[str, str] = {}


class Classifier(NamedTuple):
    """A fitted classifier of features.

    Attributes:
      logits: features [N, F] -> [N, C].
      stored: what a file must hold of it.
      numbers: the number of fitted parameters.
      about: more for its result: "steps", and whether it converged.
    """

    logits: Callable[[jax.Array], jax.Array]
    stored: Stored
    numbers: int
    about: dict[str, Any]


class Evaluator(NamedTuple):
    """A classifier on the features of the unchanged network: no parameter of the body changes.

    Attributes:
      field: the name, in results and files, of what its choices set.
      check: (section) -> None; raises InputError for an invalid value.
      fit: (features, labels, value, classes, section) -> Classifier.
      classify: (arrays, settings, features, classes) -> logits, from a file's content; None if
        the network's own head gives them.
      defaults: the fields of its section in a config.
      check_stored: (a file's content, classes) -> None; raises InputError if it cannot be
        classified by.
      about: the method in a line.
    """

    field: str
    check: Callable[[Any], None]
    fit: Callable[[jax.Array, jax.Array, float, int, Any], Classifier]
    classify: Callable[[dict[str, Any], Mapping[str, Any], jax.Array, int], jax.Array] | None
    defaults: Mapping[str, Any]
    check_stored: Callable[[Stored, int], None] = lambda stored, classes: None
    about: str = ""
