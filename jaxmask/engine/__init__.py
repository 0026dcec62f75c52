"""How the runs of a grid are carried out: by this process, or by the workers of a Ray cluster."""

from jaxmask.engine import cluster, local
from jaxmask.engine.grid import Ended, Grid

__all__ = ["Ended", "Grid", "cluster", "local"]
