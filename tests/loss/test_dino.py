import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from views import features, parameters

from jaxmask.errors import InputError
from jaxmask.loss import dino

WAY = dino(prototypes=5, dimension=4, hidden=7, warm_until=0.4, frozen_until=0.0)
ERF = np.vectorize(math.erf)


def numbers(tree):
    return jax.tree.map(np.asarray, tree)


def outputs(head, x):
    for layer in ("first", "second"):
        x = x @ head[layer]["kernel"] + head[layer]["bias"]
        x = x * (1 + ERF(x / np.sqrt(2))) / 2
    z = x @ head["projection"]["kernel"] + head["projection"]["bias"]
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    c = head["prototypes"] / np.linalg.norm(head["prototypes"], axis=1, keepdims=True)
    return z, z @ c.T


def softmax(x):
    q = np.exp(x - x.max(1, keepdims=True))
    return q / q.sum(1, keepdims=True)


def reference(head, views, teacher, center, tau, temperature=0.1):
    total = 0.0
    for t in range(2):
        target = softmax((outputs(teacher[0], teacher[1][t])[1] - center) / tau)
        for v, view in enumerate(views):
            if v != t:
                logs = np.log(softmax(outputs(head, view)[1] / temperature))
                total -= (target * logs).sum(1).mean() / (len(views) - 1) / 2
    return total


def problem(count=4, batch=8):
    """Parameters, memory, views, teacher."""
    head, memory = parameters(WAY), {"center": jnp.asarray(np.linspace(-0.3, 0.3, 5))}
    return (
        head,
        memory,
        features(1, count, batch),
        (parameters(WAY, 1), list(features(2, 2, batch))),
    )


@pytest.mark.parametrize("count", [2, 6])
@pytest.mark.parametrize(("progress", "tau"), [(0.0, 0.04), (0.2, 0.055), (0.4, 0.07), (1.0, 0.07)])
def test_it_is_the_formula(x64, count, progress, tau):
    head, memory, views, teacher = problem(count)
    value, after, metrics = jax.jit(WAY.loss)(head, memory, list(views), teacher, progress)
    head, teacher, center = numbers(head), numbers(teacher), np.asarray(memory["center"])
    assert value == pytest.approx(reference(head, views, teacher, center, tau), rel=1e-9)
    said = np.concatenate([outputs(teacher[0], x)[1] for x in teacher[1]])
    np.testing.assert_allclose(after["center"], 0.9 * center + 0.1 * said.mean(0), rtol=1e-10)
    z = np.concatenate([outputs(head, x)[0] for x in views[:2]])
    assert metrics["spread"] == pytest.approx(z.var(0).sum())
    used = len(set((said - center).argmax(1))) / 5
    assert metrics["prototypes_used"] == pytest.approx(used)


def test_settings_are_those_of_the_formula(x64):
    way = dino(5, 4, 7, temperature=0.3, teacher_temperature=0.2, warm_until=0, center_momentum=0.5)
    head, memory, views, teacher = problem()
    value, after, _ = jax.jit(way.loss)(head, memory, views, teacher, 0.0)
    head, teacher, center = numbers(head), numbers(teacher), np.asarray(memory["center"])
    assert value == pytest.approx(reference(head, views, teacher, center, 0.2, 0.3), rel=1e-9)
    said = np.concatenate([outputs(teacher[0], x)[1] for x in teacher[1]])
    np.testing.assert_allclose(after["center"], (center + said.mean(0)) / 2, rtol=1e-10)


def test_the_center_and_the_momentum_over_time(x64):
    head, _, views, teacher = problem()
    memory, step = WAY.memory(head, 8), jax.jit(WAY.loss)
    assert memory["center"].dtype == jnp.float64
    assert not np.any(memory["center"])
    mean = np.concatenate([outputs(*numbers((teacher[0], x)))[1] for x in teacher[1]]).mean(0)
    for count in range(1, 4):
        _, memory, _ = step(head, memory, views, teacher, 0.5)
        np.testing.assert_allclose(memory["center"], (1 - 0.9**count) * mean, rtol=1e-9)
    kept = [float(jax.jit(WAY.momentum)(at)) for at in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(kept, [0.996, 0.998, 1.0], rtol=1e-12)


def test_gradients_are_those_of_differences_and_none_reach_the_teacher(x64):
    head, memory, views, teacher = problem(3, 4)
    views = jnp.asarray(views)

    @jax.jit
    def loss(head, views, memory, teacher):
        return WAY.loss(head, memory, views, teacher, 0.5)[0]

    check_grads(lambda *a: loss(*a, memory, teacher), (head, views), 1, ["rev"], rtol=1e-5)
    slopes = jax.grad(loss, argnums=(2, 3))(head, views, memory, teacher)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(slopes))
    # a prototype's length does not matter
    along = np.sum(np.asarray(jax.grad(loss)(head, views, memory, teacher)["prototypes"])
                   * np.asarray(head["prototypes"]), axis=1)  # fmt: skip
    np.testing.assert_allclose(along, 0, atol=1e-12)


def test_prototypes_are_frozen_at_first(x64):
    way = dino(5, 4, 7, frozen_until=0.25)
    head, memory, views, teacher = problem(3, 4)
    slope = jax.jit(jax.grad(lambda h, at: way.loss(h, memory, views, teacher, at)[0]))
    before, after = slope(head, 0.249), slope(head, 0.25)
    assert not np.any(before["prototypes"])
    assert np.abs(after["prototypes"]).max() > 1e-4
    assert np.abs(before["projection"]["kernel"]).max() > 1e-4


def test_what_changes_nothing(x64):
    head, memory, views, teacher = problem(5)
    rng, step = np.random.default_rng(0), jax.jit(WAY.loss)

    def value(head, views, teacher, memory=memory):
        return float(step(head, memory, views, teacher, 0.5)[0])

    same = pytest.approx(value(head, views, teacher), rel=1e-10)
    order = rng.permutation(8)
    shuffled = teacher[0], [x[order] for x in teacher[1]]
    assert value(head, views[:, order], shuffled) == same  # examples
    assert value(head, views[:, order], teacher) != same
    assert value(head, views[[0, 1, 4, 2, 3]], teacher) == same  # small views
    assert value(head, views[[1, 0, 2, 3, 4]], (teacher[0], teacher[1][::-1])) == same
    lengths = rng.uniform(0.5, 2, (5, 1))
    scaled = {**head, "prototypes": head["prototypes"] * lengths,
              "projection": jax.tree.map(lambda leaf: 3 * leaf, head["projection"])}  # fmt: skip
    assert value(scaled, views, teacher) == same
    kinds = rng.permutation(5)
    mixed = [{**each, "prototypes": each["prototypes"][kinds]} for each in (head, teacher[0])]
    center = {"center": memory["center"][kinds]}
    assert value(mixed[0], views, (mixed[1], teacher[1]), center) == same
    assert value(head, views, teacher, {"center": memory["center"] + 1.0}) == same


def test_vmap_is_a_loop(x64):
    each = [problem(3, 4), problem(3, 4)]
    each[1] = (parameters(WAY, 7), each[1][1], features(9, 3, 4), each[1][3])
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    step = jax.jit(lambda given: WAY.loss(*given, 0.5))
    looped = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[step(given) for given in each])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9),
                 jax.jit(jax.vmap(step))(stacked), looped)  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_narrow_features_are_widened(dtype):
    narrow = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree)  # noqa: E731
    head = parameters(WAY, dtype="float32")
    memory, views = WAY.memory(head, 8), narrow(features(0))
    step = jax.jit(WAY.loss)
    value, after, metrics = step(head, memory, views, (head, views[:2]), 0.5)
    found = {leaf.dtype for leaf in (value, *after.values(), *metrics.values())}
    assert found == {jnp.dtype("float32")}
    wide = views.astype("float32")
    again, _, _ = step(head, memory, wide, (head, wide[:2]), 0.5)
    assert value == pytest.approx(float(again), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "value"),
    [("prototypes", 0), ("hidden", 1.5), ("temperature", 0), ("warm_temperature", -1),
     ("teacher_momentum", 1.1), ("center_momentum", -0.1), ("warm_until", 30)],
)  # fmt: skip
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(InputError, match=f"^{name} is {value}; give [^\n]*$"):
        dino(**{name: value})


def test_a_missing_teacher_is_refused():
    head = parameters(WAY, dtype="float32")
    with pytest.raises(InputError, match=r"^dino needs a teacher"):
        WAY.loss(head, WAY.memory(head, 4), jnp.ones((2, 4, 6)), None, 0.0)


@pytest.mark.parity
def test_loss_and_gradient_equal_torch(x64):
    torch = pytest.importorskip("torch")
    head, memory, views, teacher = problem()
    slope = jax.jit(jax.grad(lambda head: WAY.loss(head, memory, views, teacher, 1.0)[0]))
    tensor = lambda leaf: torch.tensor(np.array(leaf))  # noqa: E731
    theirs = jax.tree.map(lambda leaf: tensor(leaf).requires_grad_(), head)

    def outputs(head, x):
        for layer in ("first", "second"):
            x = torch.nn.functional.gelu(x @ head[layer]["kernel"] + head[layer]["bias"])
        z = x @ head["projection"]["kernel"] + head["projection"]["bias"]
        unit = torch.nn.functional.normalize
        return unit(z, dim=-1) @ unit(head["prototypes"], dim=-1).T

    said = outputs(jax.tree.map(tensor, teacher[0]), tensor(np.stack(teacher[1])))
    targets = torch.softmax((said - tensor(memory["center"])) / 0.07, -1)
    logs = torch.log_softmax(outputs(theirs, tensor(views)) / 0.1, -1)
    terms = [-(targets[t] * logs[v]).sum(-1).mean() for t in range(2) for v in range(4) if v != t]
    wanted = sum(terms) / len(terms)
    wanted.backward()
    value = jax.jit(WAY.loss)(head, memory, views, teacher, 1.0)[0]
    assert float(value) == pytest.approx(wanted.item(), rel=1e-10)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b.grad, atol=1e-11),
                 slope(head), theirs)  # fmt: skip
