"""A self-masking step against a supervised masked step on images of the same sizes.

Both run as the library compiles them, in a scan: what the recipe `self_mask` trains, with views
made in the step and the queue in use, and a masked network with cross-entropy on views that were
made before. Beside them, how much of the step is the loss, how much of that Sinkhorn-Knopp with
the queue; and steps with other losses.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks.measure import Result, Timing, command, interleaved, ratio, table
from benchmarks.training import random_images
from jaxmask import adapter, data, model
from jaxmask.loss import cross_entropy, sinkhorn, swav
from jaxmask.run import defaults
from jaxmask.run import task as tasks
from jaxmask.run.method import site_of
from jaxmask.run.trainer import Ready, make_trainer
from jaxmask.run.unlabeled import loss_of
from jaxmask.train import epoch, feed
from jaxmask.train import optimizer as optimizers
from jaxmask.train.state import Batch, Carried, State, initial
from jaxmask.train.supervised import classifier
from jaxmask.train.unlabeled import LOSS

BATCH, SMALL = 64, 4  # images, and small views of each
AIM, AIM_OF_CODES = "1.15", "0.03"
SWAV, SUPERVISED = "swav", "supervised, on made views"
LOSSES = {  # of a step: its name in a config, and how far an adversarial view moves
    SWAV: ("swav(prototypes=500)", 0.0),
    "swav with an adversarial view": ("swav(prototypes=500)", 0.03),
    "simclr": ("simclr", 0.0),
    "dino": ("dino", 0.0),
}
PROTOTYPES = (500, 100)  # of SwAV's loss alone
QUEUE, DIMENSION, FEATURES = 512, 128, 64


class _Case(NamedTuple):
    """What the sides share."""

    config: ConfigDict
    task: tasks.Task
    steps: int  # in a scan

    @property
    def batch(self) -> int:
        return self.config.mask.train.batch_size


def run(
    rounds: int = 7,
    network: str = "resnet20",
    side: int = 32,
    batch: int = BATCH,
    steps: int = 2,
    losses: Mapping[str, tuple[str, float]] = LOSSES,
) -> list[Result]:
    """All sides, one table."""
    case = _case(network, side, batch, steps)
    sides = {name: _unlabeled(case, *settings) for name, settings in losses.items()}
    sides[SUPERVISED] = _supervised(case)
    for count in PROTOTYPES:
        sides[f"loss alone, {count} prototypes"] = _loss(case, count)
        sides[f"Sinkhorn and the queue, {count} prototypes"] = _codes(case, count)
    timings = interleaved(sides, rounds)
    large, small = data.view_sizes(side)
    what = f"2 x {large} px and {SMALL} x {small} px of {batch} images"
    _print(timings, what, case)
    taken = {name: f"{1e3 * t.median / steps:,.3g} ms" for name, t in timings.items()}

    def line(what: str, ours: str, theirs: str, aim: str = "") -> Result:
        slower = ratio(timings[ours].seconds, timings[theirs].seconds)
        return Result(what, taken[ours], taken[theirs], slower, aim)

    against = f"a self-masking step of {network} ({what}), against a supervised one, views made"
    return [
        line(against, SWAV, SUPERVISED, AIM),
        *(
            line(f"{name}, against the whole step", name, SWAV, AIM_OF_CODES)
            for name in timings
            if name.startswith("Sinkhorn")
        ),
        *(
            line(f"a step with {name}, against SwAV's", name, SWAV)
            for name in losses
            if name != SWAV
        ),
    ]


def _print(timings: Mapping[str, Timing], what: str, case: _Case) -> None:
    rows = []
    for name, timing in timings.items():
        seconds = timing.median / case.steps
        share = ratio(timing.seconds, timings[SWAV].seconds)
        speed = f"{case.batch / seconds:,.0f}"
        rows.append((name, f"{1e3 * seconds:,.3g} ms", speed, share, f"{timing.compilation:.1f} s"))
    print(table((what, "a step", "images / s", "of swav's step", "compilation"), rows))


def _case(network: str, side: int, batch: int, steps: int) -> _Case:
    """The recipe's defaults with four small views, for random images."""
    config = defaults.self_mask("random", epochs=1000)
    config.network.name, config.views.small = network, SMALL
    config.mask.train.update(batch_size=batch, scan_steps=steps, mask_learning_rate=0.01)
    images = data.Split(*random_images(4 * batch, (side, side, 3)))
    dataset = data.Dataset("random", images, images, images, tuple("0123456789"))
    task = tasks.make_task(config.data, config.network, dataset, ((0.5,), (0.25,)))
    return _Case(config, task, steps)


def _ready(case: _Case) -> tuple[adapter.Adapter, Ready]:
    """Masks by threshold, and the trees that they start from."""
    method, site = adapter.METHODS["mask"], site_of(case.task, case.config, "freeze")
    way = method.build(method.settle(case.config.mask, {}), site)
    variables = model.initialize(case.task.module, jax.random.key(0), case.task.image_shape)
    trees = way.init(jax.random.key(1), variables["params"])
    return way, Ready(*trees, variables["batch_stats"])


def _unlabeled(case: _Case, loss: str, adversarial_step: float) -> Callable[[], None]:
    """A scan of what the recipe trains, from the middle of a training."""
    config = case.config.copy_and_resolve_references()
    config.loss, config.adversarial_step = loss, adversarial_step
    way, ready = _ready(case)
    views_loss, features, training = loss_of(case.task, config)
    learned = {**ready.learned, LOSS: views_loss.init(jax.random.key(2), features)}
    train = config.mask.train
    trainer = make_trainer(case.task, train, way, 0, "mask.train", "mask", unlabeled=training)
    made, job = trainer.job(ready._replace(learned=learned), {}, "mask", Path(), "mask")
    half = trainer.steps_per_epoch * train.epochs // 2
    state = job.state._replace(step=jnp.full_like(job.state.step, half))
    order = np.arange(case.steps * case.batch, dtype=np.int32) % job.train.examples
    xs = next(job.train.chunks(order.reshape(case.steps, -1), [case.steps]))
    return _scan(made, _with_full_queue(state), job.frozen, job.train.resident, xs)


def _with_full_queue(state: State) -> State:
    memory = state.carried.memory
    loss = dict(memory["loss"])
    if "queue" in loss:
        loss["queue"] = _unit(jax.random.key(3), loss["queue"].shape)
        loss["filled"] = jnp.full_like(loss["filled"], QUEUE)
    return state._replace(carried=state.carried._replace(memory={**memory, "loss": loss}))


def _supervised(case: _Case) -> Callable[[], None]:
    """A scan of a masked classifier on views made before; those of one size are one batch."""
    way, ready = _ready(case)
    task, train = case.task, case.config.mask.train
    labeled = classifier(
        parameters=way.parameters, masks=lambda learned, frozen: {}, network=task.network,
        augment=task.augment, loss=cross_entropy,
    )  # fmt: skip

    def objective(learned: Any, frozen: Any, carried: Carried, batch: Batch) -> Any:
        parameters, statistics, found = way.parameters(learned, frozen), carried.batch_stats, []
        for images in batch.images:
            logits, statistics = task.network(parameters, statistics, images, True)
            labels = jnp.tile(batch.labels, len(images) // len(batch.labels))
            found.append(cross_entropy(logits, labels))
        loss = jnp.concatenate(found).mean()
        return loss, (Carried(statistics, None), {"loss": loss * len(batch.labels)})

    measured = {"loss": jnp.float32}
    both = optimizers.grouped(way.optimizers(optimizers.Section(train, train.epochs, 1)))
    made = epoch.programs(
        labeled._replace(objective=objective, measured=measured), both,
        lambda views, step: jax.tree.map(lambda leaf: leaf[step], views), task.mesh,
    )  # fmt: skip
    state = initial(ready.learned, ready.batch_stats, both, jax.random.key(2), measured=measured)
    trees = feed.replicate((state, ready.frozen, _made_views(case)), task.mesh)
    return _scan(made, *trees, jnp.arange(case.steps))


def _made_views(case: _Case) -> Any:
    """Random numbers in the shapes of views [steps, views x B, S, S, C], and labels [steps, B]."""
    large, small = data.view_sizes(case.task.image_shape[0])
    pixels = tuple(
        jax.random.normal(jax.random.key(size), (case.steps, views * case.batch, size, size, 3))
        for views, size in ((2, large), (SMALL, small))
    )
    return pixels, jnp.zeros((case.steps, case.batch), jnp.int32)


def _scan(
    made: epoch.Programs, state: State, frozen: Any, resident: Any, xs: Any
) -> Callable[[], None]:
    def side() -> None:
        nonlocal state
        state = made.train(state, frozen, resident, xs)
        assert np.isfinite(state.sums.totals["loss"])  # waits for the scan

    return side


def _loss(case: _Case, prototypes: int) -> Callable[[], Any]:
    """A scan of SwAV's loss and its gradients, from features on."""
    way = swav(prototypes, queue=QUEUE)
    parameters = way.init(jax.random.key(0), FEATURES)
    views = jax.random.normal(jax.random.key(1), (2 + SMALL, case.batch, FEATURES))
    memory = way.memory(parameters, case.batch)
    memory = {"queue": _unit(jax.random.key(3), memory["queue"].shape), "filled": jnp.int32(QUEUE)}

    def value(parameters: Any, views: Any, memory: Any) -> Any:
        loss, memory, _ = way.loss(parameters, memory, list(views), None, 0.5)
        return loss, memory

    def body(carry: Any, _: Any) -> Any:
        parameters, views, memory = carry
        slopes, memory = jax.grad(value, argnums=(0, 1), has_aux=True)(parameters, views, memory)
        parameters, views = jax.tree.map(lambda x, s: x - 0.1 * s, (parameters, views), slopes)
        return (way.after(parameters), views, memory), None

    return _looped(body, (parameters, views, memory), case.steps)


def _codes(case: _Case, prototypes: int) -> Callable[[], Any]:
    """A scan of what SwAV does with its queue: similarities, Sinkhorn-Knopp, new embeddings."""
    centers = _unit(jax.random.key(0), (prototypes, DIMENSION))
    now = _unit(jax.random.key(1), (2, case.batch, DIMENSION))
    queue = _unit(jax.random.key(3), (2, QUEUE, DIMENSION))

    def body(carry: Any, _: Any) -> Any:
        queue, total = carry
        together = jnp.concatenate([now + total, queue], axis=1)
        codes = sinkhorn(together @ centers.T)[:, : case.batch]
        return (together[:, :QUEUE], codes.mean()), None

    return _looped(body, (queue, jnp.float32(0)), case.steps)


def _looped(body: Callable[..., Any], carry: Any, steps: int) -> Callable[[], Any]:
    looped = jax.jit(lambda carry: jax.lax.scan(body, carry, length=steps)[0])
    return lambda: jax.block_until_ready(looped(carry))


def _unit(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    vectors = jax.random.normal(key, shape)
    return vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)


if __name__ == "__main__":
    command(run)
