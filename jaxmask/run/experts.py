"""Experts: masks that continue a dispatcher's on a part of the images each."""

from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging

from jaxmask import evaluate
from jaxmask.model import weights
from jaxmask.run import directory, learning, measured, result
from jaxmask.run.learning import Learned, Learning
from jaxmask.run.result import Result
from jaxmask.run.seeds import number
from jaxmask.run.trainer import Ready, Training
from jaxmask.train import unlabeled

Trainings = Generator[Any, Any, list[Learned]]


class Routed(NamedTuple):
    """A router, and the cluster of each training image, int32 [N]."""

    router: evaluate.Router
    clusters: np.ndarray


def router_of(
    clustering: evaluate.Clustering,
    embeddings: jax.Array,
    labels: jax.Array,
    seed: int,
    folder: Path,
) -> Routed:
    """The router that a run has, or else a new one, which is kept with the images' clusters.

    A cluster without images is left out, for an expert needs some.

    Args:
      embeddings: [N, F] of the training images, by the dispatcher.
      labels: [N], kept beside the clusters for pictures of both.
    """
    path = folder / result.ROUTER
    if not path.exists():
        router = clustering.fit(np.asarray(embeddings), number(seed, "router"))
        clusters = np.asarray(evaluate.route(router, embeddings))
        if len(used := np.unique(clusters)) < len(router.centers):
            logging.warning(
                "%d of the router's clusters are empty", len(router.centers) - len(used)
            )
            own = (part[used] for part in (router.centers, router.factors, router.offsets))
            router = evaluate.Router(router.whitening, *own)
            clusters = np.searchsorted(used, clusters).astype(np.int32)
        trees = {
            "router": {**router._asdict(), "whitening": router.whitening._asdict()},
            "clusters": clusters,
            "labels": np.asarray(labels, np.int32),
        }
        weights.save(path, trees, {})
    found, _ = weights.load(path)
    parts = dict(found["router"])
    white = evaluate.Whitening(**parts.pop("whitening"))
    return Routed(evaluate.Router(white, **parts), found["clusters"])


def shuffled(clusters: np.ndarray, seed: int) -> np.ndarray:
    """Clusters of the same sizes, of random images."""
    return np.random.default_rng(number(seed, "random experts")).permutation(clusters)


def trained(
    at: Learning,
    dispatcher: Learned,
    value: float,
    clusters: np.ndarray,
    folder: Path,
    together: int,
) -> Trainings:
    """Continues the dispatcher's mask on each cluster: from its scores and batch statistics.

    Each takes as many steps as the dispatcher, so that all run in one compiled program; published
    is the nearest whole number of epochs. The loss's projection and prototypes are new.

    Args:
      value: of the tuned field, as for the dispatcher.
      clusters: [N], of each training image.
      folder: each expert has a run directory in it, by its number.
      together: how many are trained side by side, under `vmap`.

    Raises:
      InputError: a loss is not finite, or embeddings collapse.
    """
    feed, kind = at.task.feed("train"), folder.name

    def begun(cluster: int) -> tuple[Ready, Training]:
        members = np.flatnonzero(clusters == cluster)
        if len(members) < at.section.train.batch_size:
            logging.warning(
                "%s/%d learns from only %d images, fewer than a batch", kind, cluster, len(members)
            )
        name = f"{at.name}/{kind}/{cluster}"
        scores = unlabeled.without_loss(dispatcher.fit.learned)
        ready = Ready(
            learning.with_loss(at, scores, name),
            dispatcher.frozen,
            dispatcher.fit.batch_stats,
        )
        part = feed._replace(members=members)
        place = folder / str(cluster)
        return ready, learning.training(at, ready, value, place, name, part)

    found: list[Learned] = []
    count = int(clusters.max()) + 1
    for first in range(0, count, together):
        group = [begun(cluster) for cluster in range(first, min(first + together, count))]
        fits = yield [training for _, training in group]
        for (ready, _), fit in zip(group, fits):
            name = f"{kind}/{len(found)}"
            found.append(learning.learned_by(at, fit, ready, dispatcher.params, name))
            _finish(at, found[-1], folder / str(len(found) - 1))
    return found


def _finish(at: Learning, expert: Learned, folder: Path) -> None:
    """Writes the result of an expert's training; alone it is not measured on the test split."""
    if directory.begin(folder, at.config) is None:
        fit = expert.fit
        found = Result(
            recipe=at.config.recipe, method="expert", dataset=at.task.dataset.name,
            seed=at.config.seed, accuracy=None, validation_accuracy=None, storage_bytes=0,
            steps=fit.steps, seconds=fit.seconds, network=at.config.network.name,
            trained_numbers=learning.numbers(expert),
            **measured.masks(expert.content.masks, at.task, at.config),
            more={"watched_accuracy": expert.accuracy},
        )  # fmt: skip
        result.write(folder, found)


def side_by_side(wanted: int, count: int) -> int:
    """How many trainings to stack: what is wanted; for 0, one on a CPU, else all."""
    if wanted:
        return wanted
    return 1 if jax.default_backend() == "cpu" else count
