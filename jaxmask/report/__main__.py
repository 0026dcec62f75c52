"""`python -m jaxmask.report`; see `jaxmask.cli.report`."""

from jaxmask.cli.report import run

if __name__ == "__main__":
    run()
