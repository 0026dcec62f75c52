"""Train a network's weights: all, or those that the rules say."""

from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxmask import tree
from jaxmask.errors import InputError
from jaxmask.recipe import run_directory, setup
from jaxmask.recipe.trainer import make_trainer
from jaxmask.train.records import Records


def run(config: ConfigDict, folder: Path) -> dict[str, Any]:
    """Trains, keeps the epoch that is best on validation data, reads the test split once.

    Returns:
      What `result.json` holds. The weights lie in `weights.safetensors`, by their names here.
    """
    seed = config.seed
    start, about = setup.load_start(config.start)
    dataset = setup.load_data(config.data, seed)
    normalisation = setup.normalisation_of(config.data, dataset, about)
    task = setup.make_task(config.data, config.network, dataset, normalisation)
    trainer = make_trainer(task, config.train, None, seed)
    setup.check_fits(task, start)
    labels = tree.label(setup.shapes(task)["params"], config.rules, default="freeze")
    kinds = set(jax.tree.leaves(labels))
    if "mask" in kinds or "train" not in kinds:
        raise InputError("the recipe 'dense' trains weights: its rules say 'train' or 'freeze'")
    finished = run_directory.begin(folder, config)
    if finished is not None:
        return finished
    variables = setup.starting_variables(task, start, setup.named_key(seed, "weights"))
    parts = tree.partition(variables["params"], labels)
    learned = {"mask": parts["mask"], "train": parts["train"]}
    frozen = {"mask": parts["mask"], "freeze": parts["freeze"]}
    fit = trainer.fit(learned, frozen, variables["batch_stats"], {}, "dense", folder, folder.name)
    if fit.diverged:
        raise InputError(
            f"{folder.name}: the loss is not finite after {fit.steps} steps; "
            "lower train.learning_rate or set train.clip"
        )
    test = trainer.test(fit.learned, frozen, fit.batch_stats, dataset.test)
    with Records(folder, fit.steps) as records:
        records.write(fit.steps, fit.epoch, "test", **test)
    parameters = tree.combine(fit.learned["train"], frozen["freeze"])
    about_it = setup.about_network(config.network, task)
    size = run_directory.save_weights(
        folder / "weights.safetensors",
        {"params": parameters, "batch_stats": fit.batch_stats},
        about_it,
    )
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
            "trained_numbers": tree.size(learned),
            "epoch": fit.epoch,
            "stopped_early": fit.stopped_early,
            "steps": fit.steps,
            "seconds": fit.seconds,
        },
    )
