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


def test_a_normalization_that_weights_do_not_tell_is_asked_for_or_said(caplog):
    made, config = task(), defaults.data("made")
    about = {"layout": "timm", "normalization": "unknown", "unsettled": "0.5 or others"}
    with pytest.raises(InputError, match=r"\(0.5 or others\); give --config.data.mean") as caught:
        tasks.normalization_of(config, made.dataset, about)
    assert "\n" not in str(caught.value)
    assert not caplog.records
    found = tasks.normalization_of(config, made.dataset, {**about, "unsettled": ""})
    np.testing.assert_allclose(found[0], made.dataset.train.images.mean() / 255, rtol=1e-6)
    assert "do not tell" in caplog.records[-1].getMessage()
    known = {"layout": "mae", "normalization": "kind", "mean": [0.1], "std": [0.2]}
    assert tasks.normalization_of(config, made.dataset, known) == ((0.1,), (0.2,))
    assert "their kind (mae): mean (0.1), std (0.2)" in caplog.records[-1].getMessage()
    config.mean, config.std = (0.3,), (0.4,)
    assert tasks.normalization_of(config, made.dataset, about) == ((0.3,), (0.4,))
    assert len(caplog.records) == 2


def test_images_too_large_to_be_named_in_a_file_are_refused_before_training():
    config = defaults.dense("made", 1)
    config.network.name, config.network.width, config.data.size = "resnet20", 0.25, 8
    split = Split(np.broadcast_to(np.uint8(0), (4, 1032, 1032, 1)), np.arange(4) % 2)
    dataset = Dataset("made", split, split, split, ("a", "b"))
    with pytest.raises(InputError, match="stored_shape is 1032 x 1032 pixels"):
        tasks.make_task(config.data, config.network, dataset, ((0.5,), (0.25,)))
