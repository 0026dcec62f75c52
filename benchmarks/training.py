"""A network's training steps as the library compiles and runs them: dense, or with masks."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmask import adapter, data, mask, model
from jaxmask.loss import cross_entropy
from jaxmask.run import defaults
from jaxmask.train import epoch, feed
from jaxmask.train import optimizer as optimizers
from jaxmask.train.state import State, initial
from jaxmask.train.supervised import classifier


class Training(NamedTuple):
    """Programs and their arguments, as `recipe.trainer` makes them."""

    programs: epoch.Programs
    state: State
    frozen: Any
    feed: feed.Feed

    def batches(self, steps: int, batch_size: int) -> jax.Array:
        """The input of one scan of `steps` steps."""
        order = np.arange(steps * batch_size) % self.feed.examples
        return next(self.feed.chunks(order.reshape(steps, -1).astype(np.int32), [steps]))


def random_images(count: int, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images of (height, width, channels), and labels of ten classes."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, *shape), np.uint8)
    return images, random.integers(0, 10, count, np.int32)


def training(
    network: str,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    masked: bool,
    rescale: bool | str = True,
    optimizer: str = "sgd(momentum=0.9)",
    dtype: str = "float32",
    rate: float = 0.01,
    steps: int = 10_000,
    **options: Any,
) -> Training:
    """A network with ten classes; with the registry's rules and threshold masks if `masked`.

    Args:
      rescale: of the masks, see `mask.threshold`.
      rate: the peak learning rate, of weights and of scores, along a cosine over `steps`.
      options: of the network, such as `stem`.
    """
    module = model.create(network, classes=10, dtype=dtype, **options)
    variables = model.initialize(module, jax.random.key(0), images.shape[1:])
    way = adapter.weights()
    if masked:
        way = adapter.masks(mask.threshold(rescale=rescale), model.rules(network))
    problem = classifier(
        parameters=way.parameters,
        masks=lambda learned, frozen: way.store(learned, frozen).masks,
        network=model.apply_function(module),
        augment=data.augmentation(mean=(0.5,), std=(0.25,), dtype=dtype),
        loss=cross_entropy,
    )
    config = defaults.train(epochs=1)
    config.optimizer = config.mask_optimizer = optimizer
    section = optimizers.Section(config, steps, steps)
    both = optimizers.grouped(way.optimizers(section))
    learned, frozen = way.init(jax.random.key(1), variables["params"])
    state = initial(learned, variables["batch_stats"], both, jax.random.key(2))
    peaks = dict.fromkeys(optimizers.RATES, rate)
    state = state._replace(optimizer=optimizers.set_peaks(state.optimizer, peaks))
    mesh = feed.make_mesh()
    state, frozen = feed.replicate((state, frozen), mesh)
    resident = feed.resident(images, labels, mesh)
    return Training(epoch.programs(problem, both, resident.fetch, mesh), state, frozen, resident)
