"""A Linen module of the user's own: trained, adapted, and opened by whoever names it."""

import importlib
import json
import sys

import numpy as np
import pytest

from jaxmask import data, model, task
from jaxmask.cli.run import main
from jaxmask.cli.task import main as task_cli
from jaxmask.errors import InputError
from jaxmask.model import outside, weights
from jaxmask.run import seeds

CLASSES = (5, 6, 7)
SOURCE = '''
import flax.linen as nn


class Normed(nn.Module):
    classes: int
    width: float = 1.0

    @nn.compact
    def __call__(self, x, train=False, features=False):
        x = nn.Conv(round(16 * self.width), (3, 3), strides=2)(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        x = nn.relu(x).reshape(len(x), -1)
        return x if features else nn.Dense(self.classes, name="head")(x)


class Bare(nn.Module):
    """Takes neither `train` nor `features`, and has one field."""

    classes: int

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(16, name="fc")(x.reshape(len(x), -1)))
        return nn.Dense(self.classes, name="head")(x)


class Headless(nn.Module):
    """Its last layer has another name."""

    classes: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.classes)(x.reshape(len(x), -1))


class Fieldless(nn.Module):
    def __call__(self, x):
        return x


class Strict(nn.Module):
    classes: int
    units: int

    def __call__(self, x):
        return x


class Picky(nn.Module):
    classes: int
    width: float = 1.0

    def __post_init__(self):
        if self.width > 1:
            raise ValueError("width above 1")
        super().__post_init__()

    def __call__(self, x):
        return x


def function(classes):
    return None


number = 3
'''
NAME = "networks_of_a_user"
NORMED, BARE = f"{NAME}:Normed", f"{NAME}:Bare"


@pytest.fixture(scope="module", autouse=True)
def on_the_path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("path")
    (folder / f"{NAME}.py").write_text(SOURCE)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    yield
    sys.path.remove(str(folder))
    sys.modules.pop(NAME, None)


def given(folder, network, *more):
    return ["--config=digits", f"--workdir={folder}", f"--config.network.name={network}",
            "--config.start=random", f"--config.data.classes={CLASSES}",
            "--config.data.validation=0.2", *more]  # fmt: skip


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """A run of `adapt` over a network of the user's own, of half its width."""
    folder = tmp_path_factory.mktemp("outside") / "run"
    status = main(
        given(folder, NORMED, "--config.network.width=0.5",
              "--config.methods=('linear_probe', 'full', 'mask')",
              "--config.full.train.epochs=2", "--config.mask.train.epochs=3",
              "--config.linear_probe.choices=(0.01,)", "--config.full.choices=(0.05,)",
              "--config.mask.choices=(20.0,)")
    )  # fmt: skip
    assert status == 0
    return folder


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """A run of `dense` over the network that takes no more than images."""
    folder = tmp_path_factory.mktemp("outside") / "dense"
    config = folder.parent / "dense.py"
    config.write_text(
        "from jaxmask.recipe import defaults\n\n\n"
        "def get_config():\n"
        "    config = defaults.dense('digits', epochs=3)\n"
        f"    config.network.name = '{BARE}'\n"
        f"    config.data.classes, config.data.validation = {CLASSES}, 0.2\n"
        "    return config\n"
    )
    assert main([f"--config={config}", f"--workdir={folder}"]) == 0
    return folder


def read(folder):
    return json.loads((folder / "result.json").read_text())


def held_out():
    dataset = data.load("digits", classes=CLASSES, validation=0.2, seed=seeds.number(0, "data"))
    return dataset.test


@pytest.mark.parametrize("method", ["linear_probe", "full", "mask"])
def test_it_is_adapted_and_the_stored_task_gives_the_reported_accuracy(adapted, method):
    found = read(adapted / method)
    assert found["network"] == NORMED
    assert found["accuracy"] > 0.8
    learned = task.load(adapted / method, network=NORMED)
    split = held_out()
    predicted = np.asarray(learned.logits(learned.variables, split.images)).argmax(-1)
    assert (predicted == split.labels).mean() == pytest.approx(found["accuracy"], abs=0.011)
    assert learned.variables["params"]["Conv_0"]["kernel"].shape == (3, 3, 1, 8)  # the width


def test_a_mask_is_of_every_kernel_but_the_heads_and_statistics_move(adapted):
    found = read(adapted / "mask")
    assert found["density_by_leaf"].keys() == {"Conv_0/kernel"}
    assert 0 < found["density"] < 1
    start, _ = weights.load(adapted / "start.safetensors")
    moved = task.load(adapted / "full", network=NORMED).variables["batch_stats"]
    for name, before in start["batch_stats"]["BatchNorm_0"].items():
        assert (np.asarray(moved["BatchNorm_0"][name]) != before).all()


def test_a_network_that_takes_images_alone_is_trained(dense):
    """Its accuracy is that of its stored weights, in numpy."""
    variables, about = weights.load(dense / "weights.safetensors")
    split = held_out()
    x = (split.images.reshape(len(split.labels), -1) / 255 - about["mean"][0]) / about["std"][0]
    fc, head = (variables["params"][name] for name in ("fc", "head"))
    logits = np.maximum(x @ fc["kernel"] + fc["bias"], 0) @ head["kernel"] + head["bias"]
    accuracy = (logits.argmax(-1) == split.labels).mean()
    assert accuracy > 0.8
    assert read(dense)["accuracy"] == pytest.approx(accuracy, abs=0.011)
    learned = task.load(dense, network=BARE)
    np.testing.assert_allclose(
        learned.logits(learned.variables, split.images), logits, rtol=1e-3, atol=1e-3
    )


def test_a_network_needs_a_head_and_that_is_said(tmp_path, capsys):
    given_methods = ("--config.network.width=1.0", "--config.methods=('mask',)")
    assert main(given(tmp_path / "run", f"{NAME}:Headless", *given_methods)) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"{NAME}:Headless has no layer 'head'" in told
    assert not (tmp_path / "run").exists()


def test_a_linear_probe_needs_features_and_says_so(tmp_path, capsys):
    arguments = given(
        tmp_path / "run",
        BARE,
        "--config.network.width=1.0",
        "--config.methods=('linear_probe', 'full')",
        "--config.linear_probe.choices=(0.01,)",
        "--config.full.choices=(0.05,)",
    )
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "linear_probe: Bare gives no features" in told
    assert "add the argument features" in told
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("where", ["adapted", "dense"])
def test_a_file_of_it_imports_nothing(where, request, capsys):
    folder = request.getfixturevalue(where)
    name = NORMED if where == "adapted" else BARE
    sys.modules.pop(NAME, None)
    for refused in ("", BARE if where == "adapted" else NORMED):
        with pytest.raises(InputError, match=r"not imported; if you trust it, .*--network="):
            task.load(folder, network=refused)
        assert task_cli(["evaluate", str(folder), f"--network={refused}"]) == 2
        assert capsys.readouterr().err.count("\n") == 1
        assert NAME not in sys.modules
    task.load(folder, network=name)
    assert NAME in sys.modules


def test_the_command_evaluates_it_where_it_is_named(adapted, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    command = ["evaluate", str(adapted / "full"), f"--network={NORMED}", f"--out={tmp_path}/out"]
    assert task_cli(command) == 0
    told = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    learned = task.load(adapted / "full", network=NORMED)
    split, _ = data.load_split("digits", "test")
    ours = np.isin(split.labels, CLASSES)
    predicted = np.asarray(learned.logits(learned.variables, split.images[ours])).argmax(-1)
    right = predicted + CLASSES[0] == split.labels[ours]
    assert told["examples"] == ours.sum()
    assert told["accuracy"] == pytest.approx(right.mean(), abs=0.011)
    assert "other classes are left out" in capsys.readouterr().err


def test_a_name_with_a_colon_is_of_a_class_elsewhere():
    assert outside.is_outside("my.networks:Wide")
    assert not any(outside.is_outside(name) for name in model.names())


def test_fields_are_set_where_the_class_has_them():
    bare = model.create(BARE, classes=4)
    assert (type(bare).__name__, bare.classes) == ("Bare", 4)
    normed = model.create(NORMED, classes=2, width=0.25)
    assert (normed.classes, normed.width) == (2, 0.25)
    strict = model.create(f"{NAME}:Strict", classes=2, units=7)
    assert strict.units == 7


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("no_such_package:Wide", {}, "cannot be imported .*PYTHONPATH"),
        (f"{NAME}:Wide", {}, "cannot be imported .*'Wide'"),
        (f"{NAME}:", {}, "cannot be imported"),
        (":Bare", {}, "cannot be imported"),
        (f"{NAME}:function", {}, "is not a flax.linen.Module"),
        (f"{NAME}:number", {}, "is not a flax.linen.Module"),
        (f"{NAME}:Fieldless", {}, "has no field 'classes'"),
        (BARE, {"width": 0.5}, "has no field 'width'"),
        (BARE, {"stem": "cifar"}, "has no field 'stem'"),
        (f"{NAME}:Strict", {}, "cannot be created: .*units"),
        (f"{NAME}:Picky", {"width": 2.0}, "cannot be created: width above 1"),
        (BARE, {"classes": 0}, "classes is 0"),
    ],
)
def test_what_cannot_be_made_is_one_line(name, options, message):
    with pytest.raises(InputError, match=message) as error:
        model.create(name, **{"classes": 3, **options})
    assert "\n" not in str(error.value)


def test_the_command_tells_a_bad_name_in_one_line(tmp_path, capsys):
    assert main(given(tmp_path / "run", "no_such_package:Wide")) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "no_such_package:Wide" in told
    assert not (tmp_path / "run").exists()
