"""NAME: what is learned, in one line. Becomes jaxmask/adapter/NAME.py."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp

from jaxmask import tree
from jaxmask.adapter.base import Adapter, Stored, Tree
from jaxmask.errors import InputError


def scales(rules: Iterable[tuple[str, str]]) -> Adapter:
    """One learned factor for each output of the kernels labeled "mask": `w * exp(a)`.

    Args:
      rules: pairs (regex, label), as for `tree.label`; weights labeled "train" are trained.

    Raises:
      InputError: by `init`, if the rules label nothing "mask".

    Example:
      >>> way = scales([("head/.*", "train"), (".*/kernel", "mask")])
      >>> params = {"fc": {"kernel": jnp.ones((2, 3))}, "head": {"kernel": jnp.ones((3, 1))}}
      >>> learned, frozen = way.init(None, params)
      >>> learned["scales"]["fc"]["kernel"].tolist()
      [0.0, 0.0, 0.0]
    """
    rules = tuple(rules)

    def init(key: jax.Array | None, params: Tree) -> tuple[dict[str, Tree], dict[str, Tree]]:
        parts = tree.partition(params, tree.label(params, rules))
        if not jax.tree.leaves(parts["mask"]):
            raise InputError("the rules label no weight 'mask'; label one")
        start = jax.tree.map(lambda w: jnp.zeros(w.shape[-1:], w.dtype), parts["mask"])
        learned = {"train": parts["train"], "scales": start}
        return learned, {"weights": parts["mask"], "freeze": parts["freeze"]}

    def scaled(factors: Tree, weights: Tree) -> Tree:
        return jax.tree.map(lambda a, w: w * jnp.exp(a), factors, weights)

    def parameters(learned: dict[str, Tree], frozen: dict[str, Tree]) -> Tree:
        changed = scaled(learned["scales"], frozen["weights"])
        return tree.combine(changed, learned["train"], frozen["freeze"])

    def store(learned: dict[str, Tree], frozen: dict[str, Tree]) -> Stored:
        return Stored({}, {"params": learned["train"], "scales": learned["scales"]}, {})

    def restore(params: Tree, stored: Stored) -> Tree:
        factors = tree.named_leaves(stored.arrays["scales"])
        changed = {
            path: scaled(factors[path], leaf)
            for path, leaf in tree.named_leaves(params).items()
            if path in factors
        }
        return tree.replaced(tree.replaced(params, changed), stored.arrays["params"])

    return Adapter(
        init,
        parameters,
        lambda section: {"train": section.weights(), "scales": section.weights()},
        store,
        restore,
    )
