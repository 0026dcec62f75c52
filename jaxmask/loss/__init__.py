"""Losses, which training minimizes.

With labels: one value per example. Without: losses of several views of the same images, each with
what it learns beside the network and what it remembers between steps.
"""

from collections.abc import Callable

from jaxmask.loss.adversarial import adversarial
from jaxmask.loss.base import ViewLoss
from jaxmask.loss.classify import cross_entropy
from jaxmask.loss.dino import dino
from jaxmask.loss.simclr import simclr
from jaxmask.loss.sinkhorn import sinkhorn
from jaxmask.loss.swav import swav

# by their names in configs
VIEW_LOSSES: dict[str, Callable[..., ViewLoss]] = {"dino": dino, "simclr": simclr, "swav": swav}

__all__ = [
    "VIEW_LOSSES",
    "ViewLoss",
    "adversarial",
    "cross_entropy",
    "dino",
    "simclr",
    "sinkhorn",
    "swav",
]
