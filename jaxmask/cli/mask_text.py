"""How mask files are shown on a terminal."""

import sys
from collections.abc import Sequence
from typing import Any

from jaxmask.errors import is_text

LISTED = 6  # the most classes or settings to list by name


def shown(value: Any) -> Any:
    """A JSON value whose texts the output can show: other characters are escaped."""
    if isinstance(value, str):
        encoding = sys.stdout.encoding or "utf-8"
        plain = "".join(x if is_text(x) else x.encode("unicode_escape").decode() for x in value)
        return plain.encode(encoding, "backslashreplace").decode(encoding)
    if isinstance(value, dict):
        return {shown(name): shown(part) for name, part in value.items()}
    return [shown(each) for each in value] if isinstance(value, list | tuple) else value


def described(summary: dict[str, Any]) -> str:
    """A mask file's content, from `task.inspect.summary`."""
    base, sizes = summary["base"], summary["bytes"]
    density = "no mask"
    if summary["bits"]:
        density = (
            f"{summary['density']:.4f}: {summary['kept']:,} of {summary['bits']:,} weights, "
            f"stored in {summary['stored_bits_a_weight']:.4f} bits each"
        )
    lines = [
        ("base", f"{base['name']}, {base['fingerprint'][:12]}" if base else "unknown"),
        ("kind", f"{summary['kind']}, codec {summary['codec']}, format {summary['version']}"),
        ("bytes", f"{sizes['file']:,}: header {sizes['header']:,}, masks {sizes['masks']:,}, "
                  f"arrays {sizes['arrays']:,}"),
        ("density", density),
        *((name, _short(value)) for name, value in summary["metadata"].items()),
    ]  # fmt: skip
    wide = max(len(name) for name, _ in lines)
    parts = ["\n".join([summary["file"], *(f"  {name:{wide}}  {text}" for name, text in lines)])]
    if summary["masks"]:
        rows = [
            [m["path"], _shape(m["shape"]), f"{m['bits']:,}", f"{m['kept']:,}",
             f"{m['density']:.4f}"]
            for m in summary["masks"]
        ]  # fmt: skip
        parts.append(table([["mask", "shape", "bits", "kept", "density"], *rows]))
    if summary["arrays"]:
        rows = [[a["path"], _shape(a["shape"]), a["dtype"]] for a in summary["arrays"]]
        parts.append(table([["array", "shape", "dtype"], *rows]))
    return "\n\n".join(parts)


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "number"


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_short(part)}" for name, part in value.items())
    if isinstance(value, list):
        more = ", ..." if len(value) > LISTED else ""
        count = f"{len(value)}: " if more else ""
        return count + ", ".join(map(_short, value[:LISTED])) + more
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def matrix(title: str, labels: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A square table of pairs: the labels with numbers at the left, the numbers above."""
    numbers = [str(number) for number in range(1, len(labels) + 1)]
    rows = [[f"{n} {label}", *row] for n, label, row in zip(numbers, labels, cells)]
    return table([[title, *numbers], *rows])


def table(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns: the first left, all others right."""
    wide = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join(
        "  ".join([row[0].ljust(wide[0]), *map(str.rjust, row[1:], wide[1:])]) for row in rows
    )
