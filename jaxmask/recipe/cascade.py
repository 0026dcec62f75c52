"""A cascade: a mask for all images, and masks that continue it on the clusters of its embeddings.

Warmerdam, Caron, Asano, Self-masking networks for unsupervised adaptation, 2024,
https://arxiv.org/abs/2409.07577.
"""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxmask import adapter, evaluate, files, report
from jaxmask.errors import InputError, check_numbers, nearest
from jaxmask.recipe import adapt, self_mask
from jaxmask.run import cascade, directory, experts, measured, result, self_supervised, starting
from jaxmask.run import task as tasks
from jaxmask.run.driver import Begin, Experiment
from jaxmask.run.plan import Planned, below
from jaxmask.run.result import Result
from jaxmask.run.self_supervised import UNTOUCHED, Learning, Tuned
from jaxmask.train.named import call

DISPATCHER, CONTROLS = "dispatcher", ("random", "long")


def prepare(config: ConfigDict, methods: adapt.Methods = adapter.METHODS) -> Begin:
    """Checks what can be checked; returns a function that runs in a run directory.

    1. The dispatcher: the method `config.method`, learned without labels from all training images.
    2. The router: clusters of the dispatcher's embeddings of them.
    3. The experts: for each cluster, the dispatcher's mask continued on its images alone, for as
       many steps.
    4. Embeddings: those of dispatcher and experts side by side, with all experts (`unconditional`)
       or only the router's choice (`conditional`), whitened to the size of one network's.

    Each is measured by k-NN and by a linear probe, beside the untouched network, the dispatcher,
    and two controls: `random`, all experts of random parts of the same sizes, and `long`, one
    mask trained for as many steps as dispatcher and experts together. Each has a run directory
    below the run's; a cascade is one file in it, `masks/task.mask`.

    Args:
      methods: those that train, by their names in configs.

    Raises:
      InputError: the config is invalid (or, during the run, embeddings collapse).
    """
    clustering = _clustering(config, methods)
    task, start, pretraining = self_mask.set_up(config)
    method, count = methods[config.method], clustering.clusters
    at = self_supervised.learning(config.method, method, task, config)
    _check_masks(at)
    at_long = self_supervised.learning(config.method, method, task, _longer(config, count))
    untouched = self_supervised.untouched(task, config, adapt.draw)
    classifiers = measured.classifiers(task, config, adapt.draw)
    together = experts.side_by_side(config.experts_together, count)

    def alone(
        at: Learning, start: starting.Start, name: str, folder: Path
    ) -> Generator[Any, Any, tuple[Tuned, Result]]:
        """A mask of its own: trained (or read again from its checkpoint), measured, stored."""
        finished = directory.begin(folder, at.config)
        tuned = yield from self_supervised.tune(at, start, folder)
        if finished is None:
            self_supervised.save_network(at, tuned.learned, folder)
            adapted = starting.Start(tuned.learned.variables, name)
            found = yield from classifiers(adapted, folder)
            finished = self_supervised.finish(at, start, tuned, found, folder, adapt.draw, name)
        return tuned, finished

    def run(folder: Path, shared: Path | None = None) -> Experiment:
        finished = directory.begin(folder, config)
        if finished is not None:
            return finished
        before = None
        if pretraining is not None:
            before = yield from pretraining(folder / "pretrain", None)
        base = self_mask.begun_from(folder, config, start, task)
        results = {UNTOUCHED: (yield from untouched.run(base, folder / UNTOUCHED, {}))}
        tuned, own = yield from alone(at, base, DISPATCHER, folder / DISPATCHER)
        results[DISPATCHER] = own
        embeddings = cascade.embeddings_of(at, tuned.learned, DISPATCHER)
        router, clusters = experts.router_of(clustering, *embeddings("train"), config.seed, folder)

        def expert_masks(clusters: np.ndarray, place: str) -> Generator[Any, Any, cascade.Cascade]:
            found = yield from experts.trained(
                at, tuned.learned, tuned.value, clusters, folder / place, together
            )
            of_each = [cascade.embeddings_of(at, each, place) for each in found]
            return cascade.Cascade(at, base, tuned, found, [embeddings, *of_each], clusters)

        made = yield from expert_masks(clusters, "experts")
        results["conditional"] = measured_as(made, router, "conditional", folder)
        results["unconditional"] = measured_as(made, None, "unconditional", folder)
        if "random" in config.controls:
            parts = experts.shuffled(clusters, config.seed)
            made = yield from expert_masks(parts, "random_experts")
            results["random"] = measured_as(made, None, "random", folder)
        if "long" in config.controls:
            once = _with_choice(at_long, tuned.value)
            _, results["long"] = yield from alone(once, base, "long", folder / "long")
        report.figures.comparison(folder, list(results))
        table = report.tables.comparison(folder, list(results))
        files.replace(folder / "table.md", report.tables.markdown(table))
        compared = report.paired.table(folder, list(results), DISPATCHER)
        files.replace(folder / "paired.md", report.paired.markdown(compared, DISPATCHER))
        return result.write(folder, adapt.compared(results, before))

    def measured_as(
        of: cascade.Cascade, router: evaluate.Router | None, name: str, folder: Path
    ) -> Result:
        return cascade.measure(of, router, name, config, folder / name, adapt.draw)

    return Begin(run, tuple(_planned(config, at, at_long, count, pretraining)))


def _clustering(config: ConfigDict, methods: adapt.Methods) -> evaluate.Clustering:
    """The config's router, once its fields are checked."""
    known = [name for name in methods if name in config]
    if config.method not in known:
        raise InputError(f"unknown method {config.method!r}{nearest(str(config.method), known)}")
    if not config[config.method].choices:
        raise InputError(f"{config.method}.choices is empty; give at least one value")
    check_numbers("experts_together", [config.experts_together], 0)
    for name in config.controls:
        if name not in CONTROLS:
            raise InputError(f"unknown control {name!r}{nearest(str(name), CONTROLS)}")
    return call(config.router, evaluate.ROUTERS, "router")


def _check_masks(at: Learning) -> None:
    """Raises InputError unless what is learned are masks of ones and zeros."""
    parameters = tasks.shapes(at.task)["params"]
    learned, _ = jax.eval_shape(at.adapter.init, jax.random.key(0), parameters)
    if "scores" not in learned or at.name == "mask_sign":
        raise InputError(
            f"method is {at.name!r}; a cascade is of masks that switch weights on and off, such as "
            "'mask'"
        )


def _longer(config: ConfigDict, experts: int) -> ConfigDict:
    """The config with the epochs of the dispatcher and its experts together."""
    longer = config.copy_and_resolve_references()
    longer[config.method].train.epochs *= 1 + experts
    return longer


def _with_choice(at: Learning, value: float) -> Learning:
    """The same with one value to try."""
    config = at.config.copy_and_resolve_references()
    config[at.name].choices = (value,)
    section = at.section.copy_and_resolve_references()
    section.choices = (value,)
    return at._replace(config=config, section=section)


def _planned(
    config: ConfigDict, at: Learning, at_long: Learning, experts: int, pretraining: Begin | None
) -> Iterator[Planned]:
    yield from self_mask.planned_before(pretraining)
    yield from below(DISPATCHER, self_supervised.planned(at))
    for place in ("experts", *(["random_experts"] if "random" in config.controls else [])):
        for index in range(experts):
            yield at.trainer.planned._replace(place=Path(place) / str(index))
    if "long" in config.controls:
        yield at_long.trainer.planned._replace(place=Path("long"))
