"""Weights trained in place: all, or those that path rules select; pruned weights stay 0."""

from collections.abc import Iterable
from typing import Any

import jax

from jaxmask import mask, tree
from jaxmask.adapter.base import Adapter, Stored, Tree, check_used
from jaxmask.errors import InputError


def weights(rules: Iterable[tuple[str, str]] = ((".*", "train"),), kept: Tree = None) -> Adapter:
    """Trains the parameters that the rules label "train"; the others stay as they are.

    Full fine-tuning, the last stages, biases (BitFit, Ben Zaken et al. 2022) and norms (Frankle et
    al. 2021) differ only in their rules.

    Args:
      rules: pairs (regex, "train" or "freeze"), as for `tree.label`.
      kept: masks of pruned weights, None for whole leaves: a weight that is off is 0
        before, during and after training.

    Raises:
      InputError: by `init`, for rules that train nothing or use the label "mask".

    Example:
      >>> from jaxmask import adapter
      >>> way = adapter.weights([("(.*/)?bias", "train")])
      >>> learned, _ = way.init(None, {"kernel": jnp.ones(2), "bias": jnp.zeros(2)})
      >>> learned["train"]["kernel"] is None
      True
    """
    rules = tuple(rules)

    def init(key: jax.Array | None, params: Tree) -> tuple[dict[str, Tree], dict[str, Tree]]:
        del key
        labels = tree.label(params, rules)
        names = set(jax.tree.leaves(labels))
        if "mask" in names or "train" not in names:
            raise InputError("the rules must say 'train' or 'freeze', and train something")
        parts = tree.partition(params, labels)
        learned, frozen = {"train": parts["train"]}, {"freeze": parts["freeze"]}
        if kept is not None:
            learned["train"] = mask.pruned(kept, learned["train"])
            frozen["kept"] = kept
        return learned, frozen

    def store(learned: dict[str, Tree], frozen: dict[str, Tree]) -> Stored:
        return Stored(frozen.get("kept", {}), {"params": trained(learned, frozen)}, {})

    def restore_used(params: Tree, stored: Stored) -> Tree:
        own = tree.named_leaves(stored.arrays.get("params", {}))  # a pruned weight is stored as 0
        check_used(stored, ("params",), own)
        return restore(params, stored)

    def optimizers(section: Any) -> dict[str, Any]:
        return {"train": section.weights()}

    return Adapter(init, parameters, optimizers, store, restore_used)


def trained(learned: dict[str, Tree], frozen: dict[str, Tree]) -> Tree:
    """The trained weights, exactly 0 where pruned."""
    if "kept" in frozen:
        return mask.pruned(frozen["kept"], learned["train"])
    return learned["train"]


def parameters(learned: dict[str, Tree], frozen: dict[str, Tree]) -> Tree:
    """The network's parameters."""
    return tree.combine(trained(learned, frozen), frozen["freeze"])


def restore(params: Tree, stored: Stored) -> Tree:
    """`params`, with those that are stored replaced."""
    return tree.replaced(params, stored.arrays.get("params", {}), "the stored weights")
