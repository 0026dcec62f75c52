"""`python -m jaxmask`: the program `jaxmask`; see `jaxmask.cli.program`."""

from jaxmask.cli.program import main, run

__all__ = ["main", "run"]

if __name__ == "__main__":
    run()
