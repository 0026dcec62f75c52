"""The command line for mask files: look into them, compare them, put them on weights, merge them.

    python -m jaxmask.masks show FILE... [--json]
    python -m jaxmask.masks overlap FILE FILE... [--by-leaf] [--out=FILE.csv]
    python -m jaxmask.masks apply FILE [--base=PATH] [--out=weights.safetensors]
    python -m jaxmask.masks export FILE [--base=PATH] --out=FILE.safetensors|.pth [--layout=timm]
    python -m jaxmask.masks merge FILE FILE... --how=union|intersection|vote --out=FILE.mask

FILE is a mask file, or a folder: one of mask files, or the run directory of a method or of `adapt`.
`--base` gives the weights that a task was learned over, in this package's names or in PyTorch's,
where they do not lie in its run directory nor where the file says. `apply` writes the network with
the task on it in this package's names, `export` in PyTorch's, batch statistics and head included.
`merge` merges masks alone: what else a task needs, such as its head, is not in the merged file.
"""

import argparse
import csv
import io
import itertools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxmask import files, mask, maskfile, tree
from jaxmask.adapter import KNOWN, Adapter
from jaxmask.cli.ending import exit_status, refuse
from jaxmask.errors import InputError
from jaxmask.maskfile import compare
from jaxmask.task import file as task_file
from jaxmask.task import inspect

# metadata that a network with a task on it keeps, as weights in a run directory have it
OF_WEIGHTS = ("network", "width", "stem", "classes", "mean", "std", "image_shape", "stored_shape",
              "dataset", "method")  # fmt: skip
# metadata that a merged mask keeps, where its sources agree
OF_MERGED = ("network", "width", "stem", "mean", "std", "image_shape", "stored_shape", "start")

# bits [files, ...] -> merged ones
HOW: dict[str, Callable[[np.ndarray], Any]] = {
    "union": lambda on: on.any(axis=0),
    "intersection": lambda on: on.all(axis=0),
    "vote": lambda on: 2 * on.sum(axis=0) > len(on),
}
LISTED = 6  # as many classes, or settings, are shown by name


def main(arguments: Sequence[str], adapters: Mapping[str, Adapter] = KNOWN) -> int:
    """Does what the arguments say; returns the exit status of `ending.exit_status`.

    Args:
      adapters: that files may name; `{**KNOWN, "mine": ...}` from a program of your own.
    """

    def work() -> None:
        given = _parser().parse_args(arguments)
        given.adapters = adapters
        given.command(given)

    return exit_status(work, lambda: "the output")


def show(given: argparse.Namespace) -> None:
    """What is in each file, and how many bytes of it."""
    found = [inspect.summary(path, given.base) for path in compare.find(given.files)]
    print(json.dumps(found, indent=2) if given.json else "\n\n".join(map(_text, found)))


def overlap(given: argparse.Namespace) -> None:
    """Jaccard's index of every two masks, beside what independent ones of these densities have.

    Of a leaf of n weights that has a on in one and b in another of two independent masks, ab/n
    are expected on in both and a + b - ab/n in either; each is summed over the leaves before they
    are divided. Of masks of signs, the + are on.
    """
    paths = compare.find(given.files)
    _check_out(given.out, (".csv",), paths)
    leaves = [tree.named_leaves(file.masks) for file in inspect.read_alike(paths, given.base)]
    labels = compare.labels(paths)
    by_leaf = {path: compare.counted([masks[path] for masks in leaves]) for path in leaves[0]}
    whole = compare.Counts(*(np.sum(parts, axis=0) for parts in zip(*by_leaf.values())))
    titles = ["a", "b", "leaf", "overlap", "by_chance", "equal_bits"]
    rows = []
    for path, counts in {"": whole, **(by_leaf if given.by_leaf else {})}.items():
        shares = counts.shares()
        for a, b in itertools.combinations(range(len(labels)), 2):
            rows.append([labels[a], labels[b], path, *(f"{share[a, b]:.6f}" for share in shares)])
    jaccard, chance, equal = whole.shares()
    cells = [[f"{x:.3f} ({y:.3f})" for x, y in zip(*row)] for row in zip(jaccard, chance)]
    print(_matrix("overlap (by chance)", labels, cells) + "\n")
    print(_matrix("equal bits", labels, [[f"{x:.3f}" for x in row] for row in equal]))
    if given.by_leaf:
        print("\n" + _table([titles, *(row for row in rows if row[2])]))
    if given.out:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([titles, *rows])
        files.replace(given.out, text.getvalue().encode())


def apply(given: argparse.Namespace) -> None:
    """Writes the network that has taken on a task, in this package's names."""
    from safetensors.numpy import save

    adapted = _adapted(given, (".safetensors",))
    about = {name: json.dumps(adapted.about[name]) for name in OF_WEIGHTS if name in adapted.about}
    flat = tree.named_leaves(adapted.variables)
    flat = {name: np.ascontiguousarray(flat[name]) for name in sorted(flat)}
    files.replace(given.out, save(flat, about))
    _tell(given.out, flat, adapted, "this package's names")


def export(given: argparse.Namespace) -> None:
    """Writes the network that has taken on a task, in PyTorch's names."""
    from jaxmask.model import pretrained, torch_names

    adapted = _adapted(given, (".safetensors", ".pth", ".pt"))
    name = adapted.about["network"]
    layout = given.layout or adapted.layout or next(iter(torch_names.layouts(name)))
    state = pretrained.export(adapted.variables, name, layout)
    pretrained.save(given.out, state)
    _tell(given.out, state, adapted, f"the names of {layout}")


def merge(given: argparse.Namespace) -> None:
    """Writes one mask for several: on where any, all, or more than half of them are.

    A tie of votes is off, or - in masks of signs.
    """
    paths = compare.find(given.files)
    _check_out(given.out, (".mask",), paths)
    files = inspect.read_alike(paths, given.base)
    abouts = [task_file.metadata(file.metadata) for file in files]
    for what, values in (
        ("are of different kinds", {file.kind for file in files}),
        ("differ in whether they rescale", {bool(each.get("rescale", True)) for each in abouts}),
    ):
        if len(values) > 1:
            raise InputError(f"the masks {what}, and so do not merge; give masks of one method")
    signs = files[0].kind == "sign"
    if signs and given.how != "vote":
        raise InputError(f"masks of signs have no {given.how}; merge them with --how=vote")
    leaves = [tree.named_leaves(file.masks) for file in files]
    merged = {}
    for path in leaves[0]:
        on = HOW[given.how](np.stack([masks[path] > 0 for masks in leaves]))
        merged[path] = np.where(on, 1, -1).astype(np.int8) if signs else on
    about = {
        name: abouts[0][name]
        for name in (*OF_MERGED, "rescale")
        if all(name in each and each[name] == abouts[0][name] for each in abouts)
    }
    about["merged"] = {
        "how": given.how,
        "sources": [
            {"file": label, **{key: each[key] for key in ("method", "dataset") if key in each}}
            for label, each in zip(compare.labels(paths), abouts)
        ],
    }
    maskfile.save(
        given.out,
        tree.nested(merged),
        metadata={name: json.dumps(value) for name, value in about.items()},
        base=next((file.base for file in files if file.base), None),
    )
    density = mask.measure.density(merged)
    print(f"{given.out}: {given.how} of {len(files)} masks, density {density:.4f}")
    if any(file.arrays for file in files):
        print("heads, batch statistics and other arrays do not merge: it holds the mask alone")


def _text(summary: dict[str, Any]) -> str:
    base, sizes = summary["base"], summary["bytes"]
    density = "no mask"
    if summary["bits"]:
        density = (
            f"{summary['density']:.4f}: {summary['kept']:,} of {summary['bits']:,} weights, "
            f"stored in {summary['stored_bits_a_weight']:.4f} bits each"
        )
    lines = [
        ("base", f"{base['name']}, {base['fingerprint'][:12]}" if base else "not said"),
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
        parts.append(_table([["mask", "shape", "bits", "kept", "density"], *rows]))
    if summary["arrays"]:
        rows = [[a["path"], _shape(a["shape"]), a["dtype"]] for a in summary["arrays"]]
        parts.append(_table([["array", "shape", "dtype"], *rows]))
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


def _matrix(title: str, labels: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    numbers = [str(number) for number in range(1, len(labels) + 1)]
    rows = [[f"{n} {label}", *row] for n, label, row in zip(numbers, labels, cells)]
    return _table([[title, *numbers], *rows])


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns; the first to the left, all others to the right."""
    wide = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join(
        "  ".join([row[0].ljust(wide[0]), *map(str.rjust, row[1:], wide[1:])]) for row in rows
    )


def _check_out(out: Path | None, suffixes: Sequence[str], inputs: Sequence[Path]) -> None:
    if out is None:
        return
    if out.suffix not in suffixes:
        raise InputError(f"--out={out}: the name must end in {' or '.join(suffixes)}")
    if out.is_dir() or not out.parent.is_dir():
        raise InputError(f"--out={out}: not a file in an existing folder; make the folder")
    if out.exists() and any(out.samefile(path) for path in inputs if path.exists()):
        raise InputError(f"--out={out} would replace what is read; give another name")


def _adapted(given: argparse.Namespace, suffixes: Sequence[str]) -> inspect.Adapted:
    paths = compare.find([given.file])
    if len(paths) > 1:
        names = ", ".join(map(str, paths[:LISTED]))
        raise InputError(f"{given.file} holds {len(paths)} mask files ({names}); give one of them")
    _check_out(given.out, suffixes, paths)
    adapted = inspect.adapted(paths[0], given.base, given.adapters)
    _check_out(given.out, suffixes, adapted.inputs)
    return adapted


def _tell(out: Path, arrays: Mapping[str, Any], adapted: inspect.Adapted, names: str) -> None:
    about, bias = adapted.about, tree.named_leaves(adapted.variables).get("params/head/bias")
    count = sum(array.size for array in arrays.values())
    what = "no head" if bias is None else f"{bias.size} classes"
    print(
        f"{out}: {about['network']}, {what}, {len(arrays)} arrays ({count:,} numbers), in {names}"
    )
    if "mean" in about and "std" in about:
        print(f"its images are normalized with mean {about['mean']}, std {about['std']}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jaxmask.masks", description="Mask files.", allow_abbrev=False
    )
    parser.error = refuse  # type: ignore[method-assign]
    subs = parser.add_subparsers(required=True, metavar="show|overlap|apply|export|merge")

    def add(command: Callable[[argparse.Namespace], None], about: str) -> argparse.ArgumentParser:
        sub = subs.add_parser(command.__name__, help=about, description=about, allow_abbrev=False)
        sub.error = refuse  # type: ignore[method-assign]
        sub.set_defaults(command=command)
        sub.add_argument("--base", default="", metavar="PATH", help="weights they are for")
        if command in (apply, export):
            sub.add_argument("file", type=Path, metavar="FILE", help="or a method's run directory")
        else:
            sub.add_argument("files", nargs="+", type=Path, metavar="FILE", help="or a folder")
        return sub

    sub = add(show, "what is in mask files")
    sub.add_argument("--json", action="store_true", help="a list with one object a file")
    sub = add(overlap, "how much masks have in common")
    sub.add_argument("--by-leaf", action="store_true", help="each leaf for itself, too")
    sub.add_argument("--out", type=Path, metavar="FILE.csv")
    sub = add(apply, "the network with a task on it, in this package's names")
    sub.add_argument("--out", type=Path, metavar="FILE", default=Path("weights.safetensors"))
    sub = add(export, "the network with a task on it, in PyTorch's names")
    sub.add_argument("--out", type=Path, metavar="FILE", required=True)
    sub.add_argument("--layout", default="", help="whose names; by default those of the base")
    sub = add(merge, "one mask for several")
    sub.add_argument("--how", choices=HOW, required=True, help="a tie of votes is off")
    sub.add_argument("--out", type=Path, metavar="FILE.mask", required=True)
    return parser


def run() -> None:
    """The entry point of the command."""
    sys.exit(main(sys.argv[1:]))
