"""The compiled programs of training: many steps in one scan, and evaluation."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxmask import tree
from jaxmask.convolution import fast
from jaxmask.loss import cross_entropy
from jaxmask.sharding import like
from jaxmask.train.state import COUNTED, Batch, Problem, State, Sums, Tree


class Programs(NamedTuple):
    """Jitted functions of one problem; another learning rate or seed does not recompile them.

    Attributes:
      step: (state, frozen, resident, x) -> state; one step, the body of the scan.
      train: (state, frozen, resident, xs) -> state; the steps over `xs` as one scan. The state
        is donated.
      evaluate: (learned, batch_stats, frozen, resident, (xs, valid [batches, B])) -> Sums, with
        the running statistics, each valid example once (of words, each that is counted).
      kept: (learned, frozen) -> tree of int32, the number of weights that each mask leaf keeps.
      bits: (learned, frozen) -> the number of bits of all masks; nothing is computed.
      train_together, evaluate_together: `train` and `evaluate` of several runs, all their
        arguments stacked along a new first axis; with `shared=True`, `train_together` takes one
        `resident` for all of them.
    """

    step: Callable[[State, Tree, Any, Any], State]
    train: Callable[[State, Tree, Any, Any], State]
    evaluate: Callable[[Tree, Tree, Tree, Any, Any], Sums]
    kept: Callable[[Tree, Tree], Tree]
    bits: Callable[[Tree, Tree], int]
    train_together: Callable[..., State]
    evaluate_together: Callable[[Tree, Tree, Tree, Any, Any], Sums]


def programs(
    problem: Problem,
    optimizer: optax.GradientTransformation,
    fetch: Callable[[Any, Any], tuple[jax.Array, jax.Array]],
    mesh: Mesh,
) -> Programs:
    """The compiled programs of `problem`, over a mesh with a `data` axis.

    Args:
      fetch: gets a batch from a feed, `feed.Feed.fetch`.
    """
    across = NamedSharding(mesh, PartitionSpec("data"))
    takes_loss = optax.with_extra_args_support(optimizer)

    @jax.jit  # traced once, for its cost and for all scan lengths
    def step(state: State, frozen: Tree, resident: Any, x: Any) -> State:
        images, labels = jax.lax.with_sharding_constraint(fetch(resident, x), across)
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        batch = Batch(images, labels, key, state.step)
        objective = jax.value_and_grad(problem.objective, has_aux=True)
        (loss, (carried, totals)), gradients = objective(
            state.learned, frozen, state.carried, batch
        )
        updates, optimizer_state = takes_loss.update(
            gradients, state.optimizer, state.learned, value=loss
        )
        return State(
            step=state.step + 1,
            key=state.key,
            learned=like(state.learned, problem.after(optax.apply_updates(state.learned, updates))),
            carried=carried,
            optimizer=like(state.optimizer, optimizer_state),
            sums=state.sums.plus(totals, totals.get(COUNTED, len(labels))),
        )

    def train(state: State, frozen: Tree, resident: Any, xs: Any) -> State:
        def body(state: State, x: Any) -> tuple[State, None]:
            return step(state, frozen, resident, x), None

        return jax.lax.scan(body, state, xs)[0]

    def evaluate(
        learned: Tree, batch_stats: Tree, frozen: Tree, resident: Any, batches: Any
    ) -> Sums:
        parameters = problem.parameters(learned, frozen)

        def body(sums: Sums, batch: Any) -> tuple[Sums, None]:
            x, valid = batch
            images, labels = jax.lax.with_sharding_constraint(fetch(resident, x), across)
            inputs = problem.augment(None, images)
            logits, _ = problem.network(parameters, batch_stats, inputs, False)
            labels, counted = problem.targets(inputs, labels)
            if counted is not None:
                valid = counted & valid[:, None]
            losses = jnp.where(valid, cross_entropy(logits, labels), 0.0)
            totals = {"loss": losses.sum(), "accuracy": correct(logits, labels, valid)}
            return sums.plus(totals, valid.sum(dtype=jnp.int32)), None

        return jax.lax.scan(body, Sums.zero(), batches)[0]

    def train_together(
        state: State, frozen: Tree, resident: Any, xs: Any, *, shared: bool = False
    ) -> State:
        together = jax.vmap(train, (0, 0, None if shared else 0, 0))
        return fast(together)(state, frozen, resident, xs)

    def kept(learned: Tree, frozen: Tree) -> Tree:
        masks = problem.masks(learned, frozen)
        return jax.tree.map(lambda mask: (mask > 0).sum(dtype=jnp.int32), masks)

    def bits(learned: Tree, frozen: Tree) -> int:
        return tree.size(jax.eval_shape(problem.masks, learned, frozen))

    return Programs(
        step=step,
        train=jax.jit(fast(train), donate_argnums=0),
        evaluate=jax.jit(fast(evaluate)),
        kept=jax.jit(kept),
        bits=bits,
        train_together=jax.jit(train_together, donate_argnums=0, static_argnames="shared"),
        evaluate_together=jax.jit(fast(jax.vmap(evaluate))),
    )


def correct(logits: jax.Array, labels: jax.Array, valid: Any = True) -> jax.Array:
    """The number of valid examples whose largest logit is the label's."""
    return (valid & (logits.argmax(axis=-1) == labels)).sum(dtype=jnp.int32)
