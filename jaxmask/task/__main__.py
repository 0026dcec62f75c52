"""`python -m jaxmask.task`; see `jaxmask.cli.task`."""

from jaxmask.cli.task import main, run

__all__ = ["main", "run"]

if __name__ == "__main__":
    run()
