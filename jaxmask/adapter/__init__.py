"""Ways for a frozen network to take on a task, one file each; each is one value, an `Adapter`.

Whoever opens a stored task passes the adapters that it may have been learned with, by the name
that the file gives: `KNOWN` has ours, `{**KNOWN, "mine": adapter}` has one of your own beside them.
"""

from jaxmask.adapter.base import Adapter, Evaluator, Site, Stored
from jaxmask.adapter.lora import lora
from jaxmask.adapter.masks import masks
from jaxmask.adapter.methods import EVALUATORS, KNOWN, METHODS, Method
from jaxmask.adapter.weights import weights

__all__ = [
    "EVALUATORS",
    "KNOWN",
    "METHODS",
    "Adapter",
    "Evaluator",
    "Method",
    "Site",
    "Stored",
    "lora",
    "masks",
    "weights",
]
