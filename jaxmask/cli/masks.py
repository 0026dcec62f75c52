"""The command line for mask files: show, compare, apply, export and merge them.

    jaxmask masks show FILE... [--json]
    jaxmask masks overlap FILE FILE... [--by-leaf] [--out=FILE.csv]
    jaxmask masks apply FILE [--base=PATH] [--out=weights.safetensors]
    jaxmask masks export FILE [--base=PATH] --out=FILE.safetensors|.pth
        [--names=plain|checkpoint] [--layout=torchvision]
    jaxmask masks merge FILE FILE... --how=union|intersection|vote --out=FILE.mask

FILE is a mask file, a folder of them, or the run directory of a method or of `adapt`. `--base`
gives the base weights of the task, with this package's names or PyTorch's, if they are neither in
the run directory nor where the file says. `apply` writes the adapted network with this package's
names, `export` with PyTorch's, plain or as in the checkpoint, prefix and all; both include batch
statistics and head. `merge` merges only masks:
the rest of a task, such as its head, is not in the merged file.
"""

import argparse
import csv
import io
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxmask import files, mask, maskfile, tree
from jaxmask.adapter import KNOWN, Adapter
from jaxmask.cli import absl_flags, mask_text
from jaxmask.cli.arguments import add_command, command_parser, parsed
from jaxmask.cli.ending import exit_status
from jaxmask.errors import InputError
from jaxmask.maskfile import compare
from jaxmask.task import file as task_file
from jaxmask.task import inspect, schema

# metadata that an adapted network keeps, as in the weight files of run directories
OF_WEIGHTS = ("network", "width", "stem", "classes", "mean", "std", "image_shape", "stored_shape",
              "options", "tokenizer", "tokenizer_file", "dataset", "method")  # fmt: skip
# metadata that a merged mask keeps if its sources agree
OF_MERGED = ("network", "width", "stem", "mean", "std", "image_shape", "stored_shape", "options",
             "tokenizer", "tokenizer_file", "start")  # fmt: skip

# bits [files, ...] -> merged bits
HOW: dict[str, Callable[[np.ndarray], Any]] = {
    "union": lambda on: on.any(axis=0),
    "intersection": lambda on: on.all(axis=0),
    "vote": lambda on: 2 * on.sum(axis=0) > len(on),
}
LISTED = 6  # the most files to list by name


def main(arguments: Sequence[str], adapters: Mapping[str, Adapter] = KNOWN) -> int:
    """Runs the command that the arguments give; returns the status of `ending.exit_status`.

    Args:
      adapters: those that files may name; `{**KNOWN, "mine": ...}` adds your own.
    """

    def work() -> None:
        given = parsed(parser(), arguments)
        given.adapters = adapters
        given.command(given)

    return exit_status(work, lambda: "the output")


def show(given: argparse.Namespace) -> None:
    """The content of each file, and its size in bytes."""
    found = [inspect.summary(path, given.base) for path in compare.find(given.files)]
    print(
        json.dumps(found, indent=2)
        if given.json
        else "\n\n".join(mask_text.described(mask_text.shown(each)) for each in found)
    )


def overlap(given: argparse.Namespace) -> None:
    """The Jaccard index of each pair of masks, next to that of independent masks.

    Two independent masks of a leaf of n weights, with a and b weights on, are expected to share
    ab/n, and to have a + b - ab/n on in either; both are summed over the leaves, then divided.
    In masks of signs, + is on.
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
    print(mask_text.matrix("overlap (by chance)", labels, cells) + "\n")
    print(mask_text.matrix("equal bits", labels, [[f"{x:.3f}" for x in row] for row in equal]))
    if given.by_leaf:
        print("\n" + mask_text.table([titles, *(row for row in rows if row[2])]))
    if given.out:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([titles, *rows])
        files.replace(given.out, text.getvalue().encode())


def apply(given: argparse.Namespace) -> None:
    """Writes the adapted network with this package's names."""
    from safetensors.numpy import save

    adapted = _adapted(given, (".safetensors",))
    about = {name: json.dumps(adapted.about[name]) for name in OF_WEIGHTS if name in adapted.about}
    flat = tree.named_leaves(adapted.variables)
    flat = {name: np.asarray(flat[name], order="C") for name in sorted(flat)}
    files.replace(given.out, save(flat, about))
    _tell(given.out, flat, adapted, "this package's names")


def export(given: argparse.Namespace) -> None:
    """Writes the adapted network with PyTorch's names."""
    from jaxmask.model import pretrained, torch_names

    adapted = _adapted(given, (".safetensors", ".pth", ".pt"))
    name, names, told = adapted.about["network"], None, "plain names"
    if given.names == "checkpoint":
        names, told = adapted.names, "the checkpoint's names"
        if given.layout or not names:
            why = "--layout gives others" if names else "the base weights have this package's"
            raise InputError(f"--names=checkpoint, but {why}; leave one of them out")
    layout = given.layout or adapted.layout or next(iter(torch_names.layouts(name)))
    state = pretrained.export(adapted.variables, name, layout, names)
    pretrained.save(given.out, state, _normalization(adapted.about))
    _tell(given.out, state, adapted, told)


def _normalization(about: Mapping[str, Any]) -> dict[str, str]:
    """Mean and std of the three channels, for the header: whoever loads the file needs them."""
    told = {name: about[name] for name in ("mean", "std") if name in about}
    return {
        name: json.dumps(values if len(values) == 3 else list(values) * 3)
        for name, values in told.items()
        if len(values) in (1, 3)
    }


def merge(given: argparse.Namespace) -> None:
    """Merges masks into one: on where any, all, or more than half of them are on.

    A tied vote is off, or - in masks of signs.
    """
    paths = compare.find(given.files)
    _check_out(given.out, (".mask",), paths)
    files = inspect.read_alike(paths, given.base)
    abouts = [task_file.metadata(file.metadata) for file in files]
    for about, source in zip(abouts, paths):
        schema.check(about, source)
    for what, values in (
        ("are of different kinds", {file.kind for file in files}),
        ("differ in whether they rescale", {bool(each.get("rescale", True)) for each in abouts}),
        ("differ in their values", {json.dumps(each.get("levels")) for each in abouts}),
    ):
        if len(values) > 1:
            raise InputError(f"the masks {what} and cannot be merged; give masks of one method")
    signs = files[0].kind == "sign"
    if signs and given.how != "vote":
        raise InputError(f"masks of signs cannot be merged by {given.how}; use --how=vote")
    leaves = [tree.named_leaves(file.masks) for file in files]
    merged = {}
    for path in leaves[0]:
        on = HOW[given.how](np.stack([masks[path] > 0 for masks in leaves]))
        merged[path] = np.where(on, 1, -1).astype(np.int8) if signs else on
    about = {
        name: abouts[0][name]
        for name in (*OF_MERGED, "rescale", "levels")
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
        print(
            "heads, batch statistics and other arrays are not merged: the file holds the mask alone"
        )


def _check_out(out: Path | None, suffixes: Sequence[str], inputs: Sequence[Path]) -> None:
    if out is None:
        return
    if out.suffix not in suffixes:
        raise InputError(f"--out={out}: the name must end in {' or '.join(suffixes)}")
    if out.is_dir() or not out.parent.is_dir():
        raise InputError(f"--out={out}: not a file in an existing folder; make the folder")
    if out.exists() and any(out.samefile(path) for path in inputs if path.exists()):
        raise InputError(f"--out={out} would overwrite an input; give another name")


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
        f"{out}: {about['network']}, {what}, {len(arrays)} arrays ({count:,} numbers), with {names}"
    )
    if "mean" in about and "std" in about:
        print(f"normalize its images with mean {about['mean']}, std {about['std']}")


def parser() -> argparse.ArgumentParser:
    """Of the command's arguments."""
    made = command_parser("masks", "Works with mask files.")
    subs = made.add_subparsers(required=True, metavar="show|overlap|apply|export|merge")

    def add(command: Callable[[argparse.Namespace], None], about: str) -> Any:
        sub = add_command(subs, command.__name__, about, command)
        sub.add_argument("--base", default="", metavar="PATH", help="the base weights")
        if command in (apply, export):
            sub.add_argument("file", type=Path, metavar="FILE", help="or a method's run directory")
        else:
            sub.add_argument("files", nargs="+", type=Path, metavar="FILE", help="or a folder")
        return sub

    sub = add(show, "show the content of mask files")
    sub.add_argument("--json", action="store_true", help="print a list with one object per file")
    sub = add(overlap, "compare masks")
    sub.add_argument("--by-leaf", action="store_true", help="also show each leaf")
    sub.add_argument("--out", type=Path, metavar="FILE.csv")
    sub = add(apply, "write the adapted network with this package's names")
    sub.add_argument("--out", type=Path, metavar="FILE", default=Path("weights.safetensors"))
    sub = add(export, "write the adapted network with PyTorch's names")
    sub.add_argument("--out", type=Path, metavar="FILE", required=True)
    sub.add_argument(
        "--names",
        choices=("plain", "checkpoint"),
        default="plain",
        help="those of a plain PyTorch network (default), or the checkpoint's own",
    )
    sub.add_argument("--layout", default="", help="whose plain names (default: of the base's kind)")
    sub = add(merge, "merge masks into one")
    sub.add_argument("--how", choices=tuple(HOW), required=True, help="a tied vote is off")
    sub.add_argument("--out", type=Path, metavar="FILE.mask", required=True)
    return made


def run() -> None:
    """The entry point of the command."""
    absl_flags.start(main)
