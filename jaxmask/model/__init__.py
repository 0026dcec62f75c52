"""Flax Linen networks by name, and path rules for which weights to mask."""

import warnings
from typing import Any

from jaxmask.model.apply import apply_function, embedding_function, feature_function, mode
from jaxmask.model.registry import count, create, initialize, names, reads_texts, rules, stages
from jaxmask.model.shapes import real_shape, shapes

__all__ = [
    "apply_function",
    "count",
    "create",
    "embedding_function",
    "feature_function",
    "initialize",
    "mode",
    "names",
    "reads_texts",
    "real_shape",
    "rules",
    "shapes",
    "stages",
]


def __getattr__(name: str) -> Any:
    if name == "initialise":
        warnings.warn("model.initialise is now model.initialize", DeprecationWarning, stacklevel=2)
        return initialize
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
