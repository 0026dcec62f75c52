"""Measures of a representation: functions of arrays, independent of how they were learned."""

from jaxmask.evaluate.features import extract
from jaxmask.evaluate.linear_probe import LinearProbe, linear_probe

__all__ = ["LinearProbe", "extract", "linear_probe"]
