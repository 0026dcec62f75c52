"""The methods that `adapt` compares: each takes starting weights to a finished run directory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from flax import traverse_util
from ml_collections import ConfigDict

from jaxmask import mask, model, report, tree
from jaxmask.errors import InputError
from jaxmask.recipe import run_directory, setup, starting
from jaxmask.recipe.probe import linear_probe
from jaxmask.recipe.trainer import RATES, Prepared, Trainer, make_trainer, masking
from jaxmask.recipe.tuning import Choice, best_choice
from jaxmask.train import loop
from jaxmask.train.named import call
from jaxmask.train.records import Records

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

Method = Callable[[starting.Start, Path], dict[str, Any]]
Prepare = Callable[[starting.Start, str], Prepared]


def full(task: setup.Task, config: ConfigDict, seed: int) -> Method:
    """Fine-tune every weight, the head among them."""
    trainer = make_trainer(task, config.full.train, None, seed, "full.train")

    def prepare(start: starting.Start, name: str) -> Prepared:
        key = setup.named_key(seed, f"{name}/weights")
        variables = starting.starting_variables(task, start, key)
        holes = jax.tree.map(lambda _: None, variables["params"])
        return Prepared(
            {"mask": holes, "train": variables["params"]},
            {"mask": holes, "freeze": holes},
            variables["batch_stats"],
        )

    return _trained("full", task, config, trainer, prepare, None)


def learn_mask(task: setup.Task, config: ConfigDict, seed: int) -> Method:
    """Learn one bit for each frozen weight; the head is trained or masked."""
    section = config.mask
    transform = mask_transform(section.transform)
    if section.trainable_by not in ("random", "magnitude"):
        raise InputError(
            f"mask.trainable_by is {section.trainable_by!r}; it is 'random' or 'magnitude'"
        )
    if not 0 < section.trainable_share <= 1:
        raise InputError(
            f"mask.trainable_share is {section.trainable_share}; it must be above 0, at most 1"
        )
    labels = tree.label(setup.shapes(task)["params"], mask_rules(section, config.network.name))
    if not any(label == "mask" for label in jax.tree.leaves(labels)):
        raise InputError("mask.rules mask nothing; label a path with 'mask'")
    trainer = make_trainer(task, section.train, transform, seed, "mask.train")

    def prepare(start: starting.Start, name: str) -> Prepared:
        key = setup.named_key(seed, f"{name}/weights")
        variables = starting.starting_variables(task, start, key)
        parts = tree.partition(variables["params"], labels)
        frozen = {"mask": parts["mask"], "freeze": parts["freeze"]}
        if section.trainable_share < 1:
            frozen["selected"] = (
                mask.largest_share(parts["mask"], section.trainable_share)
                if section.trainable_by == "magnitude"
                else mask.random_share(
                    setup.named_key(seed, f"{name}/selected"),
                    parts["mask"],
                    section.trainable_share,
                )
            )
        scores = transform.init(setup.named_key(seed, f"{name}/scores"), parts["mask"])
        return Prepared({"mask": scores, "train": parts["train"]}, frozen, variables["batch_stats"])

    return _trained("mask", task, config, trainer, prepare, transform)


METHODS: dict[str, Callable[[setup.Task, ConfigDict, int], Method]] = {
    "linear_probe": linear_probe,
    "full": full,
    "mask": learn_mask,
}


def mask_transform(text: str) -> mask.MaskTransform:
    """The transform that a config names, tried on a small tree before it is used."""
    transform = call(text, TRANSFORMS, "mask transform")
    if not isinstance(transform, mask.MaskTransform):
        raise InputError(f"mask.transform {text!r} initialises scores, no more")
    small = {"kernel": jax.ShapeDtypeStruct((2, 2), "float32")}
    try:
        scores = jax.eval_shape(transform.init, jax.random.key(0), small)
        jax.eval_shape(transform.apply, scores, small)
    except (TypeError, ValueError) as error:
        raise InputError(f"mask.transform {text!r}: {str(error).splitlines()[0]}") from None
    return transform


def mask_rules(section: ConfigDict, network: str) -> list[tuple[str, str]]:
    """Path rules of a mask section: its head's, then its own or else the network's."""
    if section.head not in ("train", "mask"):
        raise InputError(f"mask.head is {section.head!r}; it is 'train' or 'mask'")
    head = ("head/.*", "train") if section.head == "train" else ("head/kernel", "mask")
    body = section.rules or [
        rule for rule in model.rules(network) if not rule[0].startswith("head/")
    ]
    return [head, *body]


def _trained(
    method: str,
    task: setup.Task,
    config: ConfigDict,
    trainer: Trainer,
    prepare: Prepare,
    transform: mask.MaskTransform | None,
) -> Method:
    """A method that trains: tries its choices, trains the best anew, reads the test split once."""
    section = config[method]
    if section.tune not in RATES:
        raise InputError(f"{method}.tune is {section.tune!r}; it is {' or '.join(RATES)}")
    own = config.copy_and_resolve_references()
    own.methods = (method,)

    def train(
        start: starting.Start, value: float, name: str, folder: Path
    ) -> tuple[dict[str, Any], loop.Fit, Prepared]:
        prepared = prepare(start, name)
        title = f"{method} {folder.name}" if folder.name != method else method
        fit = trainer.fit(prepared, {section.tune: value}, name, folder, title)
        beside = {"params": _beside(prepared, fit, start), "batch_stats": fit.batch_stats}
        about = setup.about_network(config.network, task)
        size = run_directory.save_weights(folder / "weights.safetensors", beside, about)
        result = {
            "recipe": "adapt",
            "method": method,
            "dataset": task.dataset.name,
            "seed": config.seed,
            "accuracy": None,
            "validation_accuracy": fit.validation.get("accuracy"),
            "validation_loss": fit.validation.get("loss"),
            "density": 1.0,
            "density_by_leaf": {},
            "mask_bits": 0,
            "storage_bytes": size,
            "trained_numbers": tree.size(fit.learned),
            section.tune: value,
            "epoch": fit.epoch,
            "stopped_early": fit.stopped_early,
            "diverged": fit.diverged,
            "steps": fit.steps,
            "seconds": fit.seconds,
        }
        if transform is not None:
            masks = masking(transform, prepared.frozen).mask(fit.learned["mask"])
            about_mask = {"network": config.network.name, "transform": section.transform}
            result |= _save_mask(folder / "masks" / "task.mask", masks, about_mask)
            result["storage_bytes"] += (folder / "masks" / "task.mask").stat().st_size
        report.figures.method(folder, method, result["density_by_leaf"])
        return result, fit, prepared

    def attempt(start: starting.Start, value: float, folder: Path) -> Choice:
        mine = own.copy_and_resolve_references()
        mine[method].choices = (value,)
        result = run_directory.begin(folder, mine)
        if result is None:
            result, _, _ = train(start, value, f"{method}/choice", folder)
            result = run_directory.finish(folder, result)
        if result["diverged"]:
            return Choice(value, None, None, result["seconds"])
        measured = result["validation_accuracy"], result["validation_loss"]
        return Choice(value, *measured, result["seconds"])

    def run(start: starting.Start, folder: Path) -> dict[str, Any]:
        finished = run_directory.begin(folder, own)
        if finished is not None:
            return finished
        names = {value: f"choices/{section.tune}_{value!r}" for value in section.choices}
        value, choices = best_choice(
            method, section.choices, lambda value: attempt(start, value, folder / names[value])
        )
        result, fit, prepared = train(start, value, f"{method}/final", folder)
        if fit.epoch == 0:
            raise InputError(
                f"{method}: the loss is not finite after {fit.steps} steps with {section.tune} "
                f"{value:g}; give {method}.choices smaller values"
            )
        test = trainer.test(fit, prepared.frozen)
        with Records(folder, fit.steps) as records:
            records.write(fit.steps, fit.epoch, "test", **test)
        result["accuracy"] = test["accuracy"]
        result["choices"] = [choice._asdict() for choice in choices]
        result["seconds_of_choices"] = sum(choice.seconds for choice in choices)
        result["runs"] = list(names.values()) if choices else []
        return run_directory.finish(folder, result)

    return run


def _beside(prepared: Prepared, fit: loop.Fit, start: starting.Start) -> dict[str, Any]:
    """The parameters that the task needs beside the base network: trained ones, and its head."""
    flat = traverse_util.flatten_dict(fit.learned["train"], sep="/")
    if not start.head:
        for part in ("mask", "freeze"):
            frozen = traverse_util.flatten_dict(prepared.frozen[part], sep="/")
            flat |= {
                name: leaf
                for name, leaf in frozen.items()
                if name.startswith("head/") and leaf is not None
            }
    return traverse_util.unflatten_dict(flat, sep="/")


def _save_mask(path: Path, masks: Any, about: dict[str, str]) -> dict[str, Any]:
    """Writes the mask file; gives what `result.json` says of it."""
    path.parent.mkdir(exist_ok=True)
    mask.file.save(path, masks, metadata=about)
    return {
        "density": float(mask.measure.density(masks)),
        "density_by_leaf": mask.measure.density_by_leaf(masks),
        "mask_bits": tree.size(masks),
        "empty_leaves": mask.measure.empty_leaves(masks),
    }
