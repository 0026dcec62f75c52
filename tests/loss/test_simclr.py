import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from views import features, parameters

from jaxmask.errors import InputError
from jaxmask.loss import simclr

WAY = simclr(dimension=4)


def embed(head, view):
    h = np.maximum(view @ head["hidden"]["kernel"] + head["hidden"]["bias"], 0)
    z = h @ head["projection"]["kernel"] + head["projection"]["bias"]
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def reference(z, temperature):
    """A loop over all embeddings: those of the first view, then those of the second."""
    count, total, matched = len(z), 0.0, 0
    for i in range(count):
        j = (i + count // 2) % count
        others = [z[i] @ z[k] / temperature for k in range(count) if k != i]
        total -= z[i] @ z[j] / temperature - np.log(np.sum(np.exp(others)))
        matched += all(z[i] @ z[j] > z[i] @ z[k] for k in range(count) if k not in (i, j))
    return total / count, matched / count


@pytest.mark.parametrize("temperature", [0.5, 0.1])
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_it_is_the_formula(x64, temperature, batch):
    way = simclr(4, temperature)
    head, views = parameters(way), features(1, 3, batch)
    value, memory, metrics = jax.jit(way.loss)(head, {}, views, None, 0.5)
    head = jax.tree.map(np.asarray, head)
    z = np.concatenate([embed(head, view) for view in views[:2]])
    wanted, matched = reference(z, temperature)
    assert value == pytest.approx(wanted, rel=1e-10, abs=1e-12)
    assert metrics["matched"] == pytest.approx(matched)
    assert metrics["spread"] == pytest.approx(z.var(0).sum())
    assert memory == {}
    assert way.memory(head, batch) == {}
    assert way.after(head) is head
    assert way.momentum is None


def test_gradients_are_those_of_differences(x64):
    head, views = parameters(WAY, 1), jnp.asarray(features(3, 2, 5))
    loss = jax.jit(lambda head, views: WAY.loss(head, {}, views, None, 0.5)[0])
    check_grads(loss, (head, views), order=1, modes=["rev"], rtol=1e-6)


def test_what_changes_nothing(x64):
    head, views = parameters(WAY), features(5, 4)
    rng, step = np.random.default_rng(0), jax.jit(WAY.loss)

    def value(head, views):
        return float(step(head, {}, views, None, 0.5)[0])

    same = pytest.approx(value(head, views), rel=1e-10)
    assert value(head, views[:, rng.permutation(8)]) == same  # examples
    assert value(head, views[[1, 0, 2, 3]]) == same
    assert value(head, views[:2]) == same  # small views are not used
    assert value(head, [views[0], views[1][::-1]]) != same  # pairs
    turn, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    turned = jax.tree.map(lambda leaf: 3 * leaf @ turn, head["projection"])
    assert value({**head, "projection": turned}, views) == same


def test_two_equal_views_match_and_a_collapse_shows(x64):
    head, views = parameters(WAY), features(0, batch=16)
    step = jax.jit(WAY.loss)
    _, _, equal = step(head, {}, views[[0, 0]], None, 0.5)
    value, _, collapsed = step(head, {}, np.broadcast_to(views[:1, :1], (2, 16, 6)), None, 0.5)
    assert equal["matched"] == 1
    assert equal["spread"] > 0.1
    assert value == pytest.approx(np.log(31), rel=1e-10)  # all the same to it
    assert collapsed["spread"] == pytest.approx(0, abs=1e-12)


def test_vmap_is_a_loop(x64):
    heads = [parameters(WAY, seed) for seed in range(3)]
    views = np.stack([features(seed) for seed in range(3)])
    step = jax.jit(lambda head, x: WAY.loss(head, {}, x, None, 0.5)[0])
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *heads)
    each = [float(step(head, x)) for head, x in zip(heads, views)]
    np.testing.assert_allclose(jax.vmap(step)(stacked, views), each, rtol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_narrow_features_are_widened(dtype):
    head, views = parameters(WAY, dtype="float32"), jnp.asarray(features(0), dtype)
    step = jax.jit(WAY.loss)
    value, _, metrics = step(head, {}, views, None, 0.5)
    assert {leaf.dtype for leaf in (value, *metrics.values())} == {jnp.dtype("float32")}
    wide, _, _ = step(head, {}, views.astype("float32"), None, 0.5)
    assert value == pytest.approx(float(wide), rel=1e-6)


@pytest.mark.parametrize(("name", "value"), [("dimension", 0), ("temperature", 0.0)])
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(InputError, match=f"^{name} is {value}; give [^\n]*$"):
        simclr(**{name: value})


def test_a_teacher_is_refused():
    head, views = parameters(WAY, dtype="float32"), jnp.ones((2, 4, 6))
    with pytest.raises(InputError, match=r"^this loss has no teacher"):
        WAY.loss(head, {}, views, (head, views), 0.0)


@pytest.mark.parity
def test_loss_and_gradient_equal_torch(x64):
    torch = pytest.importorskip("torch")
    head, views = parameters(WAY), features(2, 2)
    found = jax.jit(jax.grad(lambda head: WAY.loss(head, {}, views, None, 0.5)[0]))(head)
    theirs = jax.tree.map(lambda leaf: torch.tensor(np.array(leaf), requires_grad=True), head)
    x = torch.tensor(views).flatten(0, 1)
    x = torch.relu(x @ theirs["hidden"]["kernel"] + theirs["hidden"]["bias"])
    x = x @ theirs["projection"]["kernel"] + theirs["projection"]["bias"]
    z = torch.nn.functional.normalize(x, dim=1)
    logits = (z @ z.T / 0.5).fill_diagonal_(-torch.inf)
    wanted = torch.nn.functional.cross_entropy(logits, (torch.arange(16) + 8) % 16)
    wanted.backward()
    assert float(WAY.loss(head, {}, views, None, 0.5)[0]) == pytest.approx(wanted.item())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b.grad, atol=1e-12), found, theirs)


def test_small_views_send_nothing_back_through_the_network():
    """Not even zeros, for which all of it would be computed."""
    head, views, sent = parameters(WAY, dtype="float32"), jnp.ones((4, 3, 6)), []

    @jax.custom_vjp
    def network(view):
        return view

    network.defvjp(lambda view: (view, None), lambda _, back: (sent.append(1), (back,))[1])
    jax.grad(lambda views: WAY.loss(head, {}, list(map(network, views)), None, 0.5)[0])(list(views))
    assert len(sent) == 2
