"""Losses, which training minimizes: one value per example."""

from jaxmask.loss.classify import cross_entropy

__all__ = ["cross_entropy"]
