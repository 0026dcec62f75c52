"""The method `linear_probe`: a new head on the frozen network, everything else as it was."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxmask import evaluate
from jaxmask.data import Split
from jaxmask.errors import InputError
from jaxmask.loss import cross_entropy
from jaxmask.recipe import run_directory, setup
from jaxmask.recipe.tuning import Choice, best_choice
from jaxmask.train.records import Records


def linear_probe(
    task: setup.Task, config: ConfigDict, seed: int
) -> Callable[[setup.Start, Path], dict[str, Any]]:
    """Logistic regression on the network's features, its regularisation chosen on validation."""
    section = config.linear_probe
    if not all(value >= 0 for value in section.choices):
        raise InputError("linear_probe.choices must not be negative: they are regularisations")
    classes = len(task.dataset.classes)

    def run(start: setup.Start, folder: Path) -> dict[str, Any]:
        own = config.copy_and_resolve_references()
        own.methods = ("linear_probe",)
        finished = run_directory.begin(folder, own)
        if finished is not None:
            return finished
        began = time.monotonic()
        key = setup.named_key(seed, "linear_probe/weights")
        variables = setup.starting_variables(task, start, key)

        @jax.jit
        def features(variables: Any, images: jax.Array) -> Any:
            prepared = task.augment(None, images)
            return task.module.apply(variables, prepared, features=True)

        def extracted(split: Split) -> tuple[jax.Array, jax.Array]:
            found = evaluate.extract(lambda batch: features(variables, batch), split.images)
            return jnp.asarray(found, jnp.float32), jnp.asarray(np.asarray(split.labels))

        train, validation = extracted(task.dataset.train), extracted(task.dataset.validation)

        with Records(folder) as records:
            probes = {}

            def attempt(value: float) -> Choice:
                probe = evaluate.linear_probe(
                    *train, value, classes=classes, iterations=section.iterations
                )
                probes[value] = probe
                measured = _measure(probe, *validation)
                steps = int(probe.iterations)
                records.write(steps, 0, "validation", regularisation=value, **measured)
                return Choice(value, measured["accuracy"], measured["loss"])

            value, choices = best_choice("linear_probe", section.choices, attempt)
            if value not in probes:
                choices = [attempt(value)]
            probe = probes[value]
            test = _measure(probe, *extracted(task.dataset.test))
            records.write(int(probe.iterations), 0, "test", **test)
        head = {"head": {"kernel": probe.kernel, "bias": probe.bias}}
        size = run_directory.save_weights(
            folder / "weights.safetensors",
            {"params": head},
            setup.about_network(config.network, task),
        )
        chosen = next(choice for choice in choices if choice.value == value)
        return run_directory.finish(
            folder,
            {
                "recipe": "adapt",
                "method": "linear_probe",
                "dataset": task.dataset.name,
                "seed": seed,
                "accuracy": test["accuracy"],
                "validation_accuracy": chosen.validation_accuracy,
                "validation_loss": chosen.validation_loss,
                "density": 1.0,
                "density_by_leaf": {},
                "mask_bits": 0,
                "storage_bytes": size,
                "trained_numbers": probe.kernel.size + probe.bias.size,
                "chosen": {"regularisation": value},
                "choices": [choice._asdict() for choice in choices],
                "steps": int(probe.iterations),
                "seconds": time.monotonic() - began,
            },
        )

    return run


def _measure(
    probe: evaluate.LinearProbe, features: jax.Array, labels: jax.Array
) -> dict[str, float]:
    logits = features @ probe.kernel + probe.bias
    return {
        "loss": float(cross_entropy(logits, labels).mean()),
        "accuracy": float((logits.argmax(-1) == labels).mean()),
    }
