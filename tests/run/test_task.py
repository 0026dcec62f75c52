import jax
import numpy as np
import pytest

from jaxmask.data import Dataset, Split
from jaxmask.errors import InputError
from jaxmask.run import defaults, starting
from jaxmask.run import task as tasks


def task(classes=3, **network):
    random = np.random.default_rng(0)

    def split(count):
        return Split(random.integers(0, 255, (count, 8, 8, 1), np.uint8),
                     (np.arange(count) % classes).astype(np.int32))  # fmt: skip

    names = tuple(str(label) for label in range(classes))
    dataset = Dataset("made", split(30), split(6), split(6), names)
    config = defaults.dense("made", 1)
    config.network.name = "resnet20"
    config.network.width = 0.25
    config.network.update(network)
    return tasks.make_task(config.data, config.network, dataset, ((0.5,), (0.25,)))


def test_a_new_head_over_the_weights_of_another_task():
    old, new = task(classes=3), task(classes=5)
    weights = starting.starting_variables(old, starting.Start(None, "random"), jax.random.key(0))
    start = starting.Start(jax.tree.map(np.asarray, weights), "old")
    variables = starting.starting_variables(new, start, jax.random.key(1))
    np.testing.assert_array_equal(
        variables["params"]["conv1"]["kernel"], weights["params"]["conv1"]["kernel"]
    )
    assert variables["params"]["head"]["kernel"].shape[-1] == 5
    assert "bn1" in variables["batch_stats"]
    other = starting.starting_variables(new, start, jax.random.key(2))
    assert (other["params"]["head"]["kernel"] != variables["params"]["head"]["kernel"]).any()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda w: w["params"].pop("conv1"), "lack params/conv1/kernel"),
        (lambda w: w["params"].update(more={"kernel": np.ones(2)}), "also have params/more"),
        (lambda w: w["params"]["conv1"].update(kernel=np.ones((3, 3, 1, 9))), r"\(3, 3, 1, 9\)"),
        (lambda w: w.pop("batch_stats"), "batch_stats"),
    ],
)
def test_weights_that_do_not_fit_are_listed(spoil, message):
    made = task()
    weights = starting.starting_variables(made, starting.Start(None, "random"), jax.random.key(0))
    weights = jax.tree.map(np.asarray, weights)
    spoil(weights)
    with pytest.raises(InputError, match=message):
        starting.check_fits(made, starting.Start(weights, "elsewhere"))


def test_the_network_changes_its_statistics_only_in_training():
    made = task()
    variables = starting.starting_variables(made, starting.Start(None, "random"), jax.random.key(0))
    images = made.augment(None, made.dataset.train.images)
    logits, same = made.network(variables["params"], variables["batch_stats"], images, False)
    assert logits.shape == (30, 3)
    assert same is variables["batch_stats"]
    _, moved = made.network(variables["params"], variables["batch_stats"], images, True)
    assert jax.tree.structure(moved) == jax.tree.structure(variables["batch_stats"])
    assert (moved["bn1"]["mean"] != same["bn1"]["mean"]).any()


def test_normalization_is_the_configs_then_the_weights_then_the_datas():
    made, config = task(), defaults.data("made")
    found = tasks.normalization_of(config, made.dataset, {})
    np.testing.assert_allclose(found[0], made.dataset.train.images.mean() / 255, rtol=1e-6)
    about = {"mean": [0.1], "std": [0.2]}
    assert tasks.normalization_of(config, made.dataset, about) == ((0.1,), (0.2,))
    config.mean, config.std = (0.3,), (0.4,)
    assert tasks.normalization_of(config, made.dataset, about) == ((0.3,), (0.4,))
