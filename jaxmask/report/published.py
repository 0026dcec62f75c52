"""Published figures, to show beside your own."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from jaxmask.errors import InputError, nearest

NAME = "algorithm"

# label of a row of the summary -> density -> the figure, as the file has it
Published = dict[str, dict[float, str]]


def read(path: str | Path, labels: Sequence[str], rows: Iterable[str] = ()) -> Published:
    """Published figures by the label of the row to show them beside.

    Args:
      path: of a CSV file with a column `algorithm` and a column for each density (`0.1`, or
        `10%`); columns of other names are left out. The cells are shown as they are.
      labels: of the rows of the table, such as `snip USS`.
      rows: `NAME=LABEL`, which algorithm of the file belongs to which row of the table. Empty:
        those whose names are equal, ignoring case.

    Raises:
      InputError: the file cannot be read or is not such a table; a row names what does not exist;
        no name is equal to a label.
    """
    table = _read(path)
    names = list(table[NAME])
    if rows:
        pairs = [_pair(row, names, labels, path) for row in rows]
    else:
        lower = {label.lower(): label for label in labels}
        pairs = [(name, lower[name.lower()]) for name in names if name.lower() in lower]
    if not pairs:
        raise InputError(
            f"{path}: none of its algorithms ({', '.join(names)}) has the name of a row "
            f"({', '.join(labels)}); match them with --published-row=NAME=LABEL"
        )
    densities = {column: _density(column) for column in table}
    found: Published = {}
    for name, label in pairs:
        line = table[table[NAME] == name].iloc[0]
        found[label] = {
            density: str(line[column]).strip()
            for column, density in densities.items()
            if density is not None and str(line[column]).strip()
        }
    return found


def at(published: Published, label: str, density: float) -> str:
    """The figure of a row at a density, equal to six digits; "" if there is none."""
    return next(
        (
            figure
            for known, figure in published.get(label, {}).items()
            if abs(known - density) <= 1e-6 * abs(density)
        ),
        "",
    )


def _read(path: str | Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give a CSV file of published figures") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); fix this and rerun") from None
    except ValueError as error:  # pandas's ParserError is one, as is UnicodeDecodeError
        reason = (str(error).splitlines() or ["not CSV"])[0]
        raise InputError(f"{path} is not a CSV file ({reason}); fix it") from None
    table.columns = [str(name).strip() for name in table.columns]
    if NAME not in table:
        columns = ", ".join(table.columns)
        raise InputError(f"{path} has no column '{NAME}' (it has {columns}); rename one")
    table[NAME] = table[NAME].str.strip()
    twice = table[NAME][table[NAME].duplicated()]
    if len(twice):
        raise InputError(f"{path} has the algorithm {twice.iloc[0]!r} twice; remove one")
    if all(_density(column) is None for column in table):
        raise InputError(f"{path} has no column for a density, such as 0.1 or 10%; add one")
    return table


def _density(column: str) -> float | None:
    percent = column.endswith("%")
    try:
        value = float(column.removesuffix("%"))
    except ValueError:
        return None
    return value / 100 if percent else value


def _pair(
    row: str, names: Sequence[str], labels: Sequence[str], path: str | Path
) -> tuple[str, str]:
    name, separator, label = row.partition("=")  # a method's text may have more equals signs
    name, label = name.strip(), label.strip()
    if not separator:
        raise InputError(f"--published-row={row}: must be NAME=LABEL, like 'SNIP=snip USS'")
    if name not in names:
        raise InputError(f"{path} has no algorithm {name!r}{nearest(name, names)}")
    if label not in labels:
        raise InputError(f"the table has no row {label!r}{nearest(label, labels)}")
    return name, label
