"""The methods that `adapt` compares: each takes starting weights to a finished run directory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from jaxmask import mask, model, tree
from jaxmask.errors import InputError
from jaxmask.recipe import run_directory, setup
from jaxmask.recipe.probe import linear_probe
from jaxmask.recipe.trainer import RATES, Trainer, make_trainer, masking
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

Method = Callable[[setup.Start, Path], dict[str, Any]]


class Prepared(NamedTuple):
    """A method's trees before its first step."""

    learned: dict[str, Any]
    frozen: dict[str, Any]
    batch_stats: Any


def full(task: setup.Task, config: ConfigDict, seed: int) -> Method:
    """Fine-tune every weight, the new head among them."""
    trainer = make_trainer(task, config.full.train, None, seed)

    def prepare(start: setup.Start, name: str) -> Prepared:
        key = setup.named_key(seed, f"{name}/weights")
        variables = setup.starting_variables(task, start, key)
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
    transform = call(section.transform, TRANSFORMS, "mask transform")
    if not isinstance(transform, mask.MaskTransform):
        raise InputError(f"mask.transform {section.transform!r} initialises scores, no more")
    if section.trainable_by not in ("random", "magnitude"):
        raise InputError(
            f"mask.trainable_by is {section.trainable_by!r}; it is 'random' or 'magnitude'"
        )
    if not 0 < section.trainable_share <= 1:
        raise InputError(
            f"mask.trainable_share is {section.trainable_share}; it must be above 0, at most 1"
        )
    rules = mask_rules(section, config.network.name)
    shapes = setup.shapes(task)
    labels = tree.label(shapes["params"], rules)
    if not any(label == "mask" for label in jax.tree.leaves(labels)):
        raise InputError("mask.rules mask nothing; label a path with 'mask'")
    trainer = make_trainer(task, section.train, transform, seed)

    def prepare(start: setup.Start, name: str) -> Prepared:
        key = setup.named_key(seed, f"{name}/weights")
        variables = setup.starting_variables(task, start, key)
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


def mask_rules(section: ConfigDict, network: str) -> list[tuple[str, str]]:
    """Path rules of a mask section: its head's, then its own or else the network's."""
    if section.head not in ("train", "mask"):
        raise InputError(f"mask.head is {section.head!r}; it is 'train' or 'mask'")
    head = ("head/.*", "train") if section.head == "train" else ("head/kernel", "mask")
    body = section.rules or [
        rule for rule in model.rules(network) if not rule[0].startswith("head/")
    ]
    return [head, *(tuple(rule) for rule in body)]


def _trained(
    method: str,
    task: setup.Task,
    config: ConfigDict,
    trainer: Trainer,
    prepare: Callable[[setup.Start, str], Prepared],
    transform: mask.MaskTransform | None,
) -> Method:
    """A method that trains: tries its choices, trains the best anew, reads the test split once."""
    section = config[method]
    if section.tune not in RATES:
        raise InputError(f"{method}.tune is {section.tune!r}; it is {' or '.join(RATES)}")

    def train(
        start: setup.Start, value: float, name: str, folder: Path
    ) -> tuple[Prepared, loop.Fit]:
        prepared = prepare(start, name)
        title = f"{method} {folder.name}" if folder.name != method else method
        return prepared, trainer.fit(*prepared, {section.tune: value}, name, folder, title)

    def run(start: setup.Start, folder: Path) -> dict[str, Any]:
        own = config.copy_and_resolve_references()
        own.methods = (method,)
        finished = run_directory.begin(folder, own)
        if finished is not None:
            return finished

        def attempt(value: float) -> Choice:
            at = folder / "choices" / f"{section.tune}_{value:g}"
            mine = own.copy_and_resolve_references()
            mine[method].choices = (value,)
            done = run_directory.begin(at, mine)
            if done is None:
                _, fit = train(start, value, f"{method}/choice", at)
                done = run_directory.finish(at, {**_about(config, method, task), **_course(fit)})
            return Choice(value, done["validation_accuracy"], done["validation_loss"])

        value, choices = best_choice(method, section.choices, attempt)
        prepared, fit = train(start, value, f"{method}/final", folder)
        if fit.epoch == 0 or fit.diverged:
            raise InputError(
                f"{method}: the loss is not finite after {fit.steps} steps with {section.tune} "
                f"{value:g}; give {method}.choices smaller values"
            )
        test = trainer.test(fit.learned, prepared.frozen, fit.batch_stats, task.dataset.test)
        with Records(folder, fit.steps) as records:
            records.write(fit.steps, fit.epoch, "test", **test)
        beside = {"params": fit.learned["train"], "batch_stats": fit.batch_stats}
        about = setup.about_network(config.network, task)
        size = run_directory.save_weights(folder / "weights.safetensors", beside, about)
        density: dict[str, Any] = {"density": 1.0, "density_by_leaf": {}, "mask_bits": 0}
        if transform is not None:
            masks = masking(transform, prepared.frozen).mask(fit.learned["mask"])
            path = folder / "masks" / "task.mask"
            path.parent.mkdir(exist_ok=True)
            mask.file.save(path, masks, metadata={"network": config.network.name})
            size += path.stat().st_size
            density = {
                "density": float(mask.measure.density(masks)),
                "density_by_leaf": mask.measure.density_by_leaf(masks),
                "mask_bits": tree.size(masks),
                "empty_leaves": mask.measure.empty_leaves(masks),
            }
        return run_directory.finish(
            folder,
            {
                **_about(config, method, task),
                **_course(fit),
                "accuracy": test["accuracy"],
                **density,
                "storage_bytes": size,
                "trained_numbers": tree.size(fit.learned),
                "chosen": {section.tune: value},
                "choices": [choice._asdict() for choice in choices],
            },
        )

    return run


def _about(config: ConfigDict, method: str, task: setup.Task) -> dict[str, Any]:
    return {
        "recipe": "adapt",
        "method": method,
        "dataset": task.dataset.name,
        "seed": config.seed,
    }


def _course(fit: loop.Fit) -> dict[str, Any]:
    """What of `result.json` training says; without the test split, which choices never see."""
    return {
        "accuracy": None,
        "validation_accuracy": fit.validation.get("accuracy"),
        "validation_loss": fit.validation.get("loss"),
        "epoch": fit.epoch,
        "stopped_early": fit.stopped_early,
        "diverged": fit.diverged,
        "steps": fit.steps,
        "seconds": fit.seconds,
    }
