"""What each part of BigBird's attention is for: a needle in a text, found by the first token.

A text is of filling words, but for one of eight needles at a random place; the first token is to
tell which. In two layers, it can only know needles from which a path of at most two steps leads to
it; of all others one in eight is guessed. So the share of such places bounds the accuracy, and a
part of the attention matters if leaving it out lowers that bound. This checks that training
reaches it. Run it with `python -m benchmarks.needle`: a table in a few minutes on a core.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.measure import table
from jaxmask import model
from jaxmask.loss import cross_entropy
from jaxmask.model import attention

LENGTH, BLOCK, LAYERS = 128, 8, 2
NEEDLES, FILLING = 8, 24  # words of each kind; 0 is padding, 1 the first token
ALL = {"window": 3, "random": 2, "global_": 1}
LEFT_OUT = {
    "nothing": {},
    "window": {"window": 1},  # a block still sees itself
    "random": {"random": 0},
    "global": {"global_": 0},
    "global and window": {"global_": 0, "window": 1},
    "global and random": {"global_": 0, "random": 0},
}


class Row(NamedTuple):
    """One attention: what is left out, and its share of places, bound and accuracy."""

    left_out: str
    reached: float
    bound: float
    accuracy: float


def text(left_out: str) -> str:
    """The attention without a part, as `model.create` takes it."""
    parts = {**ALL, **LEFT_OUT[left_out], "block": BLOCK}
    return f"bigbird({', '.join(f'{name}={value}' for name, value in parts.items())})"


def reached(left_out: str, length: int = LENGTH, layers: int = LAYERS) -> np.ndarray:
    """bool [length]: the tokens from which a path leads to the first one, a step a layer."""
    seen = jnp.ones((1, length), bool)
    found = np.eye(1, length, dtype=bool)[0]
    for layer in reversed(range(layers)):
        settings: Any = attention.named(text(left_out), layer)
        mask = np.asarray(attention.bigbird_mask(seen, **settings.keywords))[0]
        found = mask[found].any(axis=0)
    return found


def texts(key: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Ids int32 [count, LENGTH], and which needle each has."""
    of_filling, of_places, of_needles = jax.random.split(key, 3)
    ids = jax.random.randint(of_filling, (count, LENGTH), 2 + NEEDLES, 2 + NEEDLES + FILLING)
    places = jax.random.randint(of_places, (count,), 1, LENGTH)
    needles = jax.random.randint(of_needles, (count,), 0, NEEDLES)
    ids = ids.at[:, 0].set(1).at[jnp.arange(count), places].set(2 + needles)
    return ids, needles


def network(left_out: str) -> Any:
    """Two layers of 32 units, read at the first token."""
    return model.create(
        "bert_tiny", classes=NEEDLES, width=1 / 4, vocabulary=2 + NEEDLES + FILLING,
        context=LENGTH, pool="first", attention=text(left_out),
    )  # fmt: skip


def trained(left_out: str, steps: int, batch: int = 64) -> float:
    """The accuracy on 2,048 new texts after training."""
    module = network(left_out)
    params = model.initialize(module, jax.random.key(0), (LENGTH,))["params"]
    optimizer = optax.adam(optax.warmup_cosine_decay_schedule(0, 3e-3, steps // 10, steps))

    def mean_loss(params: Any, ids: jax.Array, needles: jax.Array) -> jax.Array:
        return cross_entropy(module.apply({"params": params}, ids), needles).mean()

    def step(state: Any, key: jax.Array) -> tuple[Any, None]:
        params, memory = state
        gradient = jax.grad(mean_loss)(params, *texts(key, batch))
        updates, memory = optimizer.update(gradient, memory, params)
        return (optax.apply_updates(params, updates), memory), None

    @jax.jit
    def fit(params: Any) -> Any:
        keys = jax.random.split(jax.random.key(1), steps)
        return jax.lax.scan(step, (params, optimizer.init(params)), keys)[0][0]

    ids, needles = texts(jax.random.key(2), 2048)
    apply = jax.jit(partial(module.apply, {"params": fit(params)}))
    right = [apply(part).argmax(-1) for part in jnp.split(ids, 8)]
    return float((jnp.concatenate(right) == needles).mean())


def run(steps: int = 600) -> list[Row]:
    """All attentions, one after the other."""
    rows = []
    for left_out in LEFT_OUT:
        share = float(reached(left_out)[1:].mean())
        bound = share + (1 - share) / NEEDLES
        rows.append(Row(left_out, share, bound, trained(left_out, steps)))
    return rows


def main() -> None:
    """Prints the table."""
    print(f"{NEEDLES} needles in texts of {LENGTH} tokens, {LAYERS} layers: {text('nothing')}\n")
    shown = [(row.left_out, *(f"{value:.1%}" for value in row[1:])) for row in run()]
    print(table(("left out", "places that reach", "at most", "accuracy"), shown))


if __name__ == "__main__":
    main()
