"""Take a trained network to a new task, and compare what that costs with each method."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxmask import report
from jaxmask.errors import InputError, nearest
from jaxmask.recipe import defaults, dense, run_directory, setup
from jaxmask.recipe.methods import METHODS
from jaxmask.train.records import replace_text


def run(config: ConfigDict, folder: Path) -> dict[str, Any]:
    """Gets the starting weights, adapts them with every method, and compares the methods.

    Each method has a complete run directory of its own beneath `folder`, as has the pretraining.
    Everything that can be checked is checked before anything is trained.

    Returns:
      What `result.json` holds: the comparison, with one entry of `methods` for each.
    """
    check_methods(config)
    seed = config.seed
    pretrain = config.start == "pretrain"
    start, about = setup.load_start("random" if pretrain else config.start)
    dataset = setup.load_data(config.data, seed)
    if len(dataset.validation.labels) == 0:
        raise InputError("adapt chooses on validation data: set data.validation above 0")
    base_dataset = setup.load_data(config.pretrain.data, seed) if pretrain else dataset
    normalisation = setup.normalisation_of(config.data, base_dataset, about)
    task = setup.make_task(config.data, config.network, dataset, normalisation)
    setup.check_fits(task, start)
    methods = {name: METHODS[name](task, config, seed) for name in config.methods}
    finished = run_directory.begin(folder, config)
    if finished is not None:
        return finished
    pretraining = None
    if pretrain:
        pretraining = dense.run(_pretraining(config, normalisation), folder / "pretrain")
        start, _ = setup.load_start(str(folder / "pretrain"))
    results = {name: method(start, folder / name) for name, method in methods.items()}
    report.figures.comparison(folder, list(results))
    table = report.tables.comparison(folder, list(results))
    replace_text(folder / "table.md", report.tables.markdown(table))
    best = max(results, key=lambda name: results[name]["validation_accuracy"])
    summary = {
        name: {key: result[key] for key in ("accuracy", "validation_accuracy", "density",
               "mask_bits", "storage_bytes", "trained_numbers", "seconds")}
        for name, result in results.items()
    }  # fmt: skip
    return run_directory.finish(
        folder,
        {
            "recipe": "adapt",
            "method": best,  # the best on validation data
            "dataset": dataset.name,
            "seed": seed,
            **{
                key: results[best][key]
                for key in ("accuracy", "validation_accuracy", "density", "density_by_leaf",
                            "mask_bits", "storage_bytes")
            },
            "steps": sum(result["steps"] for result in results.values()),
            "seconds": sum(result["seconds"] for result in results.values()),
            "methods": summary,
            "pretraining_accuracy": pretraining and pretraining["accuracy"],
            "runs": [*(["pretrain"] if pretrain else []), *results],
        },
    )  # fmt: skip


def check_methods(config: ConfigDict) -> None:
    """Raises InputError for an unknown method, or methods with unequal budgets of choices."""
    if not config.methods:
        raise InputError(f"config.methods is empty; known are {', '.join(METHODS)}")
    for name in config.methods:
        if name not in METHODS:
            raise InputError(f"unknown method {name!r}{nearest(name, METHODS)}")
    if len(set(config.methods)) < len(config.methods):
        raise InputError(f"config.methods names a method twice: {tuple(config.methods)}")
    budgets = {name: len(config[name].choices) for name in config.methods}
    if len(set(budgets.values())) > 1 or 0 in budgets.values():
        raise InputError(
            "every method gets the same number of choices, at least one; here they have "
            + ", ".join(f"{name}: {count}" for name, count in budgets.items())
        )


def _pretraining(config: ConfigDict, normalisation: setup.Normalisation) -> ConfigDict:
    """The config of the dense run that the `pretrain` section describes."""
    pretraining = defaults.dense(config.pretrain.data.name, 1)
    pretraining.seed = config.seed
    pretraining.network = config.network
    pretraining.data = config.pretrain.data.copy_and_resolve_references()
    pretraining.data.mean, pretraining.data.std = normalisation
    pretraining.train = config.pretrain.train
    pretraining.compilation_cache = config.compilation_cache
    return pretraining
