"""The weights that an experiment starts from, and whether they fit its task."""

from pathlib import Path

import checkpoints
import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small

from jaxmask import data, maskfile, tree
from jaxmask.errors import InputError
from jaxmask.model import checkpoint, pretrained, transformer
from jaxmask.model import weights as weights_file
from jaxmask.run import defaults, programs, starting

pytestmark = pytest.mark.usefixtures("quick_compilation")

NETWORK = {"network__name": "resnet20", "network__width": 0.25}


def task(**sizes):
    return small.task(small.config("dense", **NETWORK), **sizes)


def test_a_new_head_over_the_weights_of_another_task():
    old, new = task(), task(names=tuple("abcde"))
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


def variables(made, seed=0):
    found = starting.starting_variables(made, starting.Start(None, "random"), jax.random.key(seed))
    return jax.tree.map(np.asarray, found)


def test_weights_with_a_head_of_their_own_are_taken_as_they_are():
    made = task()
    have = variables(made)
    start = starting.Start(have, "here", head=True)
    chex.assert_trees_all_equal(starting.starting_variables(made, start, jax.random.key(5)), have)
    body = {"params": {k: v for k, v in have["params"].items() if k != "head"},
            "batch_stats": have["batch_stats"]}  # fmt: skip
    with pytest.raises(InputError, match=r"they lack params/head/bias, params/head/kernel"):
        starting.check_fits(made, starting.Start(body, "here", head=True))
    starting.check_fits(made, starting.Start(body, "here"))


def test_a_fingerprint_is_of_the_base_network_whatever_lies_in_its_head():
    have = variables(small.task(small.config("dense")))
    other = jax.tree.map(lambda leaf: leaf, have)
    other["params"]["head"] = {"kernel": np.ones((5, 9), np.float32)}
    prints = [starting.Start(each, "here").fingerprint() for each in (have, other)]
    assert prints[0] == prints[1]
    whole = starting.Start(have, "here", head=True, head_in_base=True).fingerprint()
    assert whole == maskfile.fingerprint(have)
    assert whole != prints[0]
    changed = jax.tree.map(lambda leaf: leaf + 1, have)
    assert starting.Start(changed, "here").fingerprint() != prints[0]


def test_random_weights_are_of_the_seed_and_for_every_method_the_same():
    made = small.task(small.config("dense"))
    first, again, other = (starting.random_weights(made, seed) for seed in (0, 0, 1))
    chex.assert_trees_all_equal(first, again)
    assert (first["params"]["fc1"]["kernel"] != other["params"]["fc1"]["kernel"]).any()


def saved(folder, change=lambda flat: None):
    have = variables(small.task(small.config("dense")))
    flat = tree.named_leaves(have)
    change(flat)
    about = {"network": "lenet_300_100", "mean": [0.1], "std": [0.2]}
    weights_file.save(folder / "weights.safetensors", tree.nested(flat), about)
    return have


def test_weights_of_a_run_directory_or_a_file_are_loaded_with_what_they_say(tmp_path):
    have = saved(tmp_path)
    network = small.config("dense").network
    for place in (tmp_path, tmp_path / "weights.safetensors"):
        start, about = starting.load_start(str(place), network)
        chex.assert_trees_all_equal(start.weights["params"], have["params"])
        assert (start.source, start.head) == (str(place), False)
        assert (about["mean"], about["std"]) == ([0.1], [0.2])
    start, about = starting.load_start("random", network)
    assert (start.weights, about) == (None, {})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_name_their_leaf(tmp_path, value):
    def spoil(flat):
        flat["params/fc2/bias"] = np.full(5, value, np.float32)

    saved(tmp_path, spoil)
    with pytest.raises(InputError, match="not finite in params/fc2/bias"):
        starting.load_start(str(tmp_path), small.config("dense").network)


def test_weights_of_whole_numbers_are_refused(tmp_path):
    def quantize(flat):
        flat["params/fc2/kernel"] = np.round(flat["params/fc2/kernel"]).astype(np.int8)

    saved(tmp_path, quantize)
    start, _ = starting.load_start(str(tmp_path), small.config("dense").network)
    with pytest.raises(InputError, match="params/fc2/kernel of int8 instead of float32"):
        starting.check_fits(small.task(small.config("dense")), start)


def test_a_path_that_no_file_could_name_is_refused_before_training(tmp_path):
    saved(tmp_path)
    with pytest.raises(InputError, match="a path that files cannot name"):
        starting.load_start(f"{tmp_path}\udc80", small.config("dense").network)


VIT = {"network__name": "vit_ti16", "network__width": 0.0625}


def vit(folder, side=64):
    """A checkpoint with PyTorch's names for images of a side; its variables."""
    made = checkpoints.transformer(side)
    pretrained.save(folder / "a.safetensors", pretrained.export(made, "vit_ti16", "timm"))
    return str(folder / "a.safetensors"), made


def colored(side):
    splits = (data.Split(np.zeros((6, side, side, 3), np.uint8), np.arange(6) % 3)
              for _ in range(3))  # fmt: skip
    return data.Dataset("made", *splits, ("a", "b", "c"))


@pytest.mark.parametrize("side", [32, 96])
def test_positions_are_interpolated_to_the_images_that_the_data_has(
    side, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(programs, "_MADE", {})
    monkeypatch.setattr(starting.tasks, "load_data", lambda config, seed: colored(side))
    path, made = vit(tmp_path)
    made_task, start = starting.task_of(small.config("prune", start=path, **VIT))
    assert made_task.image_shape == (side, side, 3)
    expected = transformer.resized(made["params"]["position"], side, 16)
    np.testing.assert_array_equal(start.weights["params"]["position"], expected)
    assert f"from images of 64 pixels to {side}" in caplog.records[-1].getMessage()
    given = starting.task_of(small.config("prune", start=path, data__size=side, **VIT))[1]
    assert given.fingerprint() == start.fingerprint()


def test_images_that_are_cut_into_no_patches_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "_MADE", {})
    monkeypatch.setattr(starting.tasks, "load_data", lambda config, seed: colored(40))
    with pytest.raises(InputError, match="size is 40; give a multiple of the 16 pixels"):
        starting.task_of(small.config("prune", start=vit(tmp_path)[0], **VIT))


def test_a_bare_transformer_needs_a_normalization(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "_MADE", {})
    monkeypatch.setattr(starting.tasks, "load_data", lambda config, seed: colored(64))
    config = small.config("prune", start=vit(tmp_path)[0], **VIT)
    config.data.mean, config.data.std = (), ()
    with pytest.raises(InputError, match=r"do not tell how .* give --config.data.mean="):
        starting.task_of(config)
    config.start = "random"  # the task of other weights is another
    starting.task_of(config)
    config.start = str(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="do not tell how"):
        starting.task_of(config)


def test_weights_of_an_installed_package_are_taken_by_its_name(tmp_path, monkeypatch):
    place, made = vit(tmp_path)
    monkeypatch.setattr(checkpoint.package, "find", {"package:weights": Path(place)}.get)
    start, about = starting.load_start("package:weights", small.config("dense", **VIT).network)
    chex.assert_trees_all_equal(start.weights["params"], made["params"])
    assert (start.source, about["layout"]) == ("package:weights", "timm")
    with pytest.raises(InputError, match="no CLIP text tower"):
        starting.with_text_head(start, ("cat",), "a {}")


def test_where_there_are_no_weights_it_is_said(tmp_path):
    network = small.config("dense").network
    with pytest.raises(InputError, match="no weights at"):
        starting.load_start(str(tmp_path / "nowhere"), network)
    with pytest.raises(InputError, match=r"give --config\.start=PATH"):
        starting.load_start("", network)
    with pytest.raises(InputError, match=r"package:none-such is not installed"):
        starting.load_start("package:none-such", small.config("dense", **NETWORK).network)


def test_the_side_of_images_is_what_the_device_resizes_to_or_what_is_decoded():
    config = defaults.data("made")
    assert starting.pixels(config) == 0
    config.decode_size = 64
    assert starting.pixels(config) == 64
    config.size = 32
    assert starting.pixels(config) == 32


def test_a_head_of_text_takes_a_checkpoint_of_clip(tmp_path):
    have = saved(tmp_path)
    for start in (starting.Start(None, "random"), starting.Start(have, str(tmp_path))):
        with pytest.raises(InputError, match="takes a CLIP checkpoint"):
            starting.with_text_head(start, ("cat",), "a {}")


def test_the_runs_of_a_grid_share_their_task(monkeypatch):
    """Of equal data, network and seed; the method does not matter."""
    monkeypatch.setattr(programs, "_MADE", {})
    monkeypatch.setattr(starting.tasks, "load_data", lambda config, seed: small.dataset())
    one, start = starting.task_of(small.config("prune"))
    assert start.weights is None
    assert starting.task_of(small.config("prune", criterion="magnitude"))[0] is one
    assert starting.task_of(small.config("prune", seed=1))[0] is not one
    assert starting.task_of(small.config("prune", network__width=0.1))[0] is not one
    assert starting.task_of(small.config("prune", data__flip=True))[0] is not one


def test_starting_weights_are_the_networks_own_with_their_head(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "_MADE", {})
    monkeypatch.setattr(starting.tasks, "load_data", lambda config, seed: small.dataset())
    saved(tmp_path)
    _, start = starting.task_of(small.config("prune", start=str(tmp_path)))
    assert start.head
    assert start.head_in_base
    with pytest.raises(InputError, match="do not fit the network"):
        starting.task_of(small.config("prune", start=str(tmp_path), network__width=0.1))


def test_leaves_are_of_the_dtype_that_the_network_has():
    made = small.task(small.config("dense"))
    have = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables(made))
    found = starting.starting_variables(made, starting.Start(have, "x", True), jax.random.key(0))
    chex.assert_trees_all_equal_dtypes(found["params"], variables(made)["params"])
    assert found["params"]["fc1"]["kernel"].dtype == jnp.float32
