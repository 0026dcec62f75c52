"""`python -m jaxmask.task`; see `jaxmask.cli.task`."""

from jaxmask.cli.task import run

if __name__ == "__main__":
    run()
