"""Labeled texts of a folder: `train.tsv`, and `validation.tsv` and `test.tsv` if there are."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxmask.data import splits as own_splits
from jaxmask.errors import InputError

LABEL = "label"  # the first column
COLUMNS = (2, 3)


class Texts(NamedTuple):
    """Rows of one split.

    Attributes:
      texts: each a text, or a tuple of two.
      labels: int32 [N].
      places: "FILE line N" of each.
    """

    texts: list[str | tuple[str, str]]
    labels: np.ndarray
    places: list[str]


class Folder(NamedTuple):
    """The splits that a folder has, and the names of the labels."""

    path: Path
    parts: dict[str, Texts]
    classes: tuple[str, ...]

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.parts)


class _Row(NamedTuple):
    label: str
    text: str | tuple[str, str]
    place: str


def find(name: str) -> Folder:
    """Reads a folder.

    A file is UTF-8, begins with a line of the columns' names, of which the first is `label`, and
    has a text (or two) a line; tabs are between the columns and quotes mean nothing. Empty lines
    are left out. The classes are the labels of `train.tsv`, sorted: as numbers if all are whole
    numbers.

    Raises:
      InputError: naming file and line, if something is otherwise.
    """
    path = Path(name).expanduser().absolute()
    if not name or not path.is_dir():
        raise InputError(f"dataset 'text:{name}': there is no folder {path}")
    found: dict[str, Path] = {}
    for split, names in own_splits.NAMES.items():
        files = [path / f"{each}.tsv" for each in names if (path / f"{each}.tsv").is_file()]
        if len(files) > 1:
            raise InputError(f"{path} has {files[0].name} and {files[1].name}; keep one")
        if files:
            found[split] = files[0]
    if "train" not in found:
        raise InputError(f"{path} has no train.tsv, which texts are learned from; add it")
    columns: dict[str, int] = {}
    rows = {split: _rows(file, columns) for split, file in found.items()}
    classes = _ordered({row.label for row in rows["train"]})
    number = {label: index for index, label in enumerate(classes)}
    return Folder(path, {split: _numbered(part, number) for split, part in rows.items()}, classes)


def unlabeled(path: Path) -> list[str | tuple[str, str]]:
    """The texts of a `.tsv` as above, whose labels are left out, or of a `.txt`: one a line, or
    two with a tab between.

    Raises:
      InputError: as for `find`.
    """
    if path.suffix == ".tsv":
        return [row.text for row in _rows(path, {})]
    found: list[str | tuple[str, str]] = []
    columns = 0
    for number, line in lines(path):
        fields = line.split("\t")
        columns = columns or len(fields)
        _check_fields(f"{path} line {number}", fields, min(columns, 2))
        found.append(fields[0] if len(fields) == 1 else (fields[0], fields[1]))
    if not found:
        raise InputError(f"{path} has no texts; give a file with one a line")
    return found


def taken(found: Folder, names: Sequence[str]) -> Texts:
    """Some splits of a folder, one after the other.

    Raises:
      InputError: the folder lacks one of them.
    """
    for name in names:
        if name not in found.parts:
            known = ", ".join(map(repr, found.parts))
            raise InputError(f"{found.path} has no split {name!r}, only {known}")
    parts = [found.parts[name] for name in names]
    return Texts(
        [text for part in parts for text in part.texts],
        np.concatenate([part.labels for part in parts]),
        [place for part in parts for place in part.places],
    )


def keys(texts: Sequence[str | tuple[str, str]]) -> np.ndarray:
    """uint64 [N], hashes of the texts themselves: adding others changes none."""
    digests = [sha256(repr(text).encode()).digest()[:8] for text in texts]
    return np.array([int.from_bytes(digest) for digest in digests], np.uint64)


def _rows(file: Path, columns: dict[str, int]) -> list[_Row]:
    """The rows of a file; `columns` has the number of columns of files before it, by name."""
    rows: list[_Row] = []
    header: list[str] = []
    for number, line in lines(file):
        fields, place = line.split("\t"), f"{file} line {number}"
        if not header:
            header = fields
            if fields[0] != LABEL or len(fields) not in COLUMNS:
                raise InputError(
                    f"{place} is {line[:60]!r}; it must name the columns: label, text and maybe "
                    "text2, with tabs between"
                )
            for other, count in columns.items():
                if count != len(fields):
                    raise InputError(
                        f"{place} has {len(fields)} columns and {other} has {count}; give all "
                        "splits the same"
                    )
            columns[str(file)] = len(fields)
            continue
        label, *texts = fields
        if not label.strip():
            raise InputError(f"{place} has no label; give one, or remove the line")
        _check_fields(place, texts, len(header) - 1)
        rows.append(_Row(label, texts[0] if len(texts) == 1 else (texts[0], texts[1]), place))
    if not rows:
        raise InputError(f"{file} has no texts; give at least one line after that of the columns")
    return rows


def _check_fields(place: str, texts: list[str], wanted: int) -> None:
    if len(texts) != wanted:
        raise InputError(
            f"{place} has {len(texts)} text{'s' * (len(texts) != 1)}, and {wanted} "
            f"{'is' if wanted == 1 else 'are'} needed; a text holds no tab"
        )
    if not all(text.strip() for text in texts):
        raise InputError(f"{place} has an empty text; give one, or remove the line")


def lines(file: Path) -> list[tuple[int, str]]:
    """(number, line) of all lines that are not empty, without their ends."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{file} line {line} is not UTF-8; convert the file") from None
    lines = enumerate((line.removesuffix("\r") for line in text.split("\n")), 1)
    return [(number, line) for number, line in lines if line]


def _ordered(labels: set[str]) -> tuple[str, ...]:
    numbers = {label: label.removeprefix("-") for label in labels}
    if all(digits.isascii() and digits.isdecimal() for digits in numbers.values()):
        return tuple(sorted(labels, key=lambda label: (int(label), label)))
    return tuple(sorted(labels))


def _numbered(rows: Sequence[_Row], number: dict[str, int]) -> Texts:
    for row in rows:
        if row.label not in number:
            raise InputError(
                f"{row.place} has the label {row.label!r}, which train.tsv has not; add texts of "
                "that class to it, or remove the line"
            )
    labels = np.array([number[row.label] for row in rows], np.int32)
    return Texts([row.text for row in rows], labels, [row.place for row in rows])
