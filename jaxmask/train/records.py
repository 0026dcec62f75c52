"""The records of a run: metrics.jsonl and TensorBoard, truncated on resuming."""

import json
import math
from pathlib import Path
from types import TracebackType
from typing import Any

from jaxmask import files
from jaxmask.train.board import Board


class Records:
    """Writes one object per record to `metrics.jsonl`, and the same numbers to `tensorboard/`.

    Opening it on the folder of an interrupted run removes every record after `step`, the step of
    the checkpoint that the run resumes from, so that no step is recorded twice; also the record of
    the test split, which is read at the very end, and a line that a killed process left
    incomplete.

    Attributes:
      board: for what TensorBoard alone shows, such as times, in which equal runs differ.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        self._path = folder / "metrics.jsonl"
        self.board = Board(folder, step + 1)
        kept = [
            line for line in _lines(self._path) if line["step"] <= step and line["split"] != "test"
        ]
        files.replace(self._path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = self._path.open("a")

    def write(self, step: int, epoch: int, split: str, **values: float | int | str | None) -> None:
        """Adds the record {step, epoch, split, **values}; numbers also go to TensorBoard."""
        values = {name: finite(value) for name, value in values.items()}
        record = {"step": step, "epoch": epoch, "split": split, **values}
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        for name, value in values.items():
            if isinstance(value, int | float):
                self.board.scalar(f"{split}/{name}", value, step)

    def __enter__(self) -> "Records":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self.board.__exit__(kind, error, trace)


def finite(value: Any) -> Any:
    """None for NaN and infinity, which JSON lacks; everything else unchanged."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_records(folder: Path) -> list[dict[str, Any]]:
    """The records of a run directory, in order."""
    return _lines(folder / "metrics.jsonl")


def _lines(path: Path) -> list[dict[str, Any]]:
    found = []
    if path.exists():
        for line in path.read_text(errors="replace").splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                break  # incomplete because of a kill: nothing after it counts
            if not isinstance(record, dict) or not {"step", "epoch", "split"} <= record.keys():
                break
            found.append(record)
    return found
