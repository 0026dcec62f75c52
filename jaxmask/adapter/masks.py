"""Masks over frozen weights: one bit per weight, by any mask transform."""

import functools
import reprlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxmask import mask, tree
from jaxmask.adapter import weights
from jaxmask.adapter.base import Adapter, Stored, Tree, check_used
from jaxmask.errors import InputError
from jaxmask.mask import MaskTransform
from jaxmask.train import optimizer

Transform = MaskTransform | Callable[[Any], MaskTransform]


def masks(
    transform: Transform,
    rules: Iterable[tuple[str, str]],
    *,
    density: float | None = None,
    falling_epochs: float = 0.0,
    share: float = 1.0,
    share_by: str = "random",
    settings: Mapping[str, Any] | None = None,
) -> Adapter:
    """Learns masks of the weights labeled "mask", and trains those labeled "train".

    The learned groups are "scores" and "train" (and "density", if it falls); the frozen ones are
    "weights", "freeze", and "selected" if only a fraction of the scores is learned.

    Args:
      transform: a mask transform; with a density, a function from the density to a transform.
      rules: pairs (regex, label), as for `tree.label`.
      density: for masks of a given density. It is an array of the training run, so changing it
        does not recompile.
      falling_epochs: epochs over which the density falls linearly from 1 to `density`.
      share: the fraction of scores that is learned; the other weights stay on.
      share_by: "random", or "magnitude" for the scores of the largest weights.
      settings: more settings for the file, such as the name of the transform.

    Raises:
      InputError: for a transform without `put`, whose masks cannot be restored from a file;
        by `init`, if the rules mask nothing.

    Example:
      >>> from jaxmask import adapter
      >>> way = adapter.masks(mask.top_k, [(".*/kernel", "mask")], density=0.5)
      >>> params = {"fc": {"kernel": jnp.ones((8, 6)), "bias": jnp.zeros(6)}}
      >>> learned, frozen = way.init(jax.random.key(0), params)
      >>> int((way.parameters(learned, frozen)["fc"]["kernel"] == 0).sum())
      24
    """
    rules = tuple(rules)
    # put does not depend on the density, nor on which scores are learned
    any_density = transform if isinstance(transform, MaskTransform) else transform(1.0)
    put, values = any_density.put, any_density.values
    if put is None:
        raise InputError("the mask transform has no 'put', which restores its masks; give it one")

    def made(learned: Mapping[str, Tree], frozen: Mapping[str, Tree]) -> MaskTransform:
        if isinstance(transform, MaskTransform):
            found = transform
        else:
            falls = "density" in learned
            found = transform(learned["density"]["now"] if falls else frozen["density"])
        return mask.selective(found, frozen["selected"]) if "selected" in frozen else found

    def init(key: jax.Array, params: Tree) -> tuple[dict[str, Tree], dict[str, Tree]]:
        parts = tree.partition(params, tree.label(params, rules))
        if not jax.tree.leaves(parts["mask"]):
            raise InputError("the rules mask nothing; label a path with 'mask'")
        learned = {"train": parts["train"]}
        frozen = {"weights": parts["mask"], "freeze": parts["freeze"]}
        if density is not None:
            target = jnp.asarray(density, jnp.float32)
            if falling_epochs:
                learned["density"] = {"now": jnp.ones_like(target), "target": target}
            else:
                frozen["density"] = target
        if share < 1:
            frozen["selected"] = (
                mask.largest_share(parts["mask"], share)
                if share_by == "magnitude"
                else mask.random_share(jax.random.fold_in(key, 1), parts["mask"], share)
            )
        learned["scores"] = made(learned, frozen).init(key, parts["mask"])
        return learned, frozen

    def parameters(learned: dict[str, Tree], frozen: dict[str, Tree]) -> Tree:
        under = made(learned, frozen).apply(learned["scores"], frozen["weights"])
        return tree.combine(under, learned["train"], frozen["freeze"])

    def optimizers(section: optimizer.Section) -> dict[str, Any]:
        found = {"train": section.weights(), "scores": section.scores()}
        if density is not None and falling_epochs:
            found["density"] = optimizer.falling(round(falling_epochs * section.steps_per_epoch))
        return found

    def store(learned: dict[str, Tree], frozen: dict[str, Tree]) -> Stored:
        found = made(learned, frozen).mask(learned["scores"])
        levels = {"levels": list(values)} if values else {}
        return Stored(
            mask.planes(found, values) if values else found,
            {"params": learned["train"]},
            {**_scaling(put, frozen["weights"]), **levels, **(settings or {})},
        )

    def restore(params: Tree, stored: Stored) -> Tree:
        check_used(stored, ("params",), tree.named_leaves(stored.masks))
        masks, levels = stored.masks, stored.settings.get("levels")
        if levels is not None:
            masks = mask.from_planes(masks, levels)
        by = put
        if _is_ours(put):  # one adapter restores the files of both
            rescale, axes = stored.settings.get("rescale", True), stored.settings.get("axes", {})
            _check_settings(rescale, axes)
            by = functools.partial(mask.rescaled, axes=axes) if rescale else mask.unscaled
        return mask.restore(weights.restore(params, stored), masks, by)

    return Adapter(init, parameters, optimizers, store, restore)


def _check_settings(rescale: Any, axes: Any) -> None:
    if not isinstance(rescale, bool):
        raise InputError(f"rescale is {reprlib.repr(rescale)}; it must be true or false")
    texts = isinstance(axes, dict) and all(isinstance(text, str) for text in axes.values())
    if not texts:
        raise InputError(f"axes is {reprlib.repr(axes)}; it must be an object from paths to words")


def _is_ours(put: Any) -> bool:
    return getattr(put, "func", put) in (mask.rescaled, mask.unscaled)  # with axes: a partial


def _scaling(put: Any, kernels: Tree) -> dict[str, Any]:
    """How the masks of these weights are applied, as a file says it."""
    if not _is_ours(put):
        return {}
    if put is mask.unscaled:
        return {"rescale": False}
    said = mask.describe(kernels, getattr(put, "keywords", {}).get("axes", {}))
    guessed = mask.describe(kernels)
    more = {path: words for path, words in said.items() if words != guessed[path]}
    return {"rescale": True, **({"axes": more} if more else {})}
