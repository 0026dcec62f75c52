"""Learn binary masks over frozen networks, score and prune networks, compare such experiments."""
