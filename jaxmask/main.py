"""`python -m jaxmask.main`: one config in, one run directory out; see `jaxmask.cli.run`."""

from jaxmask.cli.run import main, names, parse, resolve, run

__all__ = ["main", "names", "parse", "resolve", "run"]

if __name__ == "__main__":
    run()
