"""Tables and plots of finished runs: reads run directories, imports no recipe."""

from jaxmask.report import few_labels, figures, paired, tables
from jaxmask.report.grid import write

__all__ = ["few_labels", "figures", "paired", "tables", "write"]
