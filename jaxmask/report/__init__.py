"""Tables and pictures of finished runs: reads run directories, imports no recipe."""

from jaxmask.report import figures, tables

__all__ = ["figures", "tables"]
