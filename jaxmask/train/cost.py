"""Estimates of how long a step takes: roughly, before compiling it, or measured."""

import math
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp

SECONDS = 2.0
# Floating-point operations per second that such networks reach; only the order of magnitude
# matters.
RATE = {"cpu": 4e10, "gpu": 2e13, "tpu": 2e13}
FALLBACK_STEPS = 100
REPEATS = 5


def scan_steps(step: Any, *arguments: Any) -> int:
    """Steps in a scan of about two seconds, at least 1.

    Args:
      step: a jitted function; it is lowered for `arguments`, not compiled.
    """
    seconds = rough_seconds(step, *arguments)
    return FALLBACK_STEPS if math.isnan(seconds) else max(int(SECONDS / seconds), 1)


def rough_seconds(step: Any, *arguments: Any) -> float:
    """The order of magnitude of a step's seconds, by its operations; NaN if they are unknown.

    Args:
      step: a jitted function; it is lowered for `arguments`, not compiled.
    """
    try:
        flops = step.lower(*arguments).cost_analysis()["flops"]
    except (KeyError, TypeError, NotImplementedError):
        return math.nan
    rate = RATE.get(jax.default_backend(), RATE["cpu"]) * jax.device_count()
    return flops / rate if flops > 0 else math.nan


def measured_seconds(train: Any, state: Any, *arguments: Any, steps: int) -> float:
    """The seconds of a training step: the median of five scans', after one that compiles.

    Args:
      train: (state, *arguments, xs) -> state, a scan over `xs` that is jitted.
      steps: in a scan.
    """
    taken = []
    for _ in range(1 + REPEATS):
        began = time.monotonic()
        state = jax.block_until_ready(train(state, *arguments, jnp.arange(steps)))
        taken.append(time.monotonic() - began)
    return statistics.median(taken[1:]) / steps
