import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmask.convolution import canonical


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


def test_every_convolution_of_a_step_has_the_order_that_loops_need():
    loss = network((2, 2), (1, 1), ("NHWC", "HWIO", "NHWC"))
    step = jax.jit(jax.grad(loss, argnums=(0, 1)))
    arguments = jnp.ones((3, 3, 4, 5)), jnp.ones((2, 8, 8, 4))

    def orders(function):
        found = []

        def visit(jaxpr):
            for equation in jaxpr.eqns:
                if equation.primitive.name == "conv_general_dilated":
                    found.append(tuple(equation.params["dimension_numbers"]))
                for inner in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "eqns")):
                    if hasattr(inner, "jaxpr"):
                        visit(inner.jaxpr)

        visit(jax.make_jaxpr(function)(*arguments).jaxpr)
        return found

    wanted = ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
    assert set(orders(step)) != {wanted}
    assert set(orders(canonical(step))) == {wanted}
    assert len(orders(canonical(step))) >= 2


def test_grouped_convolutions_and_custom_rules_pass_through():
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
