"""Tables and plots of finished runs: reads run directories, imports no recipe."""

from jaxmask.report import figures, paired, tables
from jaxmask.report.grid import write

__all__ = ["figures", "paired", "tables", "write"]
