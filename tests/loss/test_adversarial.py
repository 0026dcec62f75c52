import jax
import jax.numpy as jnp
import numpy as np
import pytest
from views import parameters

from jaxmask.loss import adversarial, simclr

WAY = simclr(dimension=4)


def images(seed):
    """Two views of five images of 2 x 3 pixels."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(1, 5, 2, 3))
    return list(jnp.asarray(base + 0.3 * rng.normal(size=(2, 5, 2, 3))))


def network():
    return jnp.asarray(np.random.default_rng(9).normal(size=(6, 6)))


def loss(views, weights, head):
    features = [jnp.tanh(view.reshape(len(view), -1) @ weights) for view in views]
    return WAY.loss(head, {}, features, None, 0.0)[0]


def test_each_pixel_moves_uphill(x64, variant):
    views, given = images(0), (network(), parameters(WAY))
    harder = variant(adversarial(loss, 0.01))(views, *given)
    np.testing.assert_array_equal(harder[1], views[1])
    step = jax.jit(loss)
    for place in np.ndindex(5, 2, 3):
        moved = [np.array(views[0]) for _ in range(2)]
        for each, sign in zip(moved, (1, -1)):
            each[place] += sign * 1e-6
        up, down = (float(step([each, views[1]], *given)) for each in moved)
        change = float(harder[0][place] - views[0][place])
        assert change == pytest.approx(0.01 * np.sign(up - down), rel=1e-9)


def test_the_loss_grows_more_than_by_any_other_small_change(x64):
    views, given = images(1), (network(), parameters(WAY))
    step = jax.jit(loss)
    worst = step(adversarial(loss, 1e-4)(views, *given), *given)
    rng = np.random.default_rng(0)
    for _ in range(20):
        signs = rng.choice([-1e-4, 1e-4], views[0].shape)
        assert step([views[0] + signs, views[1]], *given) < worst
    slope = jax.jit(jax.grad(lambda first: loss([first, views[1]], *given)))(views[0])
    grown = float(worst - step(views, *given))
    assert grown == pytest.approx(1e-4 * float(jnp.abs(slope).sum()), rel=1e-2)


def test_no_gradient_flows_through_the_change(x64):
    views, weights, head = images(2), network(), parameters(WAY)
    harder = adversarial(loss, 0.05)
    fixed = [jnp.asarray(np.asarray(view)) for view in harder(views, weights, head)]
    wanted = jax.jit(jax.grad(loss, argnums=(1, 2)))(fixed, weights, head)

    def as_argument(weights, head):
        return loss(harder(views, weights, head), weights, head)

    def closed_over(weights, head):
        of = lambda views: loss(views, weights, head)  # noqa: E731
        return of(adversarial(of, 0.05)(views))

    for way in (as_argument, closed_over):
        found = jax.jit(jax.grad(way, argnums=(0, 1)))(weights, head)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), found, wanted)
    # of the first view, only the view itself
    jacobian = jax.jacobian(lambda first: harder([first, views[1]], weights, head)[0])(views[0])
    np.testing.assert_array_equal(jacobian.reshape(30, 30), np.eye(30))


def test_the_second_derivative_of_what_is_learned_is_never_needed():
    """As of a fused kernel: its own derivative has none."""

    @jax.custom_vjp
    def doubled(x):
        return 2 * x

    opaque = jax.custom_jvp(lambda g: 2 * g)
    opaque.defjvp(lambda primals, tangents: pytest.fail("second derivative"))
    doubled.defvjp(lambda x: (2 * x, None), lambda _, g: (opaque(g),))

    def fused(views, w):
        return jnp.sum(doubled(views[0] * w) ** 2)

    views = [jnp.ones(3), jnp.arange(3.0)]
    total = jax.grad(lambda w: fused(adversarial(fused, 0.5)(views, w), w))
    assert float(total(2.0)) == pytest.approx(3 * 2 * 9 * 2.0)  # of (2 * 1.5 w)^2


def test_all_step_sizes_are_one_program(x64):
    views, given = images(3), (network(), parameters(WAY))

    @jax.jit
    def harder(size):
        return adversarial(loss, size)(views, *given)[0] - views[0]

    for size in (0.1, 0.02):
        np.testing.assert_allclose(jnp.abs(harder(size)), size, rtol=1e-12)
    assert harder._cache_size() == 1


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_views_keep_their_dtype(dtype):
    views = [jnp.array([[1.0, -2.0]], dtype), jnp.array([[3.0, -3.0]], dtype)]
    distance = lambda views: jnp.sum((views[0] - views[1]) ** 2)  # noqa: E731
    harder = adversarial(distance, jnp.float32(0.25))(views)
    assert {view.dtype for view in harder} == {jnp.dtype(dtype)}
    assert harder[0].tolist() == [[0.75, -1.75]]


@pytest.mark.parity
def test_it_equals_torch(x64):
    torch = pytest.importorskip("torch")
    views, weights = images(5), network()

    def distance(views, weights):
        a, b = (jnp.tanh(view.reshape(5, -1) @ weights) for view in views)
        return jnp.mean((a - b) ** 2)

    found = adversarial(distance, 0.03)(views, weights)[0]
    a, b, w = (torch.tensor(np.array(each)) for each in (*views, weights))
    a.requires_grad_()
    ((torch.tanh(a.flatten(1) @ w) - torch.tanh(b.flatten(1) @ w)) ** 2).mean().backward()
    np.testing.assert_allclose(found, (a + 0.03 * a.grad.sign()).detach(), rtol=1e-12)
