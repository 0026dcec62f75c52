"""A ticket: its weights, its mask, and what is written of both."""

import json
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
from safetensors.numpy import load_file

from jaxmask import maskfile, tree
from jaxmask.errors import InputError
from jaxmask.run import scoring, starting, ticket
from jaxmask.run.starting import Start

pytestmark = pytest.mark.usefixtures("quick_compilation")

BASE = maskfile.Base("lenet_300_100", "0" * 64)
CONFIG = small.config("prune", criterion="magnitude", density=0.25)


@pytest.fixture(scope="module")
def at():
    """A task, its variables, labels and a random mask."""
    task = small.task(CONFIG)
    variables = starting.random_weights(task, 0)
    labels = scoring.pruned_labels(task, CONFIG)
    random = np.random.default_rng(0)
    masks = jax.tree.map(
        lambda leaf: jnp.asarray(random.random(leaf.shape) < 0.3),
        tree.partition(variables["params"], labels)["mask"],
    )
    return SimpleNamespace(task=task, variables=variables, labels=labels, masks=masks)


def test_initial_weights_are_drawn_once_and_read_again(at, tmp_path):
    start = Start(None, "random")
    first = ticket.initial_weights(at.task, start, CONFIG, tmp_path, None)
    assert first.path == tmp_path / "initial.safetensors"
    stamp = first.path.stat().st_mtime_ns
    again = ticket.initial_weights(at.task, start, CONFIG, tmp_path, None)
    assert again.path.stat().st_mtime_ns == stamp
    chex.assert_trees_all_equal(first.variables, again.variables)
    assert first.sha256 == again.sha256 == ticket.fingerprint(first.variables)
    chex.assert_trees_all_equal_structs(first.variables, at.variables)
    assert first.about(tmp_path / "run") == {
        "file": "../initial.safetensors", "sha256": first.sha256
    }  # fmt: skip


def test_runs_of_one_network_and_seed_share_a_file_and_others_do_not(at, tmp_path):
    def path(config, start=Start(None, "random"), **sizes):  # noqa: B008
        task = small.task(config, **sizes)
        made = ticket.initial_weights(task, start, config, tmp_path / "run", tmp_path / "shared")
        assert made.path.parent == tmp_path / "shared"
        return made.path

    def config(**changes):
        return small.config("prune", **changes)

    same = path(config())
    assert path(config(criterion="random", network__compute_dtype="bfloat16")) == same
    given = Start(jax.tree.map(lambda leaf: np.asarray(leaf) + 1, at.variables), "x", True)
    others = {path(config(seed=1)), path(config(network__width=0.1)), path(config(), given),
              path(config(), names=tuple("abcd"))}  # fmt: skip
    assert len(others | {same}) == 5


@pytest.mark.parametrize("how", ["damaged", "of another network"])
def test_initial_weights_that_cannot_be_used_are_to_be_deleted(at, tmp_path, how):
    path = tmp_path / "initial.safetensors"
    made = ticket.initial_weights(at.task, Start(None, "random"), CONFIG, tmp_path, None)
    other = small.task(small.config("prune", network__width=0.1))
    if how == "damaged":
        path.write_bytes(made.path.read_bytes()[:100])
        other = at.task
    with pytest.raises(InputError, match="delete it, and the same command will recreate it"):
        ticket.initial_weights(other, Start(None, "random"), CONFIG, tmp_path, None)


def test_a_fingerprint_is_of_names_shapes_dtypes_and_values():
    base = {"a": {"b": np.arange(6.0, dtype=np.float32)}, "c": np.ones(2, np.int32)}
    changed = [
        {**base, "c": np.ones(2, np.int64)}, {**base, "c": np.ones((2, 1), np.int32)},
        {**base, "c": np.array([1, 2], np.int32)}, {"a": base["a"], "d": base["c"]},
    ]  # fmt: skip
    prints = [ticket.fingerprint(each) for each in (base, *changed)]
    assert len(set(prints)) == 5
    assert ticket.fingerprint(dict(reversed(base.items()))) == prints[0]
    assert ticket.fingerprint(jax.tree.map(jnp.asarray, base)) == prints[0]


def test_a_mask_is_stored_with_what_it_says_and_read_again(at, tmp_path):
    assert ticket.stored_mask(tmp_path, at.masks) is None
    path = ticket.store_mask(tmp_path, at.masks, ticket.about_mask(CONFIG, at.task), BASE)
    assert path == tmp_path / "masks" / "ticket.mask"
    chex.assert_trees_all_equal(ticket.stored_mask(tmp_path, at.masks), at.masks)
    assert maskfile.read(path).metadata == {
        "network": "lenet_300_100", "criterion": "magnitude", "density": "0.25",
        "dataset": at.task.dataset.name,
    }  # fmt: skip
    assert maskfile.read(path).base == BASE
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(InputError, match="delete it"):
        ticket.stored_mask(tmp_path, at.masks)


def test_what_is_pruned_is_zero_before_training_and_in_the_stored_weights(at, tmp_path):
    ready = ticket.ready(at.variables, at.labels, at.masks)
    off = {path: ~np.asarray(bits) for path, bits in tree.named_leaves(at.masks).items()}
    fit = SimpleNamespace(
        learned=jax.tree.map(lambda leaf: leaf + 1, ready.learned), batch_stats=ready.batch_stats
    )
    size = ticket.save_trained(at.task, CONFIG, tmp_path, ready, fit)
    path = tmp_path / "weights.safetensors"
    assert size == path.stat().st_size
    begun, stored = tree.named_leaves(ready.learned["train"]), load_file(path)
    for name, leaf in tree.named_leaves(at.variables["params"]).items():
        zeros = off.get(name, np.zeros(leaf.shape, bool))
        np.testing.assert_array_equal(begun[name], np.where(zeros, 0, leaf))
        np.testing.assert_array_equal(stored[f"params/{name}"], np.where(zeros, 0, begun[name] + 1))


def test_a_frozen_leaf_is_neither_trained_nor_changed(at):
    labels = jax.tree.map(lambda label: label, at.labels)
    labels["fc1"]["bias"] = "freeze"
    ready = ticket.ready(at.variables, labels, at.masks)
    assert set(tree.named_leaves(ready.frozen["freeze"])) == {"fc1/bias"}
    assert "fc1/bias" not in tree.named_leaves(ready.learned["train"])


def test_a_mask_that_keeps_all_is_of_all_that_may_be_pruned(at):
    found = tree.named_leaves(ticket.all_kept(at.variables, at.labels))
    assert set(found) == {"fc1/kernel", "fc2/kernel", "head/kernel"}
    assert all(np.asarray(leaf).all() for leaf in found.values())


def described(at, folder, **changes):
    config = small.config("prune", criterion="magnitude", **{"density": 0.25, **changes})
    initial = ticket.Initial(at.variables, folder / "initial.safetensors", "abc", BASE)
    return ticket.described(at.task, config, at.masks, "USS", initial, folder)


def test_a_ticket_is_described_by_its_mask(at, tmp_path):
    path = ticket.store_mask(tmp_path, at.masks, {}, BASE)
    found = described(at, tmp_path)
    bits = {name: np.asarray(leaf) for name, leaf in tree.named_leaves(at.masks).items()}
    sizes = sum(leaf.size for leaf in bits.values())
    kept = sum(int(leaf.sum()) for leaf in bits.values())
    assert found.density == pytest.approx(kept / sizes)
    assert found.density_by_leaf == pytest.approx({k: v.mean() for k, v in bits.items()})
    assert (found.mask_bits, found.storage_bytes) == (sizes, path.stat().st_size)
    assert (found.method, found.more["schedule"], found.accuracy) == ("magnitude", "USS", None)
    assert found.more["initial"] == {"file": "initial.safetensors", "sha256": "abc"}
    json.dumps(found.as_json())
    dense = described(at, tmp_path, density=1.0)
    assert (dense.method, dense.more["schedule"]) == ("dense", "")


def test_trained_numbers_are_those_that_are_kept_and_all_without_a_mask(at, tmp_path):
    ready = ticket.ready(at.variables, at.labels, at.masks)
    kept = sum(int(np.asarray(leaf).sum()) for leaf in jax.tree.leaves(at.masks))
    assert ticket._trained_numbers(ready) == kept + 15 + 5 + 3  # and the biases
