"""Learn binary masks over frozen networks, score and prune networks, compare such experiments."""

from jaxmask import mask, prune, score, tree

__all__ = ["mask", "prune", "score", "tree"]
