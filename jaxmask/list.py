"""`python -m jaxmask.list`: what there is; see `jaxmask.cli.listing`."""

from jaxmask.cli.listing import main, run

__all__ = ["main", "run"]

if __name__ == "__main__":
    run()
