"""How the runs of a grid are carried out: by this process, or by the workers of a Ray cluster."""
