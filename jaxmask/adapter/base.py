"""What an adapter is, and what an evaluator is."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

Tree = Any
Rules = tuple[tuple[str, str], ...]  # pairs (regex of whole paths, label), see `tree.label`


class Stored(NamedTuple):
    """All that a file must hold of an adapted network; batch statistics go beside.

    Attributes:
      masks: a tree of {0, 1}, {-1, 1} or bool by path of the parameters; {} where there are none.
      arrays: dict of trees by name. Those in "params" are parameters that the adapter replaces: a
        head that lies there need not be stored a second time.
      settings: what `restore` needs besides, JSON by name.
    """

    masks: Tree
    arrays: dict[str, Tree]
    settings: dict[str, Any]


class Adapter(NamedTuple):
    """A way for a frozen network to take on a task, as pure functions of pytrees.

    The law: `restore(params, store(learned, frozen))` is `parameters(learned, frozen)`, bit for bit
    where both are compiled alike, for the `params` that `init` was given.

    Attributes:
      init: (key, params) -> (learned, frozen), dicts of trees with holes, by group. A learned
        group called "scores" is drawn as histograms in TensorBoard.
      parameters: (learned, frozen) -> params: what the network computes with; differentiable.
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
    """The network that a method is to adapt.

    Attributes:
      name: of the network.
      parameters: its parameters as shapes and dtypes.
      rules: its own choice of what to mask, without the head.
      stages: regexes of its parts, in the order in which images pass them.
      head: the rule of the head: ("head/.*", "train"), or "freeze" for one made of text.
    """

    name: str
    parameters: Tree
    rules: Rules
    stages: tuple[str, ...]
    head: tuple[str, str]


class Classifier(NamedTuple):
    """A fitted classifier of features.

    Attributes:
      logits: features [N, F] -> [N, C].
      stored: all that a file must hold of it.
      numbers: how many were fitted.
      about: what else its result says: "steps", and whether it converged.
    """

    logits: Callable[[jax.Array], jax.Array]
    stored: Stored
    numbers: int
    about: dict[str, Any]


class Evaluator(NamedTuple):
    """A classifier on the features of the network as it is: it changes no parameter of the body.

    Attributes:
      field: what its choices set, as results and files call it.
      check: (section) -> None; raises InputError for a value that cannot be used.
      fit: (features, labels, value, classes, section) -> Classifier.
      classify: (arrays, settings, features, classes) -> logits, from what a file holds; None where
        the network's own head gives them.
      defaults: the fields of its section in a config.
    """

    field: str
    check: Callable[[Any], None]
    fit: Callable[[jax.Array, jax.Array, float, int, Any], Classifier]
    classify: Callable[[dict[str, Any], Mapping[str, Any], jax.Array, int], jax.Array] | None
    defaults: Mapping[str, Any]
