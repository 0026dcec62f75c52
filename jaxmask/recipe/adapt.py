"""Take a trained network to a new task, and compare what that costs with each method."""

from pathlib import Path

from ml_collections import ConfigDict

from jaxmask import report
from jaxmask.errors import InputError, nearest
from jaxmask.recipe import defaults, dense, run_directory, setup, starting
from jaxmask.recipe.experiment import Begin, Experiment
from jaxmask.recipe.methods import METHODS
from jaxmask.train.records import replace_text


def prepare(config: ConfigDict) -> Begin:
    """Checks all that can be checked; the function that it returns runs in a run directory.

    It gets the starting weights, adapts them with every method, and compares the methods: the
    result has one entry of `methods` for each. Each method has a complete run directory of its own
    beneath the run's, as has the pretraining. Random starting weights are drawn once, for all
    methods, and kept in `start.safetensors`.

    Raises:
      InputError: the config cannot be run (or, when it runs, a method's loss was never finite).
    """
    check_methods(config)
    seed = config.seed
    pretrain = config.start == "pretrain"
    start, about = starting.load_start(
        "random" if pretrain else config.start, config.network, starting.pixels(config.data)
    )
    dataset = setup.load_data(config.data, seed)
    if len(dataset.validation.labels) == 0:
        raise InputError("adapt chooses on validation data: set data.validation above 0")
    if pretrain:
        pretrain_config = _pretraining(config)
        base = setup.load_data(pretrain_config.data, seed)
        normalization = setup.normalization_of(pretrain_config.data, base, {})
        pretrain_config.data.mean, pretrain_config.data.std = normalization
        run_pretraining = dense.prepare(pretrain_config, base)
    else:
        normalization = setup.normalization_of(config.data, dataset, about)
    task = setup.make_task(config.data, config.network, dataset, normalization)
    if config.head == "text":
        start = starting.with_text_head(start, dataset.classes, config.prompt)
    elif config.head != "new":
        raise InputError(f"head is {config.head!r}; it is 'new' or 'text'")
    starting.check_fits(task, start)
    methods = {name: METHODS[name](task, config, seed) for name in config.methods}

    def run(folder: Path, shared: Path | None = None) -> Experiment:
        finished = run_directory.begin(folder, config)
        if finished is not None:
            return finished
        begun, pretraining = start, None
        if pretrain:
            pretraining = yield from run_pretraining(folder / "pretrain", None)
            begun, _ = starting.load_start(str(folder / "pretrain"), config.network)
        elif start.weights is None:
            weights = starting.random_weights(task, seed)
            begun = starting.Start(weights, "random", head=True, head_in_base=True)
            network = setup.about_network(config.network, task)
            run_directory.save_weights(folder / "start.safetensors", weights, network)
        results = {name: method(begun, folder / name) for name, method in methods.items()}
        report.figures.comparison(folder, list(results))
        table = report.tables.comparison(folder, list(results))
        replace_text(folder / "table.md", report.tables.markdown(table))
        best = max(results, key=lambda name: results[name]["validation_accuracy"])
        summary = {
            name: {key: result[key] for key in ("accuracy", "validation_accuracy", "density",
                   "mask_bits", "storage_bytes", "trained_numbers", "seconds",
                   "seconds_of_choices")}
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

    return run


def check_methods(config: ConfigDict) -> None:
    """Raises InputError for an unknown method, or methods with unequal budgets of choices."""
    if not config.methods:
        raise InputError(f"config.methods is empty; known are {', '.join(METHODS)}")
    for name in config.methods:
        if name not in METHODS or not isinstance(name, str):
            raise InputError(f"unknown method {name!r}{nearest(str(name), METHODS)}")
        choices = config[name].choices
        setup.check_numbers(f"{name}.choices", choices, 0)
        if len(set(choices)) < len(choices):
            raise InputError(f"{name}.choices has a value twice: {tuple(choices)}")
    if len(set(config.methods)) < len(config.methods):
        raise InputError(f"config.methods names a method twice: {tuple(config.methods)}")
    budgets = {name: len(config[name].choices) for name in config.methods}
    if len(set(budgets.values())) > 1 or 0 in budgets.values():
        raise InputError(
            "every method gets the same number of choices, at least one; here they have "
            + ", ".join(f"{name}: {count}" for name, count in budgets.items())
        )


def _pretraining(config: ConfigDict) -> ConfigDict:
    """The config of the dense run that the `pretrain` section describes.

    Where its data lies, and how it is normalized, is as for the task's data unless it says so.
    """
    section, data = config.pretrain, config.data
    pretraining = defaults.dense(section.data.name, 1)
    pretraining.seed = config.seed
    pretraining.network = config.network
    pretraining.data = section.data.copy_and_resolve_references()
    for field in ("directory", "cache", "mean", "std"):
        pretraining.data[field] = section.data[field] or data[field]
    pretraining.data.memory_gib = data.memory_gib
    pretraining.train = section.train
    pretraining.compilation_cache = config.compilation_cache
    return pretraining
