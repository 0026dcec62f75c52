"""The numbers of steps of a training run."""

from typing import NamedTuple

import pytest

from jaxmask.train.job import Job, Settings


class Feed(NamedTuple):
    examples: int


@pytest.mark.parametrize(
    ("examples", "batch", "epochs", "steps"), [(150, 16, 3, 27), (64, 64, 2, 2), (63, 64, 2, 0)]
)
def test_a_partial_last_batch_is_dropped(examples, batch, epochs, steps):
    settings = Settings(epochs, batch, 4, 0, "last", 1.0, 1, 0)
    job = Job(None, None, Feed(examples), None, settings, None)
    assert (job.steps_per_epoch, job.steps) == (examples // batch, steps)
