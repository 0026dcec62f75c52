"""Weights (and data) -> pruning scores: function transformations, used like `jax.grad`.

A scorer is `(w, *batch) -> scores`, structured as `w`; higher means keep. Scorers that need no data
accept a batch too, so that scorers are interchangeable.

Scores are computed in float32 or wider, laid out over devices as `w`. Derivatives alone come in the
dtypes of `w`, and below 6e-8 in float16, 2e-3 in float8_e4m3fn, they are 0: of such weights, score
float32 copies if the loss takes these.
"""

from jaxmask.score import hessian, regressor
from jaxmask.score.compose import as_weights, stack
from jaxmask.score.connected import connected
from jaxmask.score.fisher import fisher
from jaxmask.score.gradient_norm import gradient_norm
from jaxmask.score.grasp import grasp
from jaxmask.score.learned import features, learned
from jaxmask.score.magnitude import magnitude
from jaxmask.score.movement import movement
from jaxmask.score.optimal_brain_damage import optimal_brain_damage
from jaxmask.score.random import random
from jaxmask.score.snip import snip
from jaxmask.score.synflow import absolute, synflow

__all__ = [
    "absolute",
    "as_weights",
    "connected",
    "features",
    "fisher",
    "gradient_norm",
    "grasp",
    "hessian",
    "learned",
    "magnitude",
    "movement",
    "optimal_brain_damage",
    "random",
    "regressor",
    "snip",
    "stack",
    "synflow",
]

# what a config may name
SCORERS = {
    each.__name__: each
    for each in (fisher, gradient_norm, grasp, magnitude, movement, optimal_brain_damage, random,
                 snip, synflow)
}  # fmt: skip
