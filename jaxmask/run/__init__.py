"""What recipes share: the task, starting weights, training, the run directory, the result."""
