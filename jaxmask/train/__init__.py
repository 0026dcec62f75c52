"""Training: optimisers by name, compiled epochs, checkpoints, records."""
