"""The method `linear_probe`: a new head on the frozen network, everything else as it was."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxmask import evaluate
from jaxmask.data import Split
from jaxmask.loss import cross_entropy
from jaxmask.recipe import run_directory, setup, starting
from jaxmask.recipe.tuning import Choice, best_choice
from jaxmask.train.records import Records


def linear_probe(
    task: setup.Task, config: ConfigDict, seed: int
) -> Callable[[starting.Start, Path], dict[str, Any]]:
    """Logistic regression on the network's features, its regularisation chosen on validation."""
    section = config.linear_probe
    setup.check_numbers("linear_probe.iterations", [section.iterations], 1)
    classes = len(task.dataset.classes)
    own = config.copy_and_resolve_references()
    own.methods = ("linear_probe",)

    def run(start: starting.Start, folder: Path) -> dict[str, Any]:
        finished = run_directory.begin(folder, own)
        if finished is not None:
            return finished
        began = time.monotonic()
        key = setup.named_key(seed, "linear_probe/weights")
        variables = starting.starting_variables(task, start, key)

        @jax.jit
        def features(variables: Any, images: jax.Array) -> Any:
            return task.module.apply(variables, task.augment(None, images), features=True)

        def extracted(split: Split) -> tuple[jax.Array, jax.Array]:
            found = evaluate.extract(lambda images: features(variables, images), split.images)
            return jnp.asarray(found, jnp.float32), jnp.asarray(split.labels)

        train, validation = extracted(task.dataset.train), extracted(task.dataset.validation)
        for_features = time.monotonic() - began

        def fit(value: float) -> evaluate.LinearProbe:
            return evaluate.linear_probe(
                *train, value, classes=classes, iterations=section.iterations
            )

        with Records(folder) as records:

            def attempt(value: float) -> Choice:
                began = time.monotonic()
                probe = fit(value)
                measured = _measure(probe, *validation)
                records.write(
                    int(probe.iterations), 0, "validation", regularisation=value, **measured
                )
                seconds = time.monotonic() - began
                return Choice(value, measured["accuracy"], measured["loss"], seconds)

            value, choices = best_choice("linear_probe", section.choices, attempt)
            began = time.monotonic()
            probe = fit(value)
            steps = int(probe.iterations)
            seconds = for_features + time.monotonic() - began
            chosen = _measure(probe, *validation)
            test = _measure(probe, *extracted(task.dataset.test))
            records.write(steps, 0, "test", **test)
        head = {"head": {"kernel": probe.kernel, "bias": probe.bias}}
        size = run_directory.save_weights(
            folder / "weights.safetensors",
            {"params": head},
            setup.about_network(config.network, task),
        )
        return run_directory.finish(
            folder,
            {
                "recipe": "adapt",
                "method": "linear_probe",
                "dataset": task.dataset.name,
                "seed": seed,
                "accuracy": test["accuracy"],
                "validation_accuracy": chosen["accuracy"],
                "validation_loss": chosen["loss"],
                "density": 1.0,
                "density_by_leaf": {},
                "mask_bits": 0,
                "storage_bytes": size,
                "trained_numbers": probe.kernel.size + probe.bias.size,
                "regularisation": value,
                "converged": steps < section.iterations,
                "choices": [choice._asdict() for choice in choices],
                "steps": steps,
                "seconds": seconds,
                "seconds_of_choices": sum(choice.seconds for choice in choices),
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
