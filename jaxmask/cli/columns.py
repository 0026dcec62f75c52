"""Two columns of text for a terminal, as helps and lists show them."""

import ast
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

PLAIN_WIDTH = 120  # of what is not printed on a terminal


def printed(rows: Iterable[tuple[str, str]]) -> None:
    """Prints rows: names in the first column, what they are in the second."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    rows = list(rows)
    table = Table.grid(padding=(0, 2))
    widest = max((len(left) for left, _ in rows), default=0)
    table.add_column(overflow="fold", width=min(widest, console.width // 2))
    table.add_column(overflow="fold")
    for left, right in rows:
        table.add_row(Text(left), Text(right))
    console.print(table)


def docstring_line(path: Path) -> str:
    """The first line of the docstring of a Python file."""
    return (ast.get_docstring(ast.parse(path.read_bytes())) or "").partition("\n")[0]
