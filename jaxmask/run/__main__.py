"""`python -m jaxmask.run`; see `jaxmask.cli.run`."""

from jaxmask.cli.run import main, run

__all__ = ["main", "run"]

if __name__ == "__main__":
    run()
