"""A cascade: a mask for all images, and masks that continue it on the clusters of its embeddings.

Warmerdam, Caron, Asano, Self-masking networks for unsupervised adaptation, 2024,
https://arxiv.org/abs/2409.07577.
"""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxmask import adapter, evaluate
from jaxmask.errors import InputError, check_numbers, nearest
from jaxmask.recipe import adapt, self_mask
from jaxmask.run import (
    cascade,
    directory,
    experts,
    learning,
    measured,
    result,
    self_supervised,
    starting,
)
from jaxmask.run.driver import Begin, Experiment
from jaxmask.run.learning import Learned, Learning, Tuned
from jaxmask.run.plan import Planned, below
from jaxmask.run.result import Result
from jaxmask.run.self_supervised import UNTOUCHED
from jaxmask.train.named import call

DISPATCHER, WHITENED = "dispatcher", "_whitened"
CONTROLS = ("random", "long")


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
    mask trained for as many steps as dispatcher and experts together. Whitening alone changes both
    measures, so dispatcher and long mask are also measured whitened, `dispatcher_whitened` and
    `long_whitened`. Each has a run directory below the run's; a cascade is one file in it,
    `masks/task.mask`.

    Args:
      methods: those that train, by their names in configs.

    Raises:
      InputError: the config is invalid (or, during the run, embeddings collapse).
    """
    clustering = _clustering(config, methods)
    task, start, pretraining = self_mask.set_up(config)
    at = learning.learning(config.method, methods[config.method], task, config)
    _check_masks(at)
    of = _Cascading(
        at, methods[config.method], clustering,
        self_supervised.untouched(task, config, adapt.draw),
        measured.classifiers(task, config, adapt.draw),
    )  # fmt: skip

    def run(folder: Path, shared: Path | None = None) -> Experiment:
        finished = directory.begin(folder, config)
        if finished is not None:
            return finished
        before = None
        if pretraining is not None:
            before = yield from pretraining(folder / "pretrain", None)
        base = self_mask.begun_from(folder, config, start, task)
        results, trained = yield from _stages(of, base, folder)
        adapt.write_comparison(folder, list(results), f"{DISPATCHER}{WHITENED}", DISPATCHER)
        whole = adapt.compared(results, before)
        return result.write(folder, whole._replace(
            steps=sum(each.fit.steps for each in trained),
            seconds=sum(each.fit.seconds for each in trained),
        ))  # fmt: skip

    return Begin(run, tuple(_planned(of, pretraining)))


class _Cascading(NamedTuple):
    """A cascade, checked: how its masks learn, how its router is made, and what measures it."""

    at: Learning
    method: adapter.Method
    clustering: evaluate.Clustering
    untouched: self_supervised.Begin
    classifiers: measured.Measure


def _stages(
    of: _Cascading, base: starting.Start, folder: Path
) -> Generator[Any, Any, tuple[dict[str, Result], list[Learned]]]:
    """The results of all networks, in the order of the stages; and the masks that were trained."""
    config = of.at.config
    results = {UNTOUCHED: (yield from of.untouched.run(base, folder / UNTOUCHED, {}))}
    tuned, results[DISPATCHER] = yield from _alone(of, of.at, base, DISPATCHER, folder)
    own = cascade.embeddings_of(of.at, tuned.learned, DISPATCHER)
    router, clusters = experts.router_of(of.clustering, *own("train"), config.seed, folder)
    results[f"{DISPATCHER}{WHITENED}"] = _whitened(of, base, tuned, DISPATCHER, folder)
    trained, parts = [tuned.learned], {"experts": clusters}
    if "random" in config.controls:
        parts["random_experts"] = experts.shuffled(clusters, config.seed)
    measured_as: dict[str, dict[str, evaluate.Router | None]] = {
        "experts": {"conditional": router, "unconditional": None},
        "random_experts": {"random": None},
    }
    for place, part in parts.items():
        found = yield from experts.trained(
            of.at, tuned.learned, tuned.value, part, folder / place,
            experts.side_by_side(config.experts_together, of.clustering.clusters),
        )  # fmt: skip
        trained += found
        embeddings = [own, *(cascade.embeddings_of(of.at, each, place) for each in found)]
        made = cascade.Cascade(of.at, base, tuned, found, embeddings, part)
        for name, chooses in measured_as[place].items():
            results[name] = cascade.measure(made, chooses, name, config, folder / name, adapt.draw)
    if "long" in config.controls:
        longer = _longer(of, 1 + int(clusters.max()) + 1, (tuned.value,))
        tuned, results["long"] = yield from _alone(of, longer, base, "long", folder)
        results[f"long{WHITENED}"] = _whitened(of, base, tuned, "long", folder)
        trained.append(tuned.learned)
    return results, trained


def _whitened(
    of: _Cascading, base: starting.Start, tuned: Tuned, name: str, folder: Path
) -> Result:
    """A single mask, measured as a cascade is: a cascade without experts."""
    embeddings = [cascade.embeddings_of(of.at, tuned.learned, name)]
    nobody = np.zeros(0, np.int32)
    made = cascade.Cascade(of.at, base, tuned, [], embeddings, nobody)
    name += WHITENED
    return cascade.measure(made, None, name, of.at.config, folder / name, adapt.draw)


def _alone(
    of: _Cascading, at: Learning, start: starting.Start, name: str, folder: Path
) -> Generator[Any, Any, tuple[Tuned, Result]]:
    """A mask of its own: trained (or read again from its checkpoint), measured, stored."""
    folder = folder / name
    finished = directory.begin(folder, at.config)
    tuned = yield from learning.tune(at, start, folder)
    if finished is None:
        self_supervised.save_network(at, tuned.learned, folder)
        adapted = starting.Start(tuned.learned.variables, name)
        found = yield from of.classifiers(adapted, folder)
        finished = self_supervised.finish(at, start, tuned, found, folder, adapt.draw, name)
    return tuned, finished


def _clustering(config: ConfigDict, methods: adapt.Methods) -> evaluate.Clustering:
    """The config's router, once its fields are checked."""
    known = [name for name in methods if name in config]
    if config.method not in known:
        raise InputError(f"unknown method {config.method!r}{nearest(str(config.method), known)}")
    if not config[config.method].choices:
        raise InputError(f"{config.method}.choices is empty; give at least one value")
    check_numbers(f"{config.method}.choices", config[config.method].choices, 0)
    if config[config.method].get("density") == 0:
        raise InputError(
            f"{config.method}.density is 0, the density that 'mask' finds; a cascade has only one "
            "method: give a number"
        )
    check_numbers("experts_together", [config.experts_together], 0)
    for name in config.controls:
        if name not in CONTROLS:
            raise InputError(f"unknown control {name!r}{nearest(str(name), CONTROLS)}")
    return call(config.router, evaluate.ROUTERS, "router")


def _check_masks(at: Learning) -> None:
    """Raises InputError unless what is learned are masks of ones and zeros."""
    random = starting.random_weights(at.task, at.config.seed)["params"]
    learned, frozen = at.adapter.init(jax.random.key(0), random)
    # of scores below any that they start with: signs are -1 there, switches 0
    low = jax.tree.map(lambda leaf: -1 - jnp.abs(leaf), learned.get("scores"))
    masks = jax.tree.leaves(at.adapter.store({**learned, "scores": low}, frozen).masks)
    if not masks or any(bool((leaf < 0).any()) for leaf in masks) or "density" in learned:
        raise InputError(
            f"method is {at.name!r}; a cascade is of masks that switch weights on and off, such as "
            "'mask', at a density that does not fall"
        )


def _longer(of: _Cascading, times: int, choices: tuple[float, ...]) -> Learning:
    """The dispatcher's method with so many times its epochs, and these values to try."""
    longer = of.at.config.copy_and_resolve_references()
    longer[of.at.name].train.epochs *= times
    longer[of.at.name].choices = choices
    return learning.learning(of.at.name, of.method, of.at.task, longer)


def _planned(of: _Cascading, pretraining: Begin | None) -> Iterator[Planned]:
    config, experts = of.at.config, of.clustering.clusters
    yield from self_mask.planned_before(pretraining)
    yield from below(DISPATCHER, learning.planned(of.at))
    for place in ("experts", *(["random_experts"] if "random" in config.controls else [])):
        for index in range(experts):
            yield of.at.trainer.planned._replace(place=Path(place) / str(index))
    if "long" in config.controls:
        longer = _longer(of, 1 + experts, config[of.at.name].choices[:1])
        yield longer.trainer.planned._replace(place=Path("long"))
