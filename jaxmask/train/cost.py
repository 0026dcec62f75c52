"""Estimates, before compiling, how many steps make a scan of a few seconds."""

from typing import Any

import jax

SECONDS = 2.0
# Floating-point operations per second that such networks reach; only the order of magnitude
# matters.
RATE = {"cpu": 4e10, "gpu": 2e13, "tpu": 2e13}
FALLBACK_STEPS = 100


def scan_steps(step: Any, *arguments: Any) -> int:
    """Steps in a scan of about two seconds, at least 1.

    Args:
      step: a jitted function; it is lowered for `arguments`, not compiled.
    """
    try:
        flops = step.lower(*arguments).cost_analysis()["flops"]
    except (KeyError, TypeError, NotImplementedError):
        return FALLBACK_STEPS
    if not flops > 0:
        return FALLBACK_STEPS
    rate = RATE.get(jax.default_backend(), RATE["cpu"]) * jax.device_count()
    return max(int(SECONDS * rate / flops), 1)
