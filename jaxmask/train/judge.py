"""Which epoch to keep, and early stopping: both by the validation split."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

PATIENCE, DIVERGED = "patience", "diverged"


class Progress(NamedTuple):
    """What the training loop tracks besides the state; saved in every checkpoint.

    Attributes:
      chosen: the best epoch so far, {"epoch"}, with its validation {"loss", "accuracy"} if any.
      lowest_loss: the lowest validation loss so far.
      stale: epochs since then.
      ended: why training ended before its last epoch: "patience", "diverged", what a
        `Watch.fault` said, or None.
      seconds: spent so far, summed over interruptions; `waited`: of these, on data.
      watched: what `Watch.measure` gave last.
    """

    chosen: dict[str, Any] | None = None
    lowest_loss: float | None = None
    stale: int = 0
    ended: str | None = None
    seconds: float = 0.0
    waited: float = 0.0
    watched: Mapping[str, float] = {}


def judge(
    progress: Progress,
    training: dict[str, float],
    validation: dict[str, float],
    epoch: int,
    patience: int,
    select: str,
) -> Progress:
    """The progress after an epoch; a new `chosen` means that it is the best so far.

    A training loss that is not finite ends training. An epoch whose validation loss is not
    finite is never the best. Without a validation split, every epoch counts as the best so far.

    Args:
      training, validation: {"loss", "accuracy"}; validation may be empty.
      patience: epochs without a lower validation loss after which training ends; 0 is off.
      select: "accuracy" (ties: the lower loss), "loss", or "last": the newest epoch.
    """
    if not math.isfinite(training["loss"]):
        return progress._replace(ended=DIVERGED)
    if not validation:
        return progress._replace(chosen={"epoch": epoch})
    finite = math.isfinite(validation["loss"])
    lowest = progress.lowest_loss
    if finite and (lowest is None or validation["loss"] < lowest):
        progress = progress._replace(lowest_loss=validation["loss"], stale=0)
    else:
        progress = progress._replace(stale=progress.stale + 1)
    if patience and progress.stale >= patience:
        progress = progress._replace(ended=PATIENCE)
    before = progress.chosen
    better = before is None or select == "last" or rank(validation, select) > rank(before, select)
    if finite and better:
        progress = progress._replace(chosen={"epoch": epoch, **validation})
    return progress


def rank(validation: dict[str, float], select: str) -> tuple[float, float]:
    """A key that is higher for a better epoch."""
    loss = -validation["loss"]
    return (loss, 0.0) if select == "loss" else (validation["accuracy"], loss)
