import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convolutions import derivatives

from jaxmask import patches
from jaxmask.convolution import canonical

pytestmark = pytest.mark.usefixtures("quick_compilation")

LAST, FIRST = ("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW")


@pytest.mark.parametrize(
    ("order", "size", "window", "options"),
    [
        (LAST, (2, 2), (3, 3), {"padding": "SAME"}),
        (FIRST, (3, 2), (2, 3), {"padding": [(2, 0), (1, 1)]}),
        (LAST, (5, 4), (3, 2), {"padding": [(0, 2), (-1, 3)], "window_strides": (2, 3)}),
        (FIRST, (4, 5), (3, 3), {"padding": [(3, 1), (2, 2)], "rhs_dilation": (2, 1),
                                 "window_strides": (1, 2)}),
        (LAST, (3, 2), (2, 3), {"padding": [(1, 1), (2, 0)], "lhs_dilation": (2, 3),
                                "rhs_dilation": (1, 2), "window_strides": (2, 1)}),
        (("CHWN", "IHWO", "HWCN"), (2, 3), (3, 2), {"padding": "SAME"}),
    ],
)  # fmt: skip
def test_products_are_the_convolution(monkeypatch, order, size, window, options):
    monkeypatch.setattr(patches, "LARGE", 0)
    sizes = dict(zip("NCHW", (2, 12, *size))) | dict(zip("IO", (12, 256)))
    height, width = window
    random = np.random.default_rng(0)
    images = random.standard_normal([sizes[name] for name in order[0]])
    shape = [sizes[n] if n in "IO" else {"H": height, "W": width}[n] for n in order[1]]
    kernel = random.standard_normal(shape)

    def convolve(images, kernel):
        given = {"window_strides": (1, 1)} | options
        return jax.lax.conv_general_dilated(images, kernel, **given, dimension_numbers=order)

    def step(images, kernel):
        scales = jnp.array([1.0, -0.5])
        return jax.lax.map(lambda s: derivatives(convolve)(s * images, kernel), scales)

    with jax.enable_x64(True):
        assert "conv_general" not in str(jax.make_jaxpr(canonical(convolve))(images, kernel))
        found = jax.jit(canonical(step))(images, kernel)
        expected = jax.jit(step)(images, kernel)
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
            assert one.dtype == other.dtype
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_kernels_are_neither_reversed_nor_transposed():
    """In the compiled program, of the layer's order in Flax and in PyTorch."""
    for order, shape in ((LAST, (3, 3, 96, 128)), (FIRST, (128, 96, 3, 3))):

        def convolve(images, kernel, order=order):
            return jax.lax.conv_general_dilated(
                images, kernel, (1, 1), "SAME", dimension_numbers=order
            )

        images = jnp.ones((1, 3, 3, 96) if order is LAST else (1, 96, 3, 3))
        step = jax.jit(canonical(lambda x, k, f=convolve: jax.vjp(f, x, k)[1](f(x, k))))
        assert "conv_general" not in str(jax.make_jaxpr(step)(images, jnp.ones(shape)))
        text = step.lower(images, jnp.ones(shape)).compile().as_text()
        made = re.findall(r"= f32\[([\d,]+)\]\S* (?:copy|transpose|reverse)\(", text)
        sizes = [np.prod(list(map(int, each.split(",")))) for each in made]
        assert sizes
        assert max(sizes) < np.prod(shape)


@pytest.mark.parametrize(
    ("shape", "kernel", "options"),
    [
        ((8, 16, 16, 64), (3, 3, 64, 64), {}),  # more pixels than the kernel has weights
        ((2, 3, 3, 64), (3, 3, 32, 64), {"feature_group_count": 2}),
        ((2, 2, 2, 4), (3, 3, 4, 5), {}),  # a kernel that takes no time
        ((32, 8, 8, 3), (3, 3, 3, 64), {}),  # a first layer
    ],
)
def test_other_convolutions_stay_such(shape, kernel, options):
    def convolve(images, kernel):
        return jax.lax.conv_general_dilated(
            images, kernel, (1, 1), "SAME", dimension_numbers=LAST, **options
        )

    text = str(jax.make_jaxpr(canonical(convolve))(jnp.ones(shape), jnp.ones(kernel)))
    assert "conv_general" in text
