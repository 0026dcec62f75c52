"""Checkpoints: what is restored is what was saved, and what cannot be is told in one line."""

import errno
import shutil

import chex
import jax
import jax.numpy as jnp
import linear
import numpy as np
import optax
import pytest

from jaxmask.errors import InputError
from jaxmask.train import checkpoint, placement
from jaxmask.train.checkpoint import Best, Checkpoint, Checkpoints
from jaxmask.train.judge import Progress
from jaxmask.train.state import initial


def state(step=3, shape=(4, 2), seed=0):
    """Of an optimizer that draws noise, whose state has a random key in it."""
    random = np.random.default_rng(seed)
    learned = {
        "scores": {"w": jnp.asarray(random.normal(size=shape), jnp.float32), "hole": None},
        "train": {"b": jnp.asarray(random.normal(size=2), jnp.bfloat16)},
    }
    made = initial(
        learned, {"mean": jnp.ones(2)}, optax.noisy_sgd(0.1, key=7), jax.random.key(seed)
    )
    return made._replace(step=jnp.int32(step))


def best(of):
    return Best(*placement.host_copy((of.learned, of.batch_stats)))


PROGRESS = Progress({"epoch": 2, "loss": 0.5, "accuracy": 0.75}, 0.4, 1, None, 12.5, 0.25)


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path):
    saved, chosen = state(), best(state(seed=5))
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(Checkpoint(saved, chosen, PROGRESS))
    with Checkpoints(tmp_path / "c") as checkpoints:
        found = checkpoints.restore(state(step=0, seed=9))
    host = placement.host_copy(saved)
    chex.assert_trees_all_equal(found.state, host)
    chex.assert_trees_all_equal_dtypes(found.state.learned, host.learned)
    chex.assert_trees_all_equal(found.best, chosen)
    assert found.progress == PROGRESS


def test_the_newest_one_alone_is_kept(tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        for step in (1, 5, 9):
            checkpoints.save(Checkpoint(state(step), None, Progress(seconds=float(step))))
    assert [path.name for path in (tmp_path / "c").glob("[0-9]*")] == ["9"]
    with Checkpoints(tmp_path / "c") as checkpoints:
        found = checkpoints.restore(state(0))
    assert (int(found.state.step), found.progress.seconds, found.best) == (9, 9.0, None)


def test_a_step_that_is_saved_is_not_saved_again(tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(Checkpoint(state(4), None, Progress(seconds=1.0)))
        checkpoints.save(Checkpoint(state(4), None, Progress(seconds=2.0)))
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.restore(state(0)).progress.seconds == 1.0


def test_where_nothing_was_saved_there_is_none(tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.restore(state()) is None


def spoil_json(folder):
    for path in folder.rglob("progress/*"):
        path.write_text("{")


def spoil_arrays(folder):
    shutil.rmtree(folder / "3" / "last")


@pytest.mark.parametrize(
    ("like", "spoil", "message"),
    [
        ({"shape": (5, 2)}, None, r"has shape \(4, 2\), not \(5, 2\)"),
        ({}, spoil_json, "cannot be read"),
        ({}, spoil_arrays, "cannot be read"),
    ],
)
def test_what_does_not_fit_or_is_damaged_is_one_line(tmp_path, like, spoil, message):
    folder = tmp_path / "c"
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(Checkpoint(state(), None, PROGRESS._replace(chosen=None)))
    if spoil is not None:
        spoil(folder)
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(InputError, match=message) as error:
            checkpoints.restore(state(0, **like))
    assert "\n" not in str(error.value)
    assert "delete the run directory" in str(error.value)


def test_nothing_is_written_where_there_is_no_room(tmp_path, monkeypatch):
    usage = shutil.disk_usage
    monkeypatch.setattr(
        checkpoint.shutil, "disk_usage",
        lambda folder: usage(folder)._replace(free=checkpoint.LEAST_ROOM),
    )  # fmt: skip
    with Checkpoints(tmp_path / "c") as checkpoints:
        with pytest.raises(OSError, match="No space left") as error:
            checkpoints.save(Checkpoint(state(), None, Progress()))
    assert error.value.errno == errno.ENOSPC
    assert not list((tmp_path / "c").glob("[0-9]*"))


def test_what_the_storage_library_says_of_a_disk_is_an_error_of_the_disk(tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        with pytest.raises(OSError, match="Read-only") as error, checkpoints._storage_errors():
            raise ValueError(f"while writing [os_error_code='{errno.EROFS}'] and so on")
        with pytest.raises(ValueError, match="something else"), checkpoints._storage_errors():
            raise ValueError("something else")
    assert error.value.errno == errno.EROFS


def test_copies_on_the_host_are_of_their_own_and_go_back_as_they_were():
    device = {"key": jax.random.key(3), "w": jnp.arange(3, dtype=jnp.bfloat16), "hole": None}
    host = placement.host_copy(device)
    assert isinstance(host["w"], np.ndarray)
    assert host["w"].flags.owndata
    back = placement.device_copy(host, device)
    chex.assert_trees_all_equal_dtypes(back, device)
    assert jax.random.uniform(back["key"]) == jax.random.uniform(device["key"])
    np.testing.assert_array_equal(back["w"], device["w"])
    jax.jit(lambda leaf: leaf + 1, donate_argnums=0)(back["w"])
    np.testing.assert_array_equal(host["w"], np.arange(3))  # donating one changes no other


def test_a_state_goes_on_from_its_copy_as_if_nothing_had_been():
    """Steps of the compiled program from the state, and from what a checkpoint keeps of it."""
    programs, mesh = linear.programs()
    from jaxmask.train import feed

    resident = feed.resident(*linear.split(8), mesh).resident
    order = jnp.array([[0, 1, 2, 3]], jnp.int32)
    begun = programs.train(linear.state(), linear.frozen(), resident, order)
    copy = placement.device_copy(placement.host_copy(begun), begun)
    one = jax.device_get(programs.train(begun, linear.frozen(), resident, order))
    other = jax.device_get(programs.train(copy, linear.frozen(), resident, order))
    chex.assert_trees_all_equal(one, other)
