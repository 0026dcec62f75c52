import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import subjaxprs

from jaxmask.convolution import canonical

pytestmark = pytest.mark.usefixtures("quick_compilation")


def network(stride, dilation, numbers):
    def loss(kernel, images):
        return jnp.sin(
            jax.lax.conv_general_dilated(
                images, kernel, stride, [(1, 2), (0, 1)], rhs_dilation=dilation,
                dimension_numbers=numbers,
            )
        ).sum()  # fmt: skip

    return loss


@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("dilation", [(1, 1), (1, 2)])
@pytest.mark.parametrize(
    ("numbers", "kernel", "images"),
    [
        (("NHWC", "HWIO", "NHWC"), (3, 2, 4, 5), (3, 7, 6, 4)),
        (("NCHW", "OIHW", "NCHW"), (5, 4, 3, 2), (3, 4, 7, 6)),
        (("NHWC", "OIHW", "NCHW"), (5, 4, 3, 2), (3, 7, 6, 4)),
    ],
)
def test_values_and_gradients_are_those_of_the_function(stride, dilation, numbers, kernel, images):
    key = jax.random.key(0)
    kernel = jax.random.normal(key, kernel)
    images = jax.random.normal(key, images)
    loss = network(stride, dilation, numbers)
    step = jax.value_and_grad(loss, argnums=(0, 1))
    expected, found = step(kernel, images), canonical(step)(kernel, images)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5),
                 expected, found)  # fmt: skip


WANTED = ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))


def orders(function, *arguments):
    """The dimension numbers of every convolution of a function, including those in its loops."""
    found = []

    def visit(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "conv_general_dilated":
                found.append(tuple(equation.params["dimension_numbers"]))
        for inner in subjaxprs(jaxpr):
            visit(inner)

    visit(jax.make_jaxpr(function)(*arguments).jaxpr)
    return found


def test_every_convolution_of_a_step_has_the_order_that_loops_need():
    loss = network((2, 2), (1, 1), ("NHWC", "HWIO", "NHWC"))
    step = jax.jit(jax.grad(loss, argnums=(0, 1)))
    arguments = jnp.ones((3, 3, 4, 5)), jnp.ones((2, 8, 8, 4))

    assert set(orders(step, *arguments)) != {WANTED}
    assert set(orders(canonical(step), *arguments)) == {WANTED}
    assert len(orders(canonical(step), *arguments)) >= 2


def test_grouped_convolutions_are_rewritten_and_custom_rules_pass_through():
    @jax.custom_vjp
    def double(x):
        return 2 * x

    double.defvjp(lambda x: (2 * x, None), lambda _, g: (2 * g,))

    def step(kernel, images):
        def loss(kernel):
            out = jax.lax.conv_general_dilated(
                images, kernel, (1, 1), "SAME", feature_group_count=2,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )  # fmt: skip
            return jax.nn.relu(double(out)).sum()

        return {"gradient": jax.grad(loss)(kernel), "untouched": double(kernel)}

    kernel = jax.random.normal(jax.random.key(0), (3, 3, 2, 6))
    images = jax.random.normal(jax.random.key(1), (2, 5, 5, 4))
    expected, found = step(kernel, images), canonical(step)(kernel, images)
    np.testing.assert_allclose(found["gradient"], expected["gradient"], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found["untouched"], expected["untouched"])


def convolve(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME")  # features first


def layers(kernels, x):
    """A network whose layers are steps of a scan."""

    def layer(x, kernel):
        return jnp.tanh(convolve(x, kernel)), x.mean()

    return jax.lax.scan(layer, x, kernels)


def in_reverse(kernels, x):
    return jax.lax.scan(lambda x, k: (jnp.tanh(convolve(x, k)), x), x, kernels, reverse=True)


def nested(kernels, x):
    """A scan in a scan, which also carries a literal and a counter."""

    def epoch(carry, scale):
        x, steps, _ = carry
        x, means = layers(kernels, scale * x)
        return (x, steps + 1, jnp.int32(3)), means

    return jax.lax.scan(epoch, (x, 0, jnp.int32(0)), jnp.array([1.0, 0.5]))


def under_jit(kernels, x):
    return jax.jit(layers)(kernels, x)


@pytest.mark.parametrize("network", [layers, in_reverse, nested, under_jit])
def test_scans_are_rewritten_too(network):
    kernels = 0.3 * jax.random.normal(jax.random.key(0), (3, 2, 2, 3, 3))
    x = jax.random.normal(jax.random.key(1), (2, 2, 4, 5))

    def step(kernels, x):
        """Values and gradients: the second scan runs backwards."""
        gradient = jax.grad(lambda k: jnp.sum(jax.tree.leaves(network(k, x))[0]))(kernels)
        return network(kernels, x), gradient

    before, after = orders(step, kernels, x), orders(canonical(step), kernels, x)
    assert set(before) != {WANTED}
    assert set(after) == {WANTED}
    assert len(after) == len(before)
    expected, found = jax.jit(step)(kernels, x), jax.jit(canonical(step))(kernels, x)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


def test_a_scan_without_convolutions_is_left_alone():
    def cumulated(x):
        return jax.lax.scan(lambda total, row: (total + row, total), jnp.zeros(3), x, unroll=2)

    x = jnp.arange(12.0).reshape(4, 3)
    assert str(jax.make_jaxpr(canonical(cumulated))(x)) == str(jax.make_jaxpr(cumulated)(x))


def test_scans_in_float64():
    with jax.enable_x64(True):
        kernels = 0.3 * jax.random.normal(jax.random.key(0), (3, 2, 2, 3, 3), jnp.float32)
        x = jax.random.normal(jax.random.key(1), (2, 2, 4, 5), jnp.float64)
        mixed = canonical(lambda k, x: nested(k.astype(x.dtype), x))(kernels, x)
        expected = nested(kernels.astype(x.dtype), x)
        for one, other in zip(jax.tree.leaves(mixed), jax.tree.leaves(expected)):
            assert one.dtype == other.dtype
            np.testing.assert_allclose(one, other, rtol=1e-12)


def test_transposed_activations_are_not_computed_again():
    """In the compiled loop, what transposes reads one array: not all that this one is made of."""
    shape = (16, 16, 16, 8)

    def loss(kernels, x):
        for kernel in kernels:
            found = jax.lax.conv_general_dilated(
                x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            x = jax.nn.relu(2 * found + x)
        return jnp.square(x).mean()

    def step(kernels, x):
        return jax.tree.map(lambda k, g: k - g, kernels, jax.grad(loss)(kernels, x))

    kernels = list(0.1 * jax.random.normal(jax.random.key(0), (4, 3, 3, 8, 8)))
    x = jax.random.normal(jax.random.key(1), shape)
    scan = jax.jit(
        lambda kernels, x: jax.lax.scan(
            lambda kernels, x: (canonical(step)(kernels, x), None), kernels, x
        )[0]
    )
    text = scan.lower(kernels, x[None]).compile().as_text()
    read = re.findall(r"= f32\[8,16,16,16\]\S* fusion\(([^)]*)\)", text)
    assert read
    assert max(each.count("%") for each in read) == 1
    found = scan(kernels, x[None])
    for one, other in zip(found, step(kernels, x)):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
