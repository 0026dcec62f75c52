"""Learn binary masks over frozen networks, score and prune networks, compare such experiments."""

from jaxmask import mask, tree

__all__ = ["mask", "tree"]
