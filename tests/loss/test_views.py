"""All losses of views: by name, on eight devices, in a scan."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import views

from jaxmask.errors import InputError
from jaxmask.loss import VIEW_LOSSES, ViewLoss, swav
from jaxmask.train import named

EIGHT = """
import pickle, sys
import jax
jax.config.update("jax_enable_x64", True)
import views
assert jax.device_count() == 8
with open(sys.argv[1], "wb") as file:
    pickle.dump({name: (views.learned(name), views.slopes(name)) for name in views.LOSSES}, file)
"""


def test_eight_devices_learn_what_one_learns(x64, tmp_path):
    """20 steps in float64, SwAV's with its queue in use from the seventh on; axes of both kinds."""
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    path = os.pathsep.join([str(Path(views.__file__).parent), *filter(None, sys.path)])
    out = tmp_path / "eight"
    subprocess.run(
        [sys.executable, "-c", EIGHT, str(out)],
        check=True,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path,
             "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
             "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"},
    )  # fmt: skip
    eight = pickle.loads(out.read_bytes())
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)  # noqa: E731
    for name in views.LOSSES:
        one = views.learned(name), views.slopes(name)
        jax.tree.map(close, one, eight[name])
        losses, _ = one[0]["values"]
        assert losses[-1] != losses[0]
    assert eight["swav"][0]["state"][1]["filled"] == 24


@pytest.mark.parametrize("text", ["swav", "swav(prototypes=30, queue=0)", "simclr(temperature=0.1)",
                                  "dino(prototypes=64, hidden=16)"])  # fmt: skip
def test_by_name_with_settings(text):
    assert isinstance(named.call(text, VIEW_LOSSES, "loss"), ViewLoss)


def test_wrong_names_and_settings_are_refused():
    for text in ("byol", "swav(prototype=3)", "swav(prototypes=0)", "dino(temperature=None)"):
        with pytest.raises(InputError, match=r"\A[^\n]*loss[^\n]*\Z|\A[^\n]*; give [^\n]*\Z"):
            named.call(text, VIEW_LOSSES, "loss")


@pytest.mark.parametrize("name", VIEW_LOSSES)
def test_parameters_start_from_the_key_alone(name):
    way = views.LOSSES[name]
    one, same, other = (way.init(jax.random.key(seed), 6) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, one, same)
    assert {leaf.dtype for leaf in jax.tree.leaves(one)} == {jnp.dtype("float32")}
    assert any(np.any(a != b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other)))


@pytest.mark.parametrize("name", VIEW_LOSSES)
def test_compiled_it_is_the_same(x64, name):
    way, x = views.LOSSES[name], views.features(0, batch=24)
    head = views.parameters(way)
    given = head, way.memory(head, 24), list(x), (head, list(x[:2])) if way.momentum else None
    for progress in (0.0, 0.5):
        made = way.loss(*given, progress), jax.jit(way.loss)(*given, progress)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), *made)


@pytest.mark.parametrize("name", VIEW_LOSSES)
def test_strict_promotion(name):
    """No two dtypes meet by accident."""
    way = views.LOSSES[name]
    with jax.numpy_dtype_promotion("strict"):
        head = way.init(jax.random.key(0), 6)
        x = list(jnp.asarray(views.features(0), "bfloat16"))
        teacher = (head, x[:2]) if way.momentum else None

        def loss(head, progress):
            return way.loss(way.after(head), way.memory(head, 8), x, teacher, progress)[0]

        for progress in (0.5, jnp.float32(0.5)):
            assert jax.eval_shape(jax.grad(loss), head, progress) is not None


def test_steps_may_be_scanned():
    """With one program, and what is handed on of the same shapes and dtypes."""
    way = swav(5, 4, queue=24)
    head = way.init(jax.random.key(0), 6)
    images = jnp.asarray(np.stack([views.features(seed) for seed in range(6)]), "bfloat16")

    def step(memory, given):
        x, progress = given
        value, memory, _ = way.loss(head, memory, x, None, progress)
        return memory, value

    given = images, jnp.arange(6) / 6
    memory, values = jax.jit(lambda m: jax.lax.scan(step, m, given))(way.memory(head, 8))
    assert memory["filled"] == 24
    assert values.shape == (6,)
    assert np.isfinite(values).all()
