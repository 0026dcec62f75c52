"""The methods of `adapt` that learn masks over frozen weights."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxmask import mask, model, tree
from jaxmask.errors import InputError
from jaxmask.recipe import setup, starting
from jaxmask.recipe.composition import masked
from jaxmask.recipe.trained import Learner, Method, head_rule, trained
from jaxmask.recipe.trainer import Prepared
from jaxmask.train.named import call, calls

TRANSFORMS: dict[str, Callable] = {
    "threshold": mask.threshold,
    "top_k": mask.top_k,
    "sign": mask.sign,
    "constant": mask.constant,
    "normal": mask.normal,
    "magnitude": mask.magnitude,
    "kaiming_uniform": mask.kaiming_uniform,
    "shuffled": mask.shuffled,
}
Rescale = bool | str


def learn_mask(task: setup.Task, config: ConfigDict, seed: int) -> Method:
    """Learn one bit for each frozen weight, by default on where its score is above a threshold."""
    return _learned("mask", task, config, seed)


def learn_sign(task: setup.Task, config: ConfigDict, seed: int) -> Method:
    """Learn the sign of each frozen weight."""
    return _learned("mask_sign", task, config, seed)


def learn_top_k(task: setup.Task, config: ConfigDict, seed: int) -> Method:
    """Learn which share of the frozen weights to keep: a density given, or as `mask` found it."""
    section = config.mask_topk
    setup.check_numbers("mask_topk.density", [section.density], 0)
    setup.check_numbers("mask_topk.falling_epochs", [section.falling_epochs], 0)
    if section.density > 1:
        raise InputError(f"mask_topk.density is {section.density}; it must be in (0, 1], or 0")
    if not section.density and "mask" not in config.methods[: config.methods.index("mask_topk")]:
        raise InputError(
            "mask_topk.density is 0, which takes the density that 'mask' finds; name 'mask' "
            "before it in config.methods"
        )
    if section.falling_epochs > section.train.epochs:
        raise InputError(
            f"mask_topk.falling_epochs is {section.falling_epochs}, with "
            f"{section.train.epochs} epochs of training"
        )
    if section.falling_epochs and section.train.patience:
        raise InputError(
            "mask_topk.falling_epochs needs mask_topk.train.patience=0: training that ends early "
            "ends at another density"
        )
    if section.falling_epochs and section.train.select != "last":
        raise InputError(
            "mask_topk.falling_epochs needs mask_topk.train.select='last': an earlier epoch has "
            "another density"
        )
    initial = call(section.initial, TRANSFORMS, "initial scores")

    def transform(density: Any) -> mask.MaskTransform:
        return mask.top_k(density, section.scope, initial, section.rescale)

    def density(folder: Path) -> float:
        found = section.density
        if not found:
            found = json.loads((folder.parent / "mask" / "result.json").read_text())["density"]
        return found

    mask_transform(f"top_k(0.5, scope={section.scope!r}, init={section.initial})")
    return _learned("mask_topk", task, config, seed, transform, density)


def mask_transform(text: str) -> mask.MaskTransform:
    """The transform that a config names, tried on a small tree before it is used."""
    transform = call(text, TRANSFORMS, "mask transform")
    if not isinstance(transform, mask.MaskTransform):
        raise InputError(f"mask.transform {text!r} initializes scores, no more")
    small = {"kernel": jax.ShapeDtypeStruct((2, 2), "float32")}
    try:
        scores = jax.eval_shape(transform.init, jax.random.key(0), small)
        jax.eval_shape(transform.apply, scores, small)
    except (TypeError, ValueError) as error:
        raise InputError(f"mask.transform {text!r}: {str(error).splitlines()[0]}") from None
    return transform


def rescales(text: str) -> bool:
    """Whether the transform that a config names divides weights by the root of the density."""
    (each,) = calls(text, TRANSFORMS, "mask transform")
    bound = inspect.signature(each.function).bind(*each.arguments, **each.keywords)
    bound.apply_defaults()
    return bool(bound.arguments.get("rescale", False))


def mask_rules(method: str, config: ConfigDict) -> list[tuple[str, str]]:
    """Path rules of a mask section: its head's, then its own or else the network's."""
    section, network = config[method], config.network.name
    if section.head not in ("train", "mask"):
        raise InputError(f"{method}.head is {section.head!r}; it is 'train' or 'mask'")
    if section.head == "mask" and config.head == "text":
        raise InputError(f"{method}.head is 'mask', but a head of text stays as it is")
    head = ("head/kernel", "mask") if section.head == "mask" else head_rule(config)
    stages = model.stages(network)
    if not 0 <= section.stages <= len(stages):
        raise InputError(
            f"{method}.stages is {section.stages}; {network} has {len(stages)} stages, 0 is all"
        )
    later = [(path, "freeze") for path in stages[section.stages :]] if section.stages else []
    body = section.rules or [
        rule for rule in model.rules(network) if not rule[0].startswith("head/")
    ]
    return [head, *later, *body]


def _learned(
    method: str,
    task: setup.Task,
    config: ConfigDict,
    seed: int,
    transform: Callable[[Any], mask.MaskTransform] | None = None,
    density: Callable[[Path], float] | None = None,
) -> Method:
    section = config[method]
    if transform is None:
        fixed = mask_transform(section.transform)
        transform = lambda _: fixed  # noqa: E731
    if section.trainable_by not in ("random", "magnitude"):
        raise InputError(
            f"{method}.trainable_by is {section.trainable_by!r}; it is 'random' or 'magnitude'"
        )
    if not 0 < section.trainable_share <= 1:
        raise InputError(
            f"{method}.trainable_share is {section.trainable_share}; it must be above 0, at most 1"
        )
    labels = tree.label(setup.shapes(task)["params"], mask_rules(method, config))
    if not any(label == "mask" for label in jax.tree.leaves(labels)):
        raise InputError(f"{method}.rules mask nothing; label a path with 'mask'")
    falling = section.get("falling_epochs", 0)

    def prepare(start: starting.Start, name: str, folder: Path) -> Prepared:
        variables = starting.starting_variables(
            task, start, setup.named_key(seed, f"{name}/weights")
        )
        parts = tree.partition(variables["params"], labels)
        frozen = {"mask": parts["mask"], "freeze": parts["freeze"]}
        learned = {"train": parts["train"]}
        if density is not None:
            target = jnp.asarray(density(folder), jnp.float32)
            if falling:
                learned["density"] = {"now": jnp.ones_like(target), "target": target}
            else:
                frozen["density"] = target
        if section.trainable_share < 1:
            key = setup.named_key(seed, f"{name}/selected")
            frozen["selected"] = (
                mask.largest_share(parts["mask"], section.trainable_share)
                if section.trainable_by == "magnitude"
                else mask.random_share(key, parts["mask"], section.trainable_share)
            )
        key = setup.named_key(seed, f"{name}/scores")
        learned["mask"] = transform(1.0).init(key, parts["mask"])
        return Prepared(learned, frozen, variables["batch_stats"])

    rescale = section.rescale if "rescale" in section else rescales(section.transform)
    about = {"rescale": bool(rescale), "transform": section.get("transform", "top_k")}
    learner = Learner(masked(transform, falling), prepare, about)
    return trained(method, task, config, seed, learner)
