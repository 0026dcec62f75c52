"""What an experiment will train, and about how long that takes: stated before it starts."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxmask import model, signals
from jaxmask.data.words import first_blanks
from jaxmask.loss import cross_entropy
from jaxmask.model.registry import zeros
from jaxmask.run import result, texts
from jaxmask.run.programs import shared
from jaxmask.train import cost, epoch, feed
from jaxmask.train.state import State, initial, labels_of
from jaxmask.train.supervised import classifier

MEASURED_FROM = 60.0  # seconds by a rough estimate; what takes less is not worth the measuring
FORWARD = 1 / 3  # of a step's time: a forward pass has a third of its operations
Shape = tuple[int, ...]  # height, width, channels
AGAIN = "the same command resumes after any interruption"


class Planned(NamedTuple):
    """A training that an experiment will request.

    Attributes:
      steps: at most.
      batch_size: images per step.
      evaluated: images of the validation split, summed over epochs.
      early: whether early stopping may end it sooner.
      network: the Linen network.
      image_shape: of its input.
      passes: what a step costs for each example, in forward and backward passes of an image; more
        than 1 if it learns from views.
      place: its run directory, relative to that of the experiment.
    """

    steps: int
    batch_size: int
    evaluated: int
    early: bool
    network: nn.Module
    image_shape: Shape
    passes: float = 1.0
    place: Path = Path()


def below(place: Path | str, planned: Iterable[Planned]) -> tuple[Planned, ...]:
    """The trainings of an experiment that is a part of another, in its folder `place`."""
    return tuple(each._replace(place=place / each.place) for each in planned)


def told(planned: Sequence[Planned], folder: Path, timed: bool = True) -> str:
    """One line: the trainings that are left in a run directory, their steps and their time.

    The time is that of training and validation. Compiling, features for methods that fit a
    classifier to them, tests and files come on top.

    Args:
      timed: whether it tells the time, for which large networks are tried on this machine.
    """
    left = [each for each in planned if not (folder / each.place / result.NAME).exists()]
    if not left:
        return "nothing to train" if not planned else f"all of {_trainings(len(planned))} are done"
    done = f" left of {len(planned)}" if len(left) < len(planned) else ""
    sizes = sorted({each.batch_size for each in left})
    images = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    most = "at most " if any(each.early for each in left) else ""
    what = "texts" if all(len(each.image_shape) == 1 for each in left) else "images"
    steps = f"{most}{sum(each.steps for each in left):,} steps of {images} {what}"
    return f"{_trainings(len(left))}{done}, {steps}{_time(left) if timed else ''} ({AGAIN})"


def _trainings(count: int) -> str:
    return "1 training" if count == 1 else f"{count:,} trainings"


def _time(planned: Sequence[Planned]) -> str:
    """The time that they take one after the other; "" if it cannot be told."""
    alike: dict[tuple[nn.Module, Shape, int], float] = {}  # steps, by their kind
    for each in planned:
        kind = (each.network, each.image_shape, each.batch_size)
        steps = each.passes * each.steps + FORWARD * each.evaluated / each.batch_size
        alike[kind] = alike.get(kind, 0.0) + steps
    roughly = sum(steps * _rough_seconds(*kind) for kind, steps in alike.items())
    if roughly < MEASURED_FROM:
        return "; about a minute or less"
    try:
        seconds = sum(steps * _measured_seconds(*kind) for kind, steps in alike.items())
    except jax.errors.JaxRuntimeError:  # all weights may need more memory than those to train
        return ""
    return f"; about {_spoken(seconds)} of training on this machine"


def _rough_seconds(network: nn.Module, image_shape: Shape, batch_size: int) -> float:
    """The order of magnitude of a training step's seconds, by its operations, traced once."""

    def found() -> float:
        programs, begin, batch = _training(network, image_shape, batch_size)
        shapes = jax.eval_shape(lambda: (begin(), {}, batch()))
        return cost.rough_seconds(programs.step, *shapes, None)

    return shared("rough seconds", (network, image_shape, batch_size), found)


def _measured_seconds(network: nn.Module, image_shape: Shape, batch_size: int) -> float:
    """The seconds of a training step, measured once."""

    def measured() -> float:
        signals.obey()
        programs, begin, batch = _training(network, image_shape, batch_size)
        state, images = feed.replicate((begin(), batch()), feed.make_mesh())
        return cost.measured_seconds(programs.train, state, {}, images, steps=4)

    return shared("seconds", (network, image_shape, batch_size), measured)


def _training(
    network: nn.Module, image_shape: Shape, batch_size: int
) -> tuple[epoch.Programs, Callable[[], State], Callable[[], tuple[jax.Array, jax.Array]]]:
    """Training of all weights on a batch of random images: programs, () -> state, () -> batch."""
    words = texts.predicts_words(network)
    problem = classifier(
        parameters=lambda learned, frozen: learned["train"],
        masks=lambda learned, frozen: {},
        network=texts.network_of(network),
        augment=lambda key, images: first_blanks(images) if words else images,
        loss=cross_entropy,
        targets=texts.words_of if words else labels_of,
    )
    optimizer, key = optax.sgd(0.1, momentum=0.9), jax.random.key(0)
    programs = epoch.programs(problem, optimizer, lambda batch, _: batch, feed.make_mesh())

    def begin() -> State:
        variables = model.initialize(network, key, image_shape)
        return initial({"train": variables["params"]}, variables["batch_stats"], optimizer, key)

    def batch() -> tuple[jax.Array, jax.Array]:
        images = zeros(image_shape, batch_size)
        images = jax.random.normal(key, images.shape) if images.ndim == 4 else images
        return images, jnp.zeros(batch_size, jnp.int32)

    return programs, begin, batch


def _spoken(seconds: float) -> str:
    """A time in the unit that suits it: "26 minutes", "3.4 hours", "2.1 days"."""
    if seconds < 5400:
        minutes = max(round(seconds / 60), 1)
        return "a minute" if minutes == 1 else f"{minutes} minutes"
    hours = seconds / 3600
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"
