"""Views that are as hard as a small change of their pixels can make them."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp


def adversarial(loss: Callable[..., jax.Array], step_size: Any) -> Callable[..., list[jax.Array]]:
    """The first view becomes `x + step_size * sign(dL/dx)`, the others stay.

    One step of the fast gradient sign method on a loss of views; each image has its own change,
    of `step_size` in every pixel, which raises the loss of the whole batch. The change is a
    constant: no gradient flows through it. A training minimizes both losses together,
    `(loss(views) + mix * loss(harder)) / (1 + mix)`.

    Source: Ho, Vasconcelos, Contrastive learning with adversarial examples, 2020,
    https://arxiv.org/abs/2010.12050 (there: the sum, undivided, with mix 1).

    Args:
      loss: (views, *arguments) -> scalar. `views` are images [B, ...]; the loss applies the
        network and a loss of its features. What is being learned had better be among the
        arguments: then no second derivative is traced.
      step_size: the change of a pixel, in the units of the images; a number or a traced scalar.

    Returns:
      (views, *arguments) -> views.

    Example:
      >>> loss = lambda views, w: jnp.sum((views[0] - views[1]) ** 2) * w
      >>> views = [jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 0.0]])]
      >>> harder = adversarial(loss, 0.5)(views, 1.0)
      >>> harder[0].tolist(), harder[1].tolist()
      ([[0.5, 2.5]], [[3.0, 0.0]])
    """

    def harder(views: Sequence[jax.Array], *arguments: Any) -> list[jax.Array]:
        fixed, constants = jax.lax.stop_gradient((list(views), arguments))
        slope = jax.grad(lambda first: loss([first, *fixed[1:]], *constants))(fixed[0])
        change = jax.lax.stop_gradient(step_size * jnp.sign(slope)).astype(slope.dtype)
        return [views[0] + change, *views[1:]]

    return harder
