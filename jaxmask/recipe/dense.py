"""Train a network's weights: all, or those that the rules select."""

from pathlib import Path

from ml_collections import ConfigDict

from jaxmask import adapter, report, tree
from jaxmask.data import Dataset
from jaxmask.errors import InputError
from jaxmask.model import weights as weights_file
from jaxmask.run import directory, result, starting, texts
from jaxmask.run import task as tasks
from jaxmask.run.driver import Begin, Experiment
from jaxmask.run.method import check_rules
from jaxmask.run.result import Result
from jaxmask.run.seeds import named_key
from jaxmask.run.trainer import Ready, make_trainer
from jaxmask.train.records import Records


def prepare(config: ConfigDict, dataset: Dataset | None = None) -> Begin:
    """Checks what can be checked; returns a function that runs in a run directory.

    It trains, keeps the best epoch on validation data, and reads the test split once. The weights
    are in `weights.safetensors`, under this package's names.

    Args:
      dataset: that of the config's data section, if it is already loaded.

    Raises:
      InputError: the config is invalid (or, during the run, the loss is never finite).
    """
    start, about = starting.load_start(
        config.start, config.network, starting.pixels(config.data), texts.of_words(config.data)
    )
    dataset = dataset or tasks.dataset_of(config, about)
    normalization = tasks.normalization_of(config.data, dataset, about)
    options = about.get("options", {})
    task = tasks.make_task(config.data, config.network, dataset, normalization, options)
    way = adapter.weights(config.rules)
    trainer = make_trainer(task, config.train, way, config.seed, "train", "weights")
    start = starting.for_images(start, task)
    starting.check_fits(task, start)
    check_rules("the recipe 'dense'", way, tasks.shapes(task)["params"])

    def run(folder: Path, shared: Path | None = None) -> Experiment:
        finished = directory.begin(folder, config)
        if finished is not None:
            return finished
        key = named_key(config.seed, "start")
        variables = starting.starting_variables(task, start, key)
        learned, frozen = way.init(key, variables["params"])
        ready = Ready(learned, frozen, variables["batch_stats"])
        fit = yield trainer.job(ready, {}, "dense", folder, folder.name)
        if fit.epoch == 0:
            raise InputError(
                f"{folder.name}: the loss is not finite after {fit.steps} steps; "
                "lower train.learning_rate or set train.clip, and give another --workdir"
            )
        test = trainer.test(fit, frozen)
        with Records(folder, fit.steps) as records:
            records.write(fit.steps, fit.epoch, "test", **test)
        trained = {"params": way.parameters(fit.learned, frozen), "batch_stats": fit.batch_stats}
        described = {**tasks.about_network(config.network, task), "dataset": dataset.name}
        size = weights_file.save(folder / weights_file.NAME, trained, described)
        report.figures.method(folder, "dense", {})
        return result.write(
            folder,
            Result(
                recipe="dense",
                method="dense",
                dataset=dataset.name,
                seed=config.seed,
                accuracy=test["accuracy"],
                validation_accuracy=fit.validation.get("accuracy"),
                storage_bytes=size,
                steps=fit.steps,
                seconds=fit.seconds,
                network=config.network.name,
                trained_numbers=tree.size(fit.learned),
                more={
                    "epoch": fit.epoch,
                    "stopped_early": fit.stopped_early,
                    "diverged": fit.diverged,
                    "waited": fit.waited,
                    **texts.told(test),
                },
            ),
        )

    return Begin(run, (trainer.planned,))
