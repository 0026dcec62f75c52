"""Training by a loss of views, against plain loops."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmask.loss import ViewLoss
from jaxmask.train import epoch, feed, unlabeled
from jaxmask.train.state import Batch, Carried, Problem, initial

STEPS = 10


def views(key, images):
    """Two large views, which differ by the key, and one small view of the first pixels."""
    x = images.astype(jnp.float32).reshape(len(images), -1) / 255
    noise = jax.random.normal(key, (2, *x.shape))
    return x + 0.1 * noise, x[None, :, :2]


def network():
    def parameters(learned, frozen):
        return {"w": learned["scores"] * frozen["w"]}

    return Problem(
        parameters, lambda learned, frozen: {"w": learned["scores"] > 0}, None, None, None
    )


def embed(parameters, statistics, images):
    """Linear features of as many pixels as there are; statistics count the images."""
    return images @ parameters["w"][: images.shape[1]], statistics + len(images)


def loss_of(momentum=None):
    """Mean squares of (first - second + small) A, and of the teacher's first; memory counts."""

    def loss(parameters, memory, views, teacher, progress):
        first, second, small = views
        value = (((first - second + small) @ parameters["A"]) ** 2).mean()
        if teacher is not None:
            theirs, (large, _) = teacher
            value = value + ((large @ theirs["A"] - first @ parameters["A"]) ** 2).mean()
        return value * (1 + progress), {"count": memory["count"] + 1}, {"spread": first.std()}

    return ViewLoss(
        init=lambda key, features: {"A": jax.random.normal(key, (features, 2))},
        memory=lambda parameters, batch: {"count": jnp.int32(0)},
        loss=loss,
        after=lambda parameters: {"A": parameters["A"] / jnp.linalg.norm(parameters["A"])},
        momentum=momentum,
    )


def trees(loss, seed=0):
    random = np.random.default_rng(seed)
    learned = {
        "scores": jnp.asarray(random.normal(size=(4, 3)), jnp.float32),
        unlabeled.LOSS: loss.init(jax.random.key(seed), 3),
    }
    return learned, {"w": jnp.asarray(random.normal(size=(4, 3)), jnp.float32)}


def images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 2, 2, 1)).astype(np.uint8)


def value_of(learned, frozen, batch, progress):
    """The loss without a teacher, by numpy, and the features of its views."""
    large, small = views(batch.key, batch.images)
    w = np.asarray(learned["scores"] * frozen["w"], np.float64)
    a = np.asarray(learned["loss"]["A"], np.float64)
    first, second, third = np.asarray(large[0]) @ w, np.asarray(large[1]) @ w, None
    third = np.asarray(small[0]) @ w[:2]
    return (((first - second + third) @ a) ** 2).mean() * (1 + progress), first


def batch(step=3, seed=0):
    x = jnp.asarray(images(5, seed))
    return Batch(x, jnp.zeros(5, jnp.int32), jax.random.key(7), jnp.int32(step))


def test_the_objective_is_the_loss_of_all_views():
    loss = loss_of()
    problem = unlabeled.of_views(network(), embed, views, loss, steps=STEPS, metrics=["spread"])
    learned, frozen = trees(loss)
    carried = Carried(jnp.int32(0), unlabeled.memory(loss, learned, 5))
    found, (after, totals) = problem.objective(learned, frozen, carried, batch())
    wanted, first = value_of(learned, frozen, batch(), 0.3)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    np.testing.assert_allclose(totals["loss"], 5 * wanted, rtol=1e-5)
    np.testing.assert_allclose(totals["spread"], 5 * first.std(), rtol=1e-4)
    assert int(after.memory["loss"]["count"]) == 1
    assert int(after.batch_stats) == 15  # both sizes, one after the other
    assert set(problem.measured) == {"loss", "spread"}


def test_views_of_all_sizes_share_one_set_of_masked_weights():
    loss, calls = loss_of(), []
    plain = network()

    def parameters(learned, frozen):
        calls.append(1)
        return plain.parameters(learned, frozen)

    counted = plain._replace(parameters=parameters)
    problem = unlabeled.of_views(counted, embed, views, loss, steps=STEPS)
    learned, frozen = trees(loss)
    carried = Carried(jnp.int32(0), unlabeled.memory(loss, learned, 5))
    jax.grad(problem.objective, has_aux=True)(learned, frozen, carried, batch())
    assert len(calls) == 1


def test_the_network_is_made_without_what_the_loss_learns():
    loss = loss_of()
    problem = unlabeled.of_views(network(), embed, views, loss, steps=STEPS)
    learned, frozen = trees(loss)
    chex.assert_trees_all_equal(
        problem.parameters(learned, frozen), {"w": learned["scores"] * frozen["w"]}
    )
    assert list(problem.masks(learned, frozen)) == ["w"]
    after = problem.after(learned)
    np.testing.assert_allclose(np.linalg.norm(after["loss"]["A"]), 1, rtol=1e-6)
    chex.assert_trees_all_equal(after["scores"], learned["scores"])


def test_a_harder_view_is_mixed_in():
    loss, step, mix = loss_of(), 0.05, 0.5
    problem = unlabeled.of_views(
        network(), embed, views, loss, steps=STEPS, adversarial_step=step, adversarial_mix=mix
    )
    learned, frozen = trees(loss)
    carried = Carried(jnp.int32(0), unlabeled.memory(loss, learned, 5))
    found, (after, totals) = problem.objective(learned, frozen, carried, batch())
    plain, _ = value_of(learned, frozen, batch(), 0.3)
    large, small = (np.asarray(x, np.float64) for x in views(batch().key, batch().images))
    w = np.asarray(learned["scores"] * frozen["w"], np.float64)
    a = np.asarray(learned["loss"]["A"], np.float64)

    def of(first):
        return (((first @ w - large[1] @ w + small[0] @ w[:2]) @ a) ** 2).mean() * 1.3

    slope = np.zeros_like(large[0])  # by finite differences
    for place in np.ndindex(slope.shape):
        there = large[0].copy()
        there[place] += 1e-6
        slope[place] = of(there) - of(large[0])
    hard = of(large[0] + step * np.sign(slope))
    assert hard > plain
    np.testing.assert_allclose(totals["harder_loss"], 5 * hard, rtol=1e-4)
    np.testing.assert_allclose(found, (plain + mix * hard) / (1 + mix), rtol=1e-4)
    assert int(after.memory["loss"]["count"]) == 1  # the harder views leave nothing behind
    assert int(after.batch_stats) == 15


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_teacher_is_an_average_of_everything_learned(momentum):
    """Against a loop with SGD: after each step, m w' + (1 - m) w."""
    loss = loss_of(lambda progress: momentum + 0.01 * progress)
    problem = unlabeled.of_views(network(), embed, views, loss, steps=STEPS)
    data, optimizer = images(40), optax.sgd(0.1)
    mesh = feed.make_mesh()
    split = feed.resident(data, np.zeros(40, np.int32), mesh)
    programs = epoch.programs(problem, optimizer, split.fetch, mesh)
    learned, frozen = trees(loss)
    order = np.arange(40, dtype=np.int32).reshape(8, 5)
    first = unlabeled.memory(loss, learned, 5)
    state = initial(learned, jnp.int32(0), optimizer, jax.random.key(1), first, problem.measured)
    for steps in (1, 3, 6):
        found = programs.train(jax.tree.map(jnp.copy, state), frozen, split.resident, order[:steps])
        teacher, student = learned, learned
        for step in range(steps):
            keep = momentum + 0.01 * max(step - 1, 0) / STEPS
            teacher = jax.tree.map(lambda a, w: keep * a + (1 - keep) * w, teacher, student)  # noqa: B023
            key = jax.random.fold_in(jax.random.wrap_key_data(state.key), step)
            at = Batch(jnp.asarray(data[order[step]]), jnp.zeros(5), key, jnp.int32(step))
            gradient = jax.grad(
                lambda w: _with_teacher(loss, w, teacher, frozen, at, step / STEPS)  # noqa: B023
            )(student)
            student = problem.after(jax.tree.map(lambda w, g: w - 0.1 * g, student, gradient))
        chex.assert_trees_all_close(found.carried.memory["teacher"], teacher, rtol=1e-4, atol=1e-6)
        chex.assert_trees_all_close(found.learned, student, rtol=1e-4, atol=1e-6)


def _with_teacher(loss, learned, teacher, frozen, at, progress):
    large, small = views(at.key, at.images)
    w, theirs = learned["scores"] * frozen["w"], teacher["scores"] * frozen["w"]
    found = [large[0] @ w, large[1] @ w, small[0] @ w[:2]]
    seen = [large[0] @ theirs, large[1] @ theirs]
    value, _, _ = loss.loss(learned["loss"], {"count": 0}, found, (teacher["loss"], seen), progress)
    return value
