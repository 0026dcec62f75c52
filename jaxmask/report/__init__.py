"""Tables and plots of finished runs: reads run directories, imports no recipe."""

from jaxmask.report import few_labels, figures, tables
from jaxmask.report.grid import write

__all__ = ["few_labels", "figures", "tables", "write"]
