"""Pruning in one shot or many."""

from jaxmask.prune.schedule import densities
from jaxmask.prune.shots import Report, multi_shot, one_shot

__all__ = ["Report", "densities", "multi_shot", "one_shot"]
