"""Losses: what training makes small, one value for each example."""

from jaxmask.loss.classify import cross_entropy

__all__ = ["cross_entropy"]
