"""The command line for learned tasks: evaluate one on labeled images, or classify new images.

    jaxmask task evaluate TASK [DATA] [--base=PATH] [--split=test] [--out=FOLDER]
    jaxmask task predict TASK FILES... [--base=PATH] [--out=FILE.csv|FILE.json]

TASK is a `.mask` file, or a run directory of `adapt` (its best method), of one of its methods, or
of `dense`. DATA is the name of a dataset, `folder:PATH`, `hf:NAME` or `text:FOLDER`, by default the
training data. FILES are images, or folders of them; for a task of texts, .txt files with a text a
line, or .tsv files as for training, whose labels are left out. `--base` gives the base weights of
the task, if they are neither in its run directory nor where the file says, `--tokenizer` its
tokenizer, if that is not beside them. With `--statistics`, batch norms use
statistics of the given images instead of the stored ones.
"""

import argparse
import csv
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxmask import files, signals
from jaxmask.adapter import KNOWN, Adapter
from jaxmask.cli import absl_flags
from jaxmask.cli.arguments import add_command, command_parser, parsed
from jaxmask.cli.ending import exit_status
from jaxmask.errors import InputError

BATCH = 256


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


def evaluate(given: argparse.Namespace) -> None:
    """Accuracy, accuracy by class, and the confusion matrix."""
    import jax.numpy as jnp

    from jaxmask import data
    from jaxmask import evaluate as measures
    from jaxmask.loss import cross_entropy
    from jaxmask.task import learned, schema

    task = learned.load(given.task, given.base, given.adapters, given.network)
    name = given.data or task.about.get("dataset", "")
    if not name:
        raise InputError(f"{task.source} names no dataset; give one after the task")
    if schema.is_of_texts(task.about):
        tokenizer, row = _reader(task, given)
        own = data.load_texts_split(name, given.split, tokenizer, tokens=row, row=row)
    else:
        side = _side(task, resizable=False)
        own = data.load_split(name, given.split, data_dir=given.directory or None, size=side)
    images, labels = _of_task(task, *own, name)
    task = _with_statistics(task, images, given)
    logits = jnp.asarray(_logits(task, images))
    predicted = logits.argmax(axis=-1)
    number = len(task.classes)
    confusion = np.asarray(measures.confusion_matrix(labels, predicted, number))
    by_class = np.asarray(measures.per_class_accuracy(labels, predicted, number))
    result = {
        "task": str(task.source),
        "method": task.about["method"],
        "dataset": name,
        "split": given.split,
        "examples": len(labels),
        "accuracy": float((predicted == labels).mean()),
        "loss": float(cross_entropy(logits, jnp.asarray(labels)).mean()),
        "accuracy_by_class": {
            label: None if np.isnan(share) else float(share)
            for label, share in zip(task.classes, by_class)
        },
    }
    if given.out:
        from jaxmask import report

        given.out.mkdir(parents=True, exist_ok=True)
        files.replace(given.out / "evaluation.json", json.dumps(result, indent=2) + "\n")
        table = [["", *task.classes], *([a, *b] for a, b in zip(task.classes, confusion.tolist()))]
        files.replace(given.out / "confusion.csv", _csv(table))
        report.figures.confusion(given.out / "confusion.png", confusion, task.classes)
    what = "texts" if schema.is_of_texts(task.about) else "images"
    print(f"accuracy {result['accuracy']:.2%} of {len(labels)} {what}, loss {result['loss']:.4f}")
    ranked = sorted(
        (share, label) for label, share in result["accuracy_by_class"].items() if share is not None
    )
    shown = [("lowest", ranked[:5]), ("highest", ranked[:-6:-1])]
    for what, few in shown if len(ranked) > 10 else [("by class", ranked)]:
        print(f"{what}: " + ", ".join(f"{label} {share:.1%}" for share, label in few))


def predict(given: argparse.Namespace) -> None:
    """The most probable classes of image files, or of the texts in files."""
    from scipy.special import softmax

    from jaxmask.task import learned, schema

    if given.top < 1:
        raise InputError(f"--top is {given.top}; it must be at least 1")
    if given.out and given.out.suffix not in (".csv", ".json"):
        raise InputError(f"--out={given.out}: the name must end in .csv or .json")
    task = learned.load(given.task, given.base, given.adapters, given.network)
    if schema.is_of_texts(task.about):
        what, shown, images = "text", *_read_texts(task, given)
    else:
        paths = _image_files(given.images)
        what, shown, images = "file", list(map(str, paths)), _read_images(paths, task)
    task = _with_statistics(task, images, given)
    shares = softmax(_logits(task, images), axis=-1)
    order = np.argsort(-shares, axis=-1, kind="stable")[:, : given.top]
    found = [
        {
            what: each,
            "classes": [task.classes[label] for label in row],
            "probabilities": [float(share[label]) for label in row],
        }
        for each, row, share in zip(shown, order, shares)
    ]
    if given.out and given.out.suffix == ".json":
        text = json.dumps(found, indent=2) + "\n"
    else:
        width = order.shape[1]
        places = range(1, width + 1) if width > 1 else [""]
        titles = [f"{what}{place}" for place in places for what in ("class", "probability")]
        rows = [
            [each[what], *(part for pair in zip(each["classes"], each["probabilities"])
                             for part in pair)]
            for each in found
        ]  # fmt: skip
        text = _csv([[what, *titles], *rows])
    if given.out:
        files.replace(given.out, text)
        print(f"{len(found)} predictions: {given.out}")
    else:
        print(text, end="")


def _reader(task: Any, given: argparse.Namespace) -> tuple[Any, int]:
    """The tokenizer of a task of texts, and the length of its rows."""
    from jaxmask.task import tokens

    start = str(task.about.get("start", ""))
    beside = [each for each in (given.base, start) if each not in ("", "random", "pretrain")]
    found = tokens.find(given.tokenizer, beside, task.about, "--tokenizer")
    return found, task.about["image_shape"][0]


def _read_texts(task: Any, given: argparse.Namespace) -> tuple[list[str], np.ndarray]:
    """The texts of files, as they are shown, and as token ids."""
    from jaxmask.data import text_source, tokenizer

    for path in given.images:
        if path.suffix not in (".txt", ".tsv") or not path.is_file():
            raise InputError(
                f"{path} is no file of texts; give .txt files with a text a line, or .tsv files"
            )
    texts = [text for path in given.images for text in text_source.unlabeled(path)]
    own, row = _reader(task, given)
    rows = tokenizer.encode(own, texts, tokens=row, row=row)
    if rows.cut:
        print(f"{rows.cut} of {len(texts)} texts were cut to {rows.ids.shape[1]} tokens",
              file=sys.stderr)  # fmt: skip
    shown = [text if isinstance(text, str) else "\t".join(text) for text in texts]
    return shown, rows.ids


def _side(task: Any, resizable: bool = True) -> int:
    """The side in pixels that images are cut to when decoded; 0 does not cut."""
    shape = task.about.get("stored_shape") or task.about.get("image_shape") or (0, 0, 0)
    height, width, _ = shape
    if height != width and resizable:
        raise InputError(
            f"{task.source} is for images of {height} x {width} pixels, not square ones; "
            "use evaluate with a dataset of such images"
        )
    return height if height == width else 0


def _of_task(task: Any, split: Any, names: Sequence[str], dataset: str) -> tuple[Any, np.ndarray]:
    """The images of the task's classes, and their labels in the task's numbering."""
    number = {name: label for label, name in enumerate(task.classes)}
    labels = np.array([number.get(name, -1) for name in names])[np.asarray(split.labels)]
    kept = np.flatnonzero(labels >= 0)
    if not len(kept):
        raise InputError(
            f"{dataset} has none of the task's classes ({', '.join(task.classes[:5])}, ...); "
            "give a dataset that has some"
        )
    if len(kept) == len(labels):
        return split.images, labels
    print(f"{len(labels) - len(kept)} images of other classes are left out", file=sys.stderr)
    return split.images[kept], labels[kept]


def _with_statistics(task: Any, images: Any, given: argparse.Namespace) -> Any:
    from jaxmask.task import learned, statistics

    if not given.statistics:
        return task
    if learned.classifier_of(task.about) is not None:
        raise InputError(
            f"{task.source} is a task of {task.about['method']!r}, whose stored features have "
            "fixed statistics; leave out --statistics"
        )
    if learned.is_cascade(task.about):
        raise InputError(
            f"{task.source} is a cascade, whose networks have statistics of their own each; leave "
            "out --statistics"
        )
    variables = statistics.reestimate(task.module, task.variables, task.prepare, images, BATCH)
    return task._replace(variables=variables)


def _logits(task: Any, images: Any) -> np.ndarray:
    from jaxmask import evaluate as measures

    size = min(BATCH, len(images))
    logits = measures.extract(lambda batch: task.logits(task.variables, batch), images, size)
    if not np.isfinite(logits).all():
        raise InputError(f"{task.source}: the network's outputs for these images are not finite")
    return logits


def _image_files(given: Sequence[Path]) -> list[Path]:
    from jaxmask.data.decode import extensions

    known, found = extensions(), []
    for path in given:
        if path.is_dir():
            inside = sorted(each for each in path.rglob("*") if each.suffix.lower() in known)
            if not inside:
                raise InputError(
                    f"there is no image in {path}; give image files, or folders of them"
                )
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"there is no {path}; give image files, or folders of them")
    return found


def _read_images(paths: Sequence[Path], task: Any) -> np.ndarray:
    from jaxmask.data.decode import decode_file

    side, images, damaged = _side(task), [], []
    for path in paths:
        signals.obey()
        try:
            images.append(decode_file(path, side))
        except Exception:  # decoders raise all kinds of errors for damaged files
            damaged.append(str(path))
    if damaged:
        more = f" and {len(damaged) - 3} more" if len(damaged) > 3 else ""
        raise InputError(f"cannot read as images: {', '.join(damaged[:3])}{more}; leave them out")
    return np.stack(images)


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def parser() -> argparse.ArgumentParser:
    """Of the command's arguments."""
    made = command_parser("task", "Uses a learned task.")
    commands = made.add_subparsers(required=True, metavar="evaluate|predict")
    for name, command, about in (
        ("evaluate", evaluate, "compute the accuracy on labeled images or texts"),
        ("predict", predict, "predict class names and probabilities of images or texts"),
    ):
        sub = add_command(commands, name, about, command)
        sub.add_argument("task", type=Path, metavar="TASK", help="a .mask file or run directory")
        if command is evaluate:
            sub.add_argument(
                "data",
                nargs="?",
                metavar="DATA",
                help="a dataset, folder:PATH, hf:NAME or text:FOLDER",
            )
            sub.add_argument("--split", default="test", help="split of the dataset (default: test)")
            sub.add_argument("--directory", default="", help="folder of TFDS datasets")
        else:
            sub.add_argument("images", nargs="+", type=Path, metavar="FILES")
            sub.add_argument("--top", type=int, default=1, help="classes per image (default: 1)")
        sub.add_argument("--base", default="", metavar="PATH", help="the base weights")
        sub.add_argument("--tokenizer", default="", metavar="PATH",
                         help="of texts, if it is not beside the base weights")  # fmt: skip
        sub.add_argument("--network", default="", metavar="PACKAGE.MODULE:CLASS",
                         help="the network, if it is one of your own")  # fmt: skip
        sub.add_argument("--out", type=Path, help="where to write the results")
        sub.add_argument("--statistics", action="store_true",
                         help="use batch statistics of these images")  # fmt: skip
    return made


def run() -> None:
    """The entry point of the command."""
    absl_flags.start(main)
