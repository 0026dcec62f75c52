"""The methods that `adapt` compares: each takes starting weights to a finished run directory."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxmask import model, tree
from jaxmask.errors import InputError
from jaxmask.recipe import setup, starting
from jaxmask.recipe.composition import PLAIN, low_rank, low_rank_factors
from jaxmask.recipe.frozen_features import linear_probe, neighbors
from jaxmask.recipe.masked import learn_mask, learn_sign, learn_top_k
from jaxmask.recipe.trained import Learner, Method, head_rule, trained
from jaxmask.recipe.trainer import Prepared

Rules = list[tuple[str, str]]


def full(task: setup.Task, config: ConfigDict, seed: int) -> Method:
    """Fine-tune every weight."""
    return _weights("full", task, config, seed, [(".*", "train")])


def partial(task: setup.Task, config: ConfigDict, seed: int) -> Method:
    """Fine-tune the last stages."""
    stages = model.stages(config.network.name)
    count = config.partial.stages
    if not 1 <= count <= len(stages):
        raise InputError(
            f"partial.stages is {count}; {config.network.name} has {len(stages)} stages"
        )
    return _weights("partial", task, config, seed, [(path, "train") for path in stages[-count:]])


def bias(task: setup.Task, config: ConfigDict, seed: int) -> Method:
    """Fine-tune the biases only (BitFit, Ben Zaken et al. 2022)."""
    return _weights("bias", task, config, seed, [("(.*/)?bias", "train")])


def norm(task: setup.Task, config: ConfigDict, seed: int) -> Method:
    """Fine-tune scales and biases of batch and layer norms only (Frankle et al. 2021)."""
    rules = norm_rules(setup.shapes(task)["params"])
    if not rules:
        raise InputError(f"norm: {config.network.name} has no batch or layer norm")
    return _weights("norm", task, config, seed, rules)


def norm_rules(parameters: Any) -> Rules:
    """Rules that train every module with a scale, which are the norms."""
    scaled = [path.rpartition("/")[0] for path in tree.paths(parameters) if path.endswith("/scale")]
    return [(re.escape(module) + "/.*", "train") for module in scaled]


def lora(task: setup.Task, config: ConfigDict, seed: int) -> Method:
    """Learn low-rank updates of the kernels (LoRA, Hu et al. 2022)."""
    section = config.lora
    setup.check_numbers("lora.rank", [section.rank], 1)
    setup.check_numbers("lora.scale", [section.scale], 0)
    rules = section.rules or [
        rule for rule in model.rules(config.network.name) if not rule[0].startswith("head/")
    ]
    shapes = setup.shapes(task)["params"]
    labels = tree.label(shapes, [head_rule(config), *rules])
    labels = jax.tree.map(
        lambda label, leaf: "freeze" if label == "mask" and len(leaf.shape) < 2 else label,
        labels, shapes,
    )  # fmt: skip
    if "mask" not in jax.tree.leaves(labels):
        raise InputError("lora.rules name no kernel with the label 'mask'")

    def prepare(start: starting.Start, name: str, folder: Path) -> Prepared:
        variables = starting.starting_variables(
            task, start, setup.named_key(seed, f"{name}/weights")
        )
        parts = tree.partition(variables["params"], labels)
        key = setup.named_key(seed, f"{name}/factors")
        factors = low_rank_factors(key, parts["mask"], section.rank)
        holes = jax.tree.map(lambda _: None, variables["params"])
        return Prepared(
            {"mask": holes, "train": parts["train"], "low_rank": factors},
            {"mask": parts["mask"], "freeze": parts["freeze"]},
            variables["batch_stats"],
        )

    learner = Learner(low_rank(section.scale), prepare, {"low_rank_scale": section.scale})
    return trained("lora", task, config, seed, learner)


METHODS: dict[str, Callable[[setup.Task, ConfigDict, int], Method]] = {
    "knn": neighbors,
    "linear_probe": linear_probe,
    "full": full,
    "partial": partial,
    "bias": bias,
    "norm": norm,
    "lora": lora,
    "mask": learn_mask,
    "mask_topk": learn_top_k,
    "mask_sign": learn_sign,
}


def _weights(method: str, task: setup.Task, config: ConfigDict, seed: int, rules: Rules) -> Method:
    """A method that trains the weights that its rules name, and the head."""
    labels = tree.label(setup.shapes(task)["params"], [head_rule(config), *rules])

    def prepare(start: starting.Start, name: str, folder: Path) -> Prepared:
        variables = starting.starting_variables(
            task, start, setup.named_key(seed, f"{name}/weights")
        )
        parts = tree.partition(variables["params"], labels)
        return Prepared(
            {"mask": parts["mask"], "train": parts["train"]},
            {"mask": parts["mask"], "freeze": parts["freeze"]},
            variables["batch_stats"],
        )

    return trained(method, task, config, seed, Learner(PLAIN, prepare, {}))
