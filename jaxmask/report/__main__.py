"""`python -m jaxmask.report`; see `jaxmask.cli.report`."""

from jaxmask.cli.report import main, run

__all__ = ["main", "run"]

if __name__ == "__main__":
    run()
