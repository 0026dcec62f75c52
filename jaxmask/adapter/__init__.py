"""Ways to adapt a frozen network to a task, one file each; each is one value, an `Adapter`.

To open a stored task, pass the adapters that it may use, by the names in task files: `KNOWN` has
ours, `{**KNOWN, "mine": adapter}` adds your own.
"""

from jaxmask.adapter.base import Adapter, Evaluator, Site, Stored
from jaxmask.adapter.lora import lora
from jaxmask.adapter.masks import masks
from jaxmask.adapter.methods import EVALUATORS, KNOWN, METHODS, Method
from jaxmask.adapter.scaled import scaled
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
    "scaled",
    "weights",
]
