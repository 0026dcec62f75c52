"""How density falls from shot to shot."""

from typing import Any

import numpy as np

from jaxmask.errors import InputError, nearest
from jaxmask.mask.check import check_density

MOST_SHOTS = 10_000
SCHEDULES = {
    "exponential": lambda begin, end, part: begin * (end / begin) ** part,
    "linear": lambda begin, end, part: begin - (begin - end) * part,
}


def densities(
    density: Any, shots: int, schedule: str = "exponential", begin: Any = 1.0
) -> list[Any]:
    """The share of weights left after each of K shots; the last one is `density` itself.

    With `d_0 = begin`: exponential, `d_k = d_0 * (d_K / d_0)^(k/K)`, removes the same share of
    what is left at every shot; linear, `d_k = d_0 - (d_0 - d_K) * k/K`, the same number.

    Args:
      density: d_K, in (0, 1].
      shots: K, from 1 to 10,000.
      schedule: `"exponential"` or `"linear"`.
      begin: d_0, in (0, 1].

    Raises:
      InputError: for a density outside (0, 1] or above `begin`, fewer than one shot or
        more than 10,000, or an unknown schedule.

    Example:
      >>> [round(share, 3) for share in prune.densities(0.25, 2)]
      [0.5, 0.25]
    """
    end, start = check_density(density), check_density(begin, "begin")
    if end > start:
        raise InputError(f"density {density} is above the {begin} that is left; give a lower one")
    whole = isinstance(shots, int | np.integer) and not isinstance(shots, bool)
    if not whole or not 1 <= shots <= MOST_SHOTS:
        raise InputError(f"shots is {shots!r}; give a whole number from 1 to {MOST_SHOTS}")
    if not isinstance(schedule, str) or schedule not in SCHEDULES:
        raise InputError(f"unknown schedule {schedule!r}{nearest(str(schedule), SCHEDULES)}")
    course = SCHEDULES[schedule]
    shares = [course(float(start), float(end), k / shots) for k in range(1, shots)]
    return [*(min(max(share, float(end)), float(start)) for share in shares), density]
