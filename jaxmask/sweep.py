"""`python -m jaxmask.sweep`: a grid of runs; see `jaxmask.cli.sweep`."""

from jaxmask.cli.sweep import expand, run, sweep

__all__ = ["expand", "run", "sweep"]

if __name__ == "__main__":
    run()
