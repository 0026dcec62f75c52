"""Training: optimizers by name, compiled epochs, checkpoints, records."""
