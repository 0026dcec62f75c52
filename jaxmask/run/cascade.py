"""Measures the embeddings of a cascade, and stores it as one task."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxmask import adapter, evaluate
from jaxmask.run import directory, evaluator, measured, result, starting, stored
from jaxmask.run.evaluator import Examples, Extract
from jaxmask.run.learning import Learned, Learning, Tuned, numbers
from jaxmask.run.measured import CLASSIFIERS, Draw
from jaxmask.run.result import Result
from jaxmask.task import cascade as task_cascade
from jaxmask.task import learned


class Cascade(NamedTuple):
    """A dispatcher, and experts that continue it.

    Attributes:
      at: how its masks learn.
      start: the base network.
      dispatcher, experts: what they have learned.
      embeddings: of each of them, split by split.
      clusters: of the training images.
    """

    at: Learning
    start: starting.Start
    dispatcher: Tuned
    experts: Sequence[Learned]
    embeddings: Sequence[Extract]
    clusters: np.ndarray


def embeddings_of(at: Learning, network: Learned, name: str) -> Extract:
    """The embeddings of a network, each split computed once."""
    features = evaluator.feature_function(at.task, name)
    extracted = evaluator.extractor(at.task, features, network.variables, name)
    return functools.cache(extracted)


def measure(
    of: Cascade,
    router: evaluate.Router | None,
    name: str,
    config: ConfigDict,
    folder: Path,
    draw: Draw,
) -> Result:
    """Measures a cascade by k-NN and a linear probe, and writes its task.

    Its embedding is `[D(x), E_1(x), ..., E_K(x)]`, with a router only that of its choice and zeros
    for the others, whitened to the size of D(x); see `evaluate.whitening`. Without experts it is
    that of the dispatcher, whitened: what a cascade's embedding is to be compared with.

    Args:
      router: of a conditional cascade; None for all experts.
    """
    finished = directory.begin(folder, config)
    if finished is not None:
        return finished
    task, size = of.at.task, of.at.features
    joined = functools.cache(functools.partial(_joined, of, router))
    whitening = evaluate.whitening(np.asarray(joined("train")[0]), size)

    @functools.cache
    def examples(split: str) -> Examples:
        embeddings, labels = joined(split)
        return evaluate.whiten(whitening, embeddings), labels

    found, heads = {}, {}
    for each in CLASSIFIERS:
        own = directory.of_methods(config, each)
        directory.begin(folder / each, own)
        kind = adapter.EVALUATORS[each]
        classifier, one = evaluator.fit(each, kind, task, own, examples, folder / each)
        heads[each] = classifier.stored.arrays.get("params", {}).get("head", {})
        found[each] = result.write(folder / each, one)
    clusters = None if router is None else evaluate.route(router, of.embeddings[0]("test")[0])
    measured.save_embeddings(folder, *examples("test"), task, clusters)
    return _finish(of, router, whitening, name, config, found, heads["linear_probe"], folder, draw)


def _joined(of: Cascade, router: evaluate.Router | None, split: str) -> Examples:
    """The embeddings side by side, [N, (K + 1) F]."""
    (own, labels), *others = [extracted(split) for extracted in of.embeddings]
    if router is None:
        return jnp.concatenate([own, *(each for each, _ in others)], axis=1), labels
    chosen = of.clusters if split == "train" else evaluate.route(router, own)
    stacked = jnp.stack([each for each, _ in others])
    of_expert = stacked[jnp.asarray(chosen), jnp.arange(len(own))]
    zeros_elsewhere = task_cascade.only(of_expert, jnp.asarray(chosen), len(others))
    return jnp.concatenate([own, zeros_elsewhere], axis=1), labels


def _finish(
    of: Cascade,
    router: evaluate.Router | None,
    whitening: evaluate.Whitening,
    name: str,
    config: ConfigDict,
    found: dict[str, Result],
    head: dict[str, Any],
    folder: Path,
    draw: Draw,
) -> Result:
    """Writes the task file, the figures and the result."""
    at, members = of.at, [of.dispatcher.learned, *of.experts]
    names = [task_cascade.DISPATCHER, *map(str, range(len(of.experts)))]
    content = task_cascade.content(
        [each.content for each in members], whitening, router, config.method
    )
    fits = [each.fit for each in members]
    tuned = {at.section.tune: of.dispatcher.value}
    whole = measured.of(
        name, at.task, config, found,
        **masks_of(members, names, at),
        steps=sum(fit.steps for fit in fits), seconds=sum(fit.seconds for fit in fits),
        trained_numbers=sum(map(numbers, members)),
        cluster_sizes=np.bincount(of.clusters).tolist(),
        seconds_of_choices=sum(choice.seconds for choice in of.dispatcher.choices),
        **tuned,
    )  # fmt: skip
    statistics = {each: fit.batch_stats for each, fit in zip(names, fits)}
    variables = {"params": {"head": head}, "batch_stats": statistics}
    size = stored.write_task(
        folder, at.task, config, of.start, content, variables,
        whole._replace(method=learned.CASCADE), tuned,
    )  # fmt: skip
    whole = whole._replace(storage_bytes=size)
    draw(folder, whole)
    return result.write(folder, whole)


def masks_of(members: Sequence[Learned], names: Sequence[str], at: Learning) -> dict[str, Any]:
    """The fields of a result that describe the masks of all members."""
    fields = [measured.masks(each.content.masks, at.task, at.config) for each in members]
    bits = sum(each["mask_bits"] for each in fields)
    return {
        "density": sum(each["density"] * each["mask_bits"] for each in fields) / bits,
        "density_by_network": {name: each["density"] for name, each in zip(names, fields)},
        "empty_leaves": tuple(
            f"{name}/{path}" for name, each in zip(names, fields) for path in each["empty_leaves"]
        ),
        "mask_bits": bits,
    }
