import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmask import model
from jaxmask.model import clip


def test_published_parameter_count():
    module = model.create("clip_vit_b32", classes=3)
    shapes = jax.eval_shape(lambda k: model.initialize(module, k, (224, 224, 3)), jax.random.key(0))
    head = shapes["params"].pop("head")
    assert head["kernel"].shape == (512, 3)
    assert model.count(shapes["params"]) == 87_849_216
    assert shapes["batch_stats"] == {}


def test_embeddings_have_length_1(random_variables):
    module = model.create("clip_vit_b32", classes=3, width=0.1).clone(blocks=1)
    x = np.random.default_rng(0).normal(size=(3, 32, 64, 3)).astype(np.float32)
    embeddings = module.apply(random_variables(module, (32, 64, 3)), x, features=True)
    assert embeddings.shape == (3, 51)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=-1), 1.0, rtol=1e-5)


def test_length_of_nothing():
    """Masks may remove a whole projection: then the gradient is zero, not NaN."""
    x = jnp.zeros((1, 4))
    np.testing.assert_array_equal(clip._unit(x), x)
    np.testing.assert_array_equal(jax.grad(lambda x: clip._unit(x)[0, 0])(x)[0, 1:], 0.0)
    assert np.isfinite(jax.grad(lambda x: clip._unit(x)[0, 0])(x)).all()


@pytest.fixture(scope="module")
def tower():
    module = clip.TextTower(vocabulary=20, context=7, size=8, blocks=2, heads=2, projection=5)
    tokens = np.random.default_rng(0).integers(0, 20, (2, 6))
    weights = module.init(jax.random.key(0), tokens, np.array([3, 5]))
    return lambda tokens, ends: np.asarray(module.apply(weights, tokens, np.array(ends))), tokens


def test_text_is_its_end_mark_and_what_comes_before(tower):
    embed, tokens = tower
    changed = tokens.copy()
    changed[0, 4:] = (changed[0, 4:] + 1) % 20
    before = embed(tokens, [3, 5])
    assert before.shape == (2, 5)
    np.testing.assert_allclose(np.linalg.norm(before, axis=-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(embed(changed, [3, 5]), before, atol=1e-6)
    np.testing.assert_allclose(embed(tokens[:1, :4], [3]), before[:1], atol=1e-6)
    changed[0, 0] = (changed[0, 0] + 1) % 20
    assert np.abs(embed(changed, [3, 5]) - before)[0].max() > 1e-3


def test_order_of_tokens_matters(tower):
    embed, tokens = tower
    assert np.abs(embed(tokens[:, ::-1], [5, 5]) - embed(tokens, [5, 5])).max() > 1e-3
