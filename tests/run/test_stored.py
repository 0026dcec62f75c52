"""A trained method written down, and the check that the file gives back what was trained."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small

from jaxmask import adapter, maskfile, tree
from jaxmask.adapter import Stored
from jaxmask.errors import InputError
from jaxmask.run import programs, starting, stored
from jaxmask.run.result import Result
from jaxmask.task import file as task_file

PARAMS = {"fc": {"kernel": jnp.array([[1.0, 2.0], [3.0, 4.0]]), "bias": jnp.ones(2)}}
WAY = adapter.weights()


@pytest.fixture
def empty(monkeypatch):
    """No program is shared with another test."""
    monkeypatch.setattr(programs, "_MADE", {})


def check(way, name="mine"):
    learned, frozen = WAY.init(None, PARAMS)
    content = way.store(learned, frozen)
    stored.check_law(name, "identity", way, PARAMS, learned, frozen, content)


def restoring(change):
    """An adapter whose restored parameters are changed."""
    return WAY._replace(restore=lambda params, content: change(WAY.restore(params, content)))


@pytest.mark.parametrize("factor", [1.0, 1 + 2e-6])
def test_rounding_is_no_fault(empty, factor):
    check(restoring(lambda params: jax.tree.map(lambda leaf: leaf * factor, params)))


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda p: jax.tree.map(lambda leaf: leaf * 1.001, p), "fc/bias"),
        (lambda p: {"fc": {**p["fc"], "kernel": p["fc"]["kernel"].at[1, 1].set(0)}}, "fc/kernel"),
        (lambda p: {"fc": {"kernel": p["fc"]["kernel"]}}, "fc/bias"),
        (lambda p: jax.tree.map(lambda leaf: leaf * jnp.nan, p), "fc/bias"),
    ],
)
def test_another_network_is_a_fault_that_names_the_leaf(empty, change, path):
    with pytest.raises(InputError, match=f"mine: .* does not give back '{path}'"):
        check(restoring(change))


def test_weights_that_are_not_finite_are_those_that_were_trained(empty):
    """Of a run that diverged."""
    learned, frozen = WAY.init(None, PARAMS)
    learned = jax.tree.map(lambda leaf: leaf.at[0].set(jnp.nan), learned)
    content = WAY.store(learned, frozen)
    stored.check_law("mine", "identity", WAY, PARAMS, learned, frozen, content)


def test_the_program_that_restores_belongs_to_the_settings_that_it_was_compiled_with(empty):
    """Two runs of one identity, whose factor is an array in training and a setting in the file."""

    def scaled(params, factor):
        return jax.tree.map(lambda leaf: leaf * factor, params)

    way = WAY._replace(
        parameters=lambda learned, frozen: scaled(learned["train"], frozen["factor"]),
        restore=lambda params, content: scaled(params, content.settings["factor"]),
    )
    for factor in (2.0, 3.0):
        learned, frozen = {"train": PARAMS}, {"factor": jnp.float32(factor)}
        content = Stored({}, {}, {"factor": factor})
        stored.check_law("mine", "identity", way, PARAMS, learned, frozen, content)


@pytest.mark.parametrize("head_in_base", [False, True])
def test_the_file_holds_the_task_and_names_its_base(tmp_path, head_in_base):
    config = small.config()
    config.start = "elsewhere"
    task = small.task(config)
    variables = starting.random_weights(task, 0)
    start = starting.Start(variables, "elsewhere", head=True, head_in_base=head_in_base)
    way = adapter.weights([("(.*/)?bias", "train")])
    learned, _ = way.init(None, variables["params"])
    trained = jax.tree.map(lambda leaf: leaf + 1, learned["train"])
    content = Stored({}, {"params": trained}, {"mine": [1, 2]})
    found = Result("adapt", "bias", "made", 0, 0.75, 0.5, 0, 1, 1.0)
    size = stored.write_task(
        tmp_path, task, config, start, content, variables, found, {"learning_rate": 0.25}
    )
    path = tmp_path / "masks" / "task.mask"
    assert size == path.stat().st_size
    file = task_file.read(path)
    body = dict(variables["params"])
    if not head_in_base:
        body.pop("head")
    print_of = maskfile.fingerprint({"params": body, "batch_stats": variables["batch_stats"]})
    assert file.base == ("lenet_300_100", print_of)
    told = {"method": "bias", "dataset": "made", "start": "elsewhere", "learning_rate": 0.25,
            "metrics": {"accuracy": 0.75, "validation_accuracy": 0.5}, "mine": [1, 2],
            "classes": ["left", "middle", "right"], "mean": [0.3], "std": [0.2], "width": 0.05,
            "image_shape": [6, 6, 1], "stored_shape": [6, 6, 1]}  # fmt: skip
    assert told.items() <= file.about.items()
    stored_paths = set(tree.named_leaves(file.stored.arrays["params"]))
    biases = {"fc1/bias", "fc2/bias", "head/bias"}
    assert stored_paths == biases | (set() if head_in_base else {"head/kernel"})
    now = task_file.restored({"params": body, "batch_stats": {}}, file)["params"]
    wanted = {path: np.asarray(leaf) + ("bias" in path)
              for path, leaf in tree.named_leaves(variables["params"]).items()}  # fmt: skip
    chex.assert_trees_all_close(tree.named_leaves(now), wanted)
