"""Shared by recipes: the task, starting weights, training, the run directory, the result."""
