"""Progress display: a bar on a terminal, otherwise plain lines."""

import sys
import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from jaxmask import hosts

PLAIN_SECONDS = 10.0  # between two plain lines


class Bar:
    """Shows steps done of `total`, with loss, accuracy, density, examples/s and time left."""

    def __init__(self, title: str, total: int, done: int = 0) -> None:
        self._title = title
        self._total = total
        self._start = self._told = time.monotonic()
        self._first = done
        console = Console(stderr=True)
        self._progress: Progress | None = None
        self._shown = hosts.leads()
        if console.is_terminal and self._shown:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[text]}"),
                TimeRemainingColumn(compact=True),
                console=console,
                transient=True,
            )
            self._task = self._progress.add_task(title, total=total, completed=done, text="")

    def update(self, step: int, examples: int, **values: float | None) -> None:
        """Shows that `step` steps are done and `examples` were seen since the start."""
        now = time.monotonic()
        seconds = max(now - self._start, 1e-9)
        shown = [f"{name} {value:.4g}" for name, value in values.items() if value is not None]
        shown.append(f"{examples / seconds:,.0f} examples/s")
        if self._progress is not None:
            self._progress.update(self._task, completed=step, text="  ".join(shown))
        elif self._shown and (step >= self._total or now - self._told >= PLAIN_SECONDS):
            self._told = now
            left = seconds / max(step - self._first, 1) * (self._total - step)
            shown.append(f"{left:.0f} s left")
            print(
                f"{self._title}: step {step}/{self._total}  " + "  ".join(shown),
                file=sys.stderr,
                flush=True,
            )

    def __enter__(self) -> "Bar":
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Any:
        if self._progress is not None:
            self._progress.stop()
