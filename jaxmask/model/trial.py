"""A network is traced once, before anything is trained."""

from collections.abc import Sequence

import flax.linen as nn
import jax
from flax.errors import InvalidRngError

from jaxmask.errors import InputError
from jaxmask.model.apply import apply_function
from jaxmask.model.registry import initialize, zeros


def check(module: nn.Module, image_shape: Sequence[int], classes: int) -> None:
    """Raises InputError unless a network makes logits of images (H, W, C), in training too.

    Or of texts of (L,) token ids. It must draw no random numbers in its forward pass. Nothing is
    computed.
    """
    for train in (False, True):

        def logits(train: bool = train) -> jax.Array:
            start = initialize(module, jax.random.key(0), image_shape)
            images = zeros(image_shape, 2)
            network = apply_function(module)
            return network(start["params"], start["batch_stats"], images, train)[0]

        name, mode = type(module).__name__, "in training" if train else "in evaluation"
        try:
            found = jax.eval_shape(logits)
        except InputError:
            raise
        except InvalidRngError as error:
            raise InputError(
                f"{name} draws random numbers {mode} ({_first_line(error)}); leave dropout and the "
                "like out, or switch them off"
            ) from None
        except Exception as error:  # a network of the user's own may raise anything
            raise InputError(
                f"{name} cannot be called {mode} with images {tuple(image_shape)}: "
                f"{type(error).__name__}: {_first_line(error)}"
            ) from None
        shape = getattr(found, "shape", None)
        if shape != (2, classes):
            given = f"an array of shape {shape}" if shape is not None else "no array"
            raise InputError(
                f"{name} gives {given} for two images; its __call__ must return logits (2, "
                f"{classes}), one for each class"
            )


def _first_line(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0]
    return first.partition(" (https://")[0]
