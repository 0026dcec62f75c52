"""Train a network's weights: all, or those that the rules say."""

from pathlib import Path

import jax
from ml_collections import ConfigDict

from jaxmask import report, tree
from jaxmask.data import Dataset
from jaxmask.errors import InputError
from jaxmask.recipe import run_directory, setup, starting
from jaxmask.recipe.composition import PLAIN
from jaxmask.recipe.experiment import Begin, Experiment
from jaxmask.recipe.trainer import Prepared, make_trainer
from jaxmask.train.records import Records


def prepare(config: ConfigDict, dataset: Dataset | None = None) -> Begin:
    """Checks all that can be checked; the function that it returns runs in a run directory.

    It trains, keeps the epoch that is best on validation data, and reads the test split once. The
    weights lie in `weights.safetensors`, by their names here.

    Args:
      dataset: what the config's data section describes, if it is loaded already.

    Raises:
      InputError: the config cannot be run (or, when it runs, the loss was never finite).
    """
    seed = config.seed
    start, about = starting.load_start(config.start, config.network, starting.pixels(config.data))
    dataset = dataset or setup.load_data(config.data, seed)
    normalization = setup.normalization_of(config.data, dataset, about)
    task = setup.make_task(config.data, config.network, dataset, normalization)
    trainer = make_trainer(task, config.train, PLAIN, seed, "train")
    starting.check_fits(task, start)
    labels = tree.label(setup.shapes(task)["params"], config.rules, default="freeze")
    kinds = set(jax.tree.leaves(labels))
    if "mask" in kinds or "train" not in kinds:
        raise InputError("the recipe 'dense' trains weights: its rules say 'train' or 'freeze'")

    def run(folder: Path, shared: Path | None = None) -> Experiment:
        finished = run_directory.begin(folder, config)
        if finished is not None:
            return finished
        variables = starting.starting_variables(task, start, setup.named_key(seed, "start"))
        parts = tree.partition(variables["params"], labels)
        prepared = Prepared(
            {"mask": parts["mask"], "train": parts["train"]},
            {"mask": parts["mask"], "freeze": parts["freeze"]},
            variables["batch_stats"],
        )
        fit = yield trainer.job(prepared, {}, "dense", folder, folder.name)
        if fit.epoch == 0:
            raise InputError(
                f"{folder.name}: the loss is not finite after {fit.steps} steps; "
                "lower train.learning_rate or set train.clip, and give another --workdir"
            )
        test = trainer.test(fit, prepared.frozen)
        with Records(folder, fit.steps) as records:
            records.write(fit.steps, fit.epoch, "test", **test)
        weights = {
            "params": tree.combine(fit.learned["train"], parts["freeze"]),
            "batch_stats": fit.batch_stats,
        }
        size = run_directory.save_weights(
            folder / "weights.safetensors",
            weights,
            {**setup.about_network(config.network, task), "dataset": dataset.name},
        )
        report.figures.method(folder, "dense", {})
        return run_directory.finish(
            folder,
            {
                "recipe": "dense",
                "method": "dense",
                "dataset": dataset.name,
                "seed": seed,
                "accuracy": test["accuracy"],
                "validation_accuracy": fit.validation.get("accuracy"),
                "density": 1.0,
                "density_by_leaf": {},
                "mask_bits": 0,
                "storage_bytes": size,
                "trained_numbers": tree.size(fit.learned),
                "epoch": fit.epoch,
                "stopped_early": fit.stopped_early,
                "diverged": fit.diverged,
                "steps": fit.steps,
                "seconds": fit.seconds,
                "waited": fit.waited,
            },
        )

    return run
