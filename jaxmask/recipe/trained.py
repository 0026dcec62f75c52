"""What all methods of `adapt` that train have in common: choices, a final run, a task file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from flax import traverse_util
from ml_collections import ConfigDict

from jaxmask import mask, report, tree
from jaxmask.errors import InputError
from jaxmask.recipe import run_directory, setup, starting, task_file
from jaxmask.recipe.composition import Composition
from jaxmask.recipe.trainer import RATES, Prepared, make_trainer
from jaxmask.recipe.tuning import Choice, best_choice
from jaxmask.train import loop
from jaxmask.train.records import Records

Method = Callable[[starting.Start, Path], dict[str, Any]]


class Learner(NamedTuple):
    """What makes a method.

    Attributes:
      composition: how parameters come from what is learned and what is frozen.
      prepare: (start, name, folder) -> the trees before the first step; randomness comes from
        the name, `folder` is the method's run directory.
      about: what its task file says besides, see `mask.restore`.
    """

    composition: Composition
    prepare: Callable[[starting.Start, str, Path], Prepared]
    about: dict[str, Any]


def head_rule(config: ConfigDict) -> tuple[str, str]:
    """A new head is trained; one made of text embeddings stays as it is."""
    return ("head/.*", "freeze" if config.head == "text" else "train")


def trained(
    method: str, task: setup.Task, config: ConfigDict, seed: int, learner: Learner
) -> Method:
    """A method that trains: tries its choices, trains the best anew, reads the test split once."""
    section = config[method]
    if section.tune not in RATES:
        raise InputError(f"{method}.tune is {section.tune!r}; it is {' or '.join(RATES)}")
    trainer = make_trainer(task, section.train, learner.composition, seed, f"{method}.train")
    own = config.copy_and_resolve_references()
    own.methods = (method,)

    def train(
        start: starting.Start, value: float, name: str, folder: Path, root: Path
    ) -> tuple[dict[str, Any], loop.Fit, Prepared]:
        prepared = learner.prepare(start, name, root)
        title = method if folder == root else f"{method} {folder.name}"
        fit = trainer.fit(prepared, {section.tune: value}, name, folder, title)
        result = {
            "recipe": "adapt",
            "method": method,
            "dataset": task.dataset.name,
            "network": config.network.name,
            "seed": config.seed,
            "accuracy": None,
            "validation_accuracy": fit.validation.get("accuracy"),
            "validation_loss": fit.validation.get("loss"),
            "density": 1.0,
            "density_by_leaf": {},
            "mask_bits": 0,
            "trained_numbers": sum(
                tree.size(fit.learned.get(group)) for group in ("mask", "train", "low_rank")
            ),
            section.tune: value,
            "train_examples": len(task.dataset.train.labels),
            "epoch": fit.epoch,
            "stopped_early": fit.stopped_early,
            "diverged": fit.diverged,
            "steps": fit.steps,
            "seconds": fit.seconds,
            "waited": fit.waited,
        }
        return result, fit, prepared

    def store(
        start: starting.Start, folder: Path, result: dict[str, Any], fit: loop.Fit,
        prepared: Prepared,
    ) -> dict[str, Any]:  # fmt: skip
        """Writes the task file and the figures; gives what `result.json` says of them."""
        masks = learner.composition.masks(fit.learned, prepared.frozen)
        arrays = {
            "params": _beside(prepared, fit, start),
            "batch_stats": fit.batch_stats,
            "low_rank": fit.learned.get("low_rank", {}),
        }
        metrics = {name: result[name] for name in ("accuracy", "validation_accuracy")}
        about = {"method": method, "metrics": metrics, section.tune: result[section.tune]}
        size = task_file.save(
            folder / "masks" / "task.mask", masks, arrays, task, config, start,
            {**learner.about, **about},
        )  # fmt: skip
        about_masks = {
            "density": float(mask.measure.density(masks)),
            "density_by_leaf": mask.measure.density_by_leaf(masks),
            "mask_bits": tree.size(masks),
            "empty_leaves": mask.measure.empty_leaves(masks),
        } if tree.size(masks) else {}  # fmt: skip
        result = {**result, "storage_bytes": size, **about_masks}
        report.figures.method(folder, method, result["density_by_leaf"])
        return result

    def attempt(start: starting.Start, value: float, folder: Path, root: Path) -> Choice:
        mine = own.copy_and_resolve_references()
        mine[method].choices = (value,)
        result = run_directory.begin(folder, mine)
        if result is None:
            result, fit, prepared = train(start, value, f"{method}/choice", folder, root)
            result = store(start, folder, result, fit, prepared)
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
            method,
            section.choices,
            lambda value: attempt(start, value, folder / names[value], folder),
        )
        result, fit, prepared = train(start, value, f"{method}/final", folder, folder)
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
        result = store(start, folder, result, fit, prepared)
        return run_directory.finish(folder, result)

    return run


def _beside(prepared: Prepared, fit: loop.Fit, start: starting.Start) -> dict[str, Any]:
    """The parameters that the task needs beside the base network: trained ones, and its head."""
    flat = traverse_util.flatten_dict(fit.learned["train"], sep="/")
    if not start.head_in_base:
        for part in ("mask", "freeze"):
            frozen = traverse_util.flatten_dict(prepared.frozen[part], sep="/")
            flat |= {
                name: leaf
                for name, leaf in frozen.items()
                if name.startswith("head/") and leaf is not None
            }
    return traverse_util.unflatten_dict(flat, sep="/")
