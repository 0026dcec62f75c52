import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, ndtr

from jaxmask import model
from jaxmask.errors import InputError
from jaxmask.model import transformer


def test_activations():
    x = np.linspace(-4, 4, 101, dtype=np.float32)
    np.testing.assert_allclose(transformer.quick_gelu(x), x * expit(1.702 * x), atol=1e-6)
    np.testing.assert_allclose(transformer.gelu(x), x * ndtr(x), atol=1e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_which_tokens_a_token_sees(causal):
    block = transformer.Block(2, jnp.float32, 1e-6, transformer.gelu, causal=causal)
    x = np.random.default_rng(0).normal(size=(1, 4, 6)).astype(np.float32)
    variables = block.init(jax.random.key(0), x)
    depends = np.abs(jax.jacobian(lambda x: block.apply(variables, x)[0].sum(-1))(x)[:, 0]).sum(-1)
    np.testing.assert_array_equal(depends > 0, np.tri(4) if causal else np.ones((4, 4)))


def test_norm_of_large_numbers_keeps_its_digits():
    """A variance as E[x^2] - E[x]^2 would be wrong by half here."""
    x = 1000 + np.arange(4, dtype=np.float32)[None] / 4
    y = transformer.norm("norm", 0.0, jnp.float32).apply(
        {"params": {"scale": np.ones(4, np.float32), "bias": np.zeros(4, np.float32)}}, x
    )
    exact = (x - x.mean()) / x.astype(np.float64).std()
    np.testing.assert_allclose(y, exact, atol=1e-4)


def test_images_that_are_no_multiple_of_the_patch():
    module = model.create("vit_s32", classes=2, width=0.1)
    with pytest.raises(InputError, match="64x40 pixels cannot be cut into patches of 32"):
        jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 64, 40, 3)))


def test_patches_are_in_the_order_of_rows(random_variables):
    """Swapping two patches and their positions changes nothing that the class token sees."""
    module = model.create("vit_ti16", classes=2, width=0.1).clone(blocks=1)
    variables = random_variables(module, (32, 48, 1))
    x = np.random.default_rng(0).normal(size=(1, 32, 48, 1)).astype(np.float32)
    swapped = x.copy()
    swapped[:, :16, 32:], swapped[:, 16:, :16] = x[:, 16:, :16], x[:, :16, 32:]
    position = variables["params"]["position"][[0, 1, 2, 4, 3, 5, 6]]
    other = {"params": {**variables["params"], "position": position}}
    before = module.apply(variables, x)
    np.testing.assert_allclose(module.apply(other, swapped), before, atol=1e-5)
    assert np.abs(module.apply(variables, swapped) - before).max() > 1e-3


@pytest.mark.parametrize(
    ("shape", "patch", "size"), [((50, 768), 32, 224), ((1, 197, 192), 16, 224), ((5,), 32, 32)]
)
def test_image_size_of_positions(shape, patch, size):
    assert transformer.image_size(shape, patch) == size


def test_resized_positions():
    rows = np.linspace(0, 1, 7, dtype=np.float32)
    grid = np.stack([*np.meshgrid(rows, rows, indexing="ij"), np.full((7, 7), 3.0)], -1)
    positions = np.concatenate([[[7, 8, 9]], grid.reshape(49, 3)]).astype(np.float32)
    small = transformer.resized(positions, 96, 32)
    assert small.shape == (10, 3)
    assert small.dtype == np.float32
    np.testing.assert_array_equal(small[0], [7, 8, 9])
    small = small[1:].reshape(3, 3, 3)
    np.testing.assert_allclose(small[..., 2], 3.0, rtol=1e-6)
    np.testing.assert_allclose(small[1, :, 0], 0.5, atol=1e-6)  # the middle stays
    assert np.all(np.diff(small[..., 0], axis=0) > 0.2)
    assert np.all(np.diff(small[..., 1], axis=1) > 0.2)


@pytest.mark.parametrize("size", [16, 100, -32])
def test_positions_for_no_whole_number_of_patches(size):
    with pytest.raises(InputError, match="multiple of the 32 pixels"):
        transformer.resized(np.zeros((50, 4), np.float32), size, 32)
