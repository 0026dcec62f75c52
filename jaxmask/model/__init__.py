"""Flax Linen networks by name, and the path rules that say which of their weights to mask."""

from jaxmask.model.registry import count, create, initialize, names, rules, stages

__all__ = ["count", "create", "initialize", "names", "rules", "stages"]
