"""NAME: an experiment, in one line. Becomes jaxmask/recipe/NAME.py."""

from pathlib import Path

from ml_collections import ConfigDict

from jaxmask import adapter, tree
from jaxmask.model import weights as weights_file
from jaxmask.run import directory, result, starting
from jaxmask.run import task as tasks
from jaxmask.run.driver import Begin, Experiment
from jaxmask.run.plan import below
from jaxmask.run.result import Result
from jaxmask.run.seeds import named_key
from jaxmask.run.trainer import Ready, make_trainer


def prepare(config: ConfigDict) -> Begin:
    """Checks what can be checked; returns a function that runs in a run directory.

    Trains a network, then trains it again from where it ended: each `yield` asks the driver for a
    training and is sent its result, so that the driver may train several runs under one `vmap`.

    Raises:
      InputError: the config is invalid.
    """
    task, start = starting.task_of(config)
    way = adapter.weights(config.rules)
    trainer = make_trainer(task, config.train, way, config.seed, "train", "weights")

    def run(folder: Path, shared: Path | None = None) -> Experiment:
        finished = directory.begin(folder, config)
        if finished is not None:
            return finished
        variables = starting.starting_variables(task, start, named_key(config.seed, "start"))
        learned, frozen = way.init(None, variables["params"])
        ready = Ready(learned, frozen, variables["batch_stats"])
        first = yield trainer.job(ready, {}, "first", folder / "first", "first")
        ready = Ready(first.learned, frozen, first.batch_stats)
        fit = yield trainer.job(ready, {}, "second", folder, folder.name)
        test = trainer.test(fit, frozen)
        trained = {"params": way.parameters(fit.learned, frozen), "batch_stats": fit.batch_stats}
        described = {**tasks.about_network(config.network, task), "dataset": config.data.name}
        size = weights_file.save(folder / weights_file.NAME, trained, described)
        return result.write(
            folder,
            Result(
                recipe="twice",
                method="twice",
                dataset=config.data.name,
                seed=config.seed,
                accuracy=test["accuracy"],
                validation_accuracy=fit.validation.get("accuracy"),
                storage_bytes=size,
                steps=first.steps + fit.steps,
                seconds=first.seconds + fit.seconds,
                network=config.network.name,
                trained_numbers=tree.size(fit.learned),
            ),
        )

    return Begin(run, (*below("first", (trainer.planned,)), trainer.planned))
