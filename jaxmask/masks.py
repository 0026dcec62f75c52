"""`python -m jaxmask.masks`: mask files; see `jaxmask.cli.masks`."""

from jaxmask.cli.masks import main, run

__all__ = ["main", "run"]

if __name__ == "__main__":
    run()
