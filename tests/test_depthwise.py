import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convolutions import derivatives
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jaxmask.convolution import canonical

pytestmark = pytest.mark.usefixtures("quick_compilation")

ORDERS = {
    "last": ("N{}C", "{}IO", "N{}C"),
    "first": ("NC{}", "OI{}", "NC{}"),
    "mixed": ("C{}N", "I{}O", "{}CN"),
}


@st.composite
def convolutions(draw):
    """A convolution, most often depthwise, and its arrays in float64."""
    axes = "DHW"[: draw(st.integers(1, 3))]
    few = 5 if len(axes) == 3 else 8

    def along(least, most):
        return tuple(draw(st.integers(least, most)) for _ in axes)

    groups, (into, out) = (
        draw(st.integers(1, 4)),
        draw(st.sampled_from([(1, 1), (1, 1), (1, 2), (1, 3), (2, 1), (2, 3)])),
    )
    sizes = dict(zip(axes, along(2, few))), dict(zip(axes, along(1, 3)))
    order = [each.format(axes) for each in ORDERS[draw(st.sampled_from(list(ORDERS)))]]
    images = sizes[0] | {"N": draw(st.integers(1, 3)), "C": groups * into}
    kernel = sizes[1] | {"I": into, "O": groups * out}
    parameters = dict(
        window_strides=along(1, 3),
        padding=tuple(zip(along(-1, 2), along(-1, 2))),
        lhs_dilation=draw(st.sampled_from([(1,) * len(axes), along(1, 2)])),
        rhs_dilation=along(1, 2),
    )

    def convolve(images, kernel):
        return jax.lax.conv_general_dilated(
            images, kernel, **parameters, dimension_numbers=order, feature_group_count=groups
        )

    shapes = [images[name] for name in order[0]], [kernel[name] for name in order[1]]
    random = np.random.default_rng(0)
    return convolve, *(random.standard_normal(shape) for shape in shapes)


GROUPS = re.compile(r"group_count=([2-9]|\d\d)")


def primitives(function, *arguments):
    return str(jax.make_jaxpr(function)(*arguments))


def close(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


@settings(max_examples=12)
@given(drawn=convolutions())
def test_any_convolution_and_its_gradients_are_xlas(drawn):
    convolve, images, kernel = drawn
    try:
        shape = jax.eval_shape(convolve, images, kernel).shape
    except (TypeError, ValueError):  # cut to nothing
        assume(False)
    assume(0 not in shape)
    step = derivatives(convolve)
    with jax.enable_x64(True):
        assert not GROUPS.search(primitives(canonical(step), images, kernel))
        close(jax.jit(canonical(step))(images, kernel), jax.jit(step)(images, kernel))


def depthwise(images, kernel):
    return jax.lax.conv_general_dilated(
        images, kernel, (2, 1), "SAME", feature_group_count=images.shape[-1],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip


def arrays(dtype="float64"):
    random = np.random.default_rng(1)
    images, kernel = random.standard_normal((2, 9, 5, 3)), random.standard_normal((3, 3, 1, 6))
    return images.astype(dtype), kernel.astype(dtype)


def test_inside_a_scan_and_over_several_networks():
    def steps(images, kernel):
        def body(kernel, scale):
            value, (_, slope), _ = derivatives(depthwise)(scale * images, kernel)
            return kernel - 0.01 * slope, value.mean()

        return jax.lax.scan(body, kernel, jnp.asarray([1.0, 0.5]))

    with jax.enable_x64(True):
        images, kernel = arrays()
        kernels = np.stack([kernel, -2 * kernel])
        assert "conv_general" not in primitives(canonical(steps), images, kernel)
        many = jax.jit(jax.vmap(canonical(steps), (None, 0)))(images, kernels)
        each = [jax.jit(steps)(images, kernel) for kernel in kernels]
        close(many, jax.tree.map(lambda *leaves: jnp.stack(leaves), *each))


def test_half_precision_sums_in_single_as_xla_does():
    images, kernel = map(jnp.asarray, arrays("bfloat16"))
    step = jax.grad(lambda k: jnp.float32(depthwise(images.astype(k.dtype), k)).sum())
    found, exact = canonical(step)(kernel), step(jnp.float32(kernel))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(jnp.float32(found), exact, rtol=2**-7, atol=1e-2)


def test_rows_beyond_the_limit_are_added_in_blocks_and_a_rest(monkeypatch):
    monkeypatch.setattr("jaxmask.depthwise.MOST_ROWS", 2)
    with jax.enable_x64(True):
        images, kernel = arrays()
        step = derivatives(depthwise)
        close(canonical(step)(images, kernel), step(images, kernel))


@pytest.mark.parametrize("stride", [1, 2])
def test_pointwise_convolutions_and_their_gradients_are_matrix_products(stride):
    def convolve(images, kernel):
        return jax.lax.conv_general_dilated(
            images, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def step(images, kernel):
        value, pull = jax.vjp(convolve, images, kernel)
        return value, pull(jnp.cos(value))

    with jax.enable_x64(True):
        random = np.random.default_rng(2)
        images, kernel = random.standard_normal((2, 5, 4, 3)), random.standard_normal((1, 1, 3, 2))
        text = primitives(canonical(step), images, kernel)
        assert text.count("dot_general") == 3
        assert "conv_general" not in text
        close(canonical(step)(images, kernel), step(images, kernel))


def test_groups_of_several_channels_are_joined_to_blocks(monkeypatch):
    monkeypatch.setattr("jaxmask.grouped.WIDE", 8)  # two groups of four outputs

    def convolve(images, kernel):
        return jax.lax.conv_general_dilated(
            images, kernel, (1, 2), "SAME", feature_group_count=6,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip

    with jax.enable_x64(True):
        random = np.random.default_rng(3)
        images, kernel = (
            random.standard_normal((2, 5, 4, 18)),
            random.standard_normal((3, 2, 3, 24)),
        )
        text = primitives(canonical(convolve), images, kernel)
        assert text.count("conv_general") == 3
        step = derivatives(convolve)
        close(canonical(step)(images, kernel), step(images, kernel))


def test_several_networks_at_once_are_convolutions_without_groups():
    """`vmap` over kernels makes groups; rewriting its result removes them, in a scan as well."""

    def steps(images, kernel):
        def body(kernel, _):
            value, slopes, _ = derivatives(plain)(images, kernel)
            return kernel - 0.01 * slopes[1], value.mean()

        return jax.lax.scan(body, kernel, length=2)

    def plain(images, kernel):
        return jax.lax.conv_general_dilated(
            images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    many = jax.vmap(steps)
    with jax.enable_x64(True):
        random = np.random.default_rng(4)
        images, kernels = (
            random.standard_normal((3, 2, 5, 4, 3)),
            random.standard_normal((3, 3, 3, 3, 2)),
        )
        assert GROUPS.search(primitives(many, images, kernels))
        assert not GROUPS.search(primitives(canonical(many), images, kernels))
        close(canonical(many)(images, kernels), many(images, kernels))


def test_what_would_not_be_faster_stays_as_it_is():
    images, kernel = jnp.ones((2, 5, 4, 200), "complex64"), jnp.ones((3, 3, 1, 200), "complex64")
    text = primitives(canonical(depthwise), images, kernel)
    assert len(GROUPS.findall(text)) == text.count("conv_general") == 1


def test_infinite_values_beyond_the_edge_do_not_leak():
    """Without padding the last row of an odd image meets no tap of a strided kernel."""
    images = np.ones((1, 6, 6, 2), np.float32)
    images[:, -1] = np.inf
    kernel = np.ones((3, 3, 1, 2), np.float32)

    def step(kernel):
        return jax.grad(lambda k: jnp.sum(jax.lax.conv_general_dilated(
            images, k, (2, 2), "VALID", feature_group_count=2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )))(kernel)  # fmt: skip

    np.testing.assert_array_equal(canonical(step)(kernel), np.full((3, 3, 1, 2), 4.0))
