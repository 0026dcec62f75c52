"""What TensorBoard shows of a run: numbers by step, histograms, hyperparameters."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

BINS = 64
DRAWN = 2**18  # values of a leaf, evenly spaced, that a histogram counts at most


class Board:
    """Writes to `folder/tensorboard`; nothing is created before the first value.

    Args:
      folder: a run directory.
      purge: what an earlier process wrote at this step or after it is no longer shown.
    """

    def __init__(self, folder: Path, purge: int = 0) -> None:
        self._folder, self._purge = folder, purge
        self._writer: Any = None

    def scalar(self, name: str, value: float, step: int) -> None:
        """Adds a number."""
        self._opened().add_scalar(name, value, step)

    def histograms(self, group: str, leaves: Mapping[str, Any], step: int) -> None:
        """Adds one histogram per leaf, as `group/path`; empty leaves are skipped.

        Of a leaf with more than 2^18 values, as many or half of them are counted.
        """
        for path, leaf in leaves.items():
            values = np.asarray(leaf).ravel()
            values = values[:: -(-values.size // DRAWN) or 1].astype(np.float32)
            if values.size and np.isfinite(values).all():
                # a number of bins: tensorboardX's own edges end at 1e20
                self._opened().add_histogram(f"{group}/{path}", values, step, bins=BINS)

    def hyperparameters(self, fields: Mapping[str, Any], metrics: Sequence[str]) -> None:
        """Adds the run to the tab HParams.

        Args:
          fields: values by name; numbers, text, truth values.
          metrics: names of numbers of this run, to show beside them.
        """
        from tensorboardX.summary import hparams

        # `add_hparams` would make a second run, in a folder of its own, without these metrics
        for summary in hparams(dict(fields), dict.fromkeys(metrics, 0.0)):
            self._opened().file_writer.add_summary(summary)

    def _opened(self) -> Any:
        if self._writer is None:
            from tensorboardX import SummaryWriter  # takes a second to import

            # The suffix keeps a file of the same second from being overwritten.
            self._writer = SummaryWriter(
                str(self._folder / "tensorboard"),
                purge_step=self._purge,
                filename_suffix=f".{time.time_ns()}",
            )
        return self._writer

    def __enter__(self) -> "Board":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()
