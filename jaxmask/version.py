"""The version: what is installed and what a checkout is both take it from here."""

__version__ = "0.2.0"
