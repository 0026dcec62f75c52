"""A training run: its input (`Job`), and its result (`Fit`)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from jaxmask.train.feed import Feed
from jaxmask.train.state import State, Tree


class Settings(NamedTuple):
    """How long to train and how to choose the epoch.

    Attributes:
      epochs: at most this many.
      batch_size: examples per training step.
      evaluation_batch: examples per evaluation step.
      patience: stop after this many epochs without a lower validation loss; 0 is off.
      select: "accuracy" (ties: the lower loss) or "loss", of the validation split: which epoch's
        weights are kept; "last" keeps the newest, as does training without a validation split.
      checkpoint_seconds: time between checkpoints.
      scan_steps: most steps in one compiled scan.
      seed: of the data order.
    """

    epochs: int
    batch_size: int
    evaluation_batch: int
    patience: int
    select: str
    checkpoint_seconds: float
    scan_steps: int
    seed: int


class Keep(NamedTuple):
    """A training step, and a function to call with the state right after it."""

    step: int
    write: Callable[[State], None]


class Watch(NamedTuple):
    """What is measured at the ends of epochs, besides the validation split.

    Attributes:
      every: epochs between measurements; the last epoch is always measured.
      measure: (state) -> values by name, for the records.
      fault: (the epoch's training means, and what was measured after it, by name) -> why training
        is to end, or "".
    """

    every: int
    measure: Callable[[State], dict[str, float]]
    fault: Callable[[dict[str, float]], str]


class Job(NamedTuple):
    """The input of one training run; see `loop.fit`.

    Records go to `folder/metrics.jsonl` and TensorBoard, checkpoints to `folder/checkpoints`.
    """

    state: State
    frozen: Tree
    train: Feed
    validation: Feed | None
    settings: Settings
    folder: Path
    title: str = "train"
    keep: Keep | None = None
    watch: Watch | None = None

    @property
    def steps_per_epoch(self) -> int:
        """A partial last batch is dropped."""
        return self.train.examples // self.settings.batch_size

    @property
    def steps(self) -> int:
        """Of all epochs."""
        return self.settings.epochs * self.steps_per_epoch


class Fit(NamedTuple):
    """The result of training: the chosen epoch's weights, and how training went.

    Attributes:
      learned, batch_stats: of the chosen epoch, on the host.
      validation: {"loss", "accuracy"} at that epoch, empty without a validation split.
      epoch: the chosen one, counted from 1; 0 if training diverged in the first.
      steps: all steps done; `seconds`: summed over interruptions (for runs trained together, those
        of all); `waited`: the fraction of them that the device was idle because data was late.
      stopped_early: by `patience`; `diverged`: the loss was not finite at some epoch's end.
      fault: why `Watch.fault` ended training, or "".
      watched: what `Watch.measure` gave last.
      last: the state after the last step.
    """

    learned: dict[str, Tree]
    batch_stats: Tree
    validation: dict[str, float]
    epoch: int
    steps: int
    seconds: float
    waited: float
    stopped_early: bool
    diverged: bool
    last: State
    fault: str = ""
    watched: Mapping[str, float] = {}
