"""Linen networks as pure functions, against what their layers compute in numpy."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmask import model
from jaxmask.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 2, 2, 1)).astype(np.uint8)


class Normed(nn.Module):
    """A norm by itself, then the head."""

    @nn.compact
    def __call__(self, x, train=False, features=False):
        x = x.reshape(len(x), -1)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=0.0)(x)
        return x if features else nn.Dense(3, name="head")(x)


class Bare(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3, name="head")(x.reshape(len(x), -1))


class Anything(nn.Module):
    """Takes whatever it is given, by name."""

    @nn.compact
    def __call__(self, x, **given):
        logits = nn.Dense(3, name="head")(x.reshape(len(x), -1))
        return 2 * logits if given.get("train") or given.get("features") else logits


def scaled(images):
    return images / jnp.float32(255)


def variables(module):
    """Of random numbers; the running statistics are none that the images have."""
    found = module.init(jax.random.key(0), scaled(IMAGES))
    if "batch_stats" in found:
        norm = {"mean": jnp.array([0.1, 0.2, 0.3, 0.4]), "var": jnp.array([1.0, 4.0, 9.0, 16.0])}
        return {**found, "batch_stats": {"BatchNorm_0": norm}}
    return {**found, "batch_stats": {}}


def head(of, x):
    layer = of["params"]["head"]
    return x @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])


def test_training_uses_the_batchs_statistics_and_moves_the_running_ones():
    module = Normed()
    of = variables(module)
    logits, after = model.apply_function(module)(
        of["params"], of["batch_stats"], scaled(IMAGES), True
    )
    x = IMAGES.reshape(6, 4) / 255
    mean, variance = x.mean(0), x.var(0)
    np.testing.assert_allclose(logits, head(of, (x - mean) / np.sqrt(variance)), atol=1e-4)
    before = of["batch_stats"]["BatchNorm_0"]
    wanted = {
        "mean": 0.9 * before["mean"] + 0.1 * mean,
        "var": 0.9 * before["var"] + 0.1 * variance,
    }
    chex.assert_trees_all_close(after, {"BatchNorm_0": wanted}, rtol=1e-5)


def test_evaluation_uses_the_running_statistics_and_returns_them_as_they_are():
    module = Normed()
    of = variables(module)
    logits, after = model.apply_function(module)(
        of["params"], of["batch_stats"], scaled(IMAGES), False
    )
    x = (IMAGES.reshape(6, 4) / 255 - [0.1, 0.2, 0.3, 0.4]) / [1, 2, 3, 4]
    np.testing.assert_allclose(logits, head(of, x), atol=1e-5)
    assert after is of["batch_stats"]


@pytest.mark.parametrize("train", [False, True])
def test_a_module_without_train_and_norms_computes_the_same_either_way(train):
    module = Bare()
    of = variables(module)
    logits, after = model.apply_function(module)(of["params"], {}, scaled(IMAGES), train)
    np.testing.assert_allclose(logits, head(of, IMAGES.reshape(6, 4) / 255), atol=1e-5)
    assert after == {}


def test_a_module_that_takes_any_argument_is_told_of_training():
    module = Anything()
    of = variables(module)
    plain = head(of, IMAGES.reshape(6, 4) / 255)
    for train, factor in ((False, 1), (True, 2)):
        logits, _ = model.apply_function(module)(of["params"], {}, scaled(IMAGES), train)
        np.testing.assert_allclose(logits, factor * plain, atol=1e-5)
    features = model.feature_function(module, scaled)
    np.testing.assert_allclose(features(of, IMAGES), 2 * plain, atol=1e-5)


def test_features_are_what_comes_before_the_head_and_compile_once():
    chex.clear_trace_counter()
    features = model.feature_function(Normed(), chex.assert_max_traces(scaled, n=1))
    for seed in (0, 1):
        of = jax.tree.map(lambda leaf, seed=seed: leaf + seed, variables(Normed()))
        found = features(of, IMAGES)
        norm = of["batch_stats"]["BatchNorm_0"]
        scale, bias = (np.asarray(of["params"]["BatchNorm_0"][name]) for name in ("scale", "bias"))
        x = (IMAGES.reshape(6, 4) / 255 - norm["mean"]) / np.sqrt(norm["var"]) * scale + bias
        np.testing.assert_allclose(found, x, atol=1e-5)


def test_features_of_a_coarse_network_are_float32():
    module = model.create("lenet_300_100", classes=3, width=0.05, dtype=jnp.bfloat16)
    of = model.initialize(module, jax.random.key(0), (2, 2, 1))
    chex.assert_type(model.feature_function(module, scaled)(of, IMAGES), jnp.float32)


def test_a_module_without_features_is_refused_by_name():
    with pytest.raises(InputError, match=r"Bare gives no features"):
        model.feature_function(Bare(), scaled)
