"""`python -m jaxmask.prepare`: a dataset of TFDS; see `jaxmask.cli.prepare`."""

from jaxmask.cli.prepare import main, run

__all__ = ["main", "run"]

if __name__ == "__main__":
    run()
