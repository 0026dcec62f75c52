"""Masks of other runs in place of scores."""

import numpy as np
import pytest
from experiments import config, finished, without_figures
from safetensors.numpy import load_file

from jaxmask import maskfile, recipe
from jaxmask.errors import InputError
from jaxmask.recipe import prepare
from jaxmask.run import defaults

SHAPES = {"fc1": (64, 30), "fc2": (30, 10)}  # of the body of LeNet-30-10


@pytest.fixture(scope="module", autouse=True)
def undrawn(quick_compilation):
    with pytest.MonkeyPatch.context() as patch:
        without_figures(patch)
        yield


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start") / "run"
    finished(folder, "dense", data__classes=(2, 4, 6), train__epochs=1)
    return folder


@pytest.fixture(scope="module")
def source(start, tmp_path_factory):
    """A run that found a mask on one task, without training."""
    folder = tmp_path_factory.mktemp("source") / "run"
    finished(
        folder, start=str(start), head="new", data__classes=(0, 1), density=0.25, train__epochs=0
    )
    return folder


def changes(start, place, **more):
    return {
        "start": str(start), "head": "new", "data__classes": (7, 8, 9), "density": 0.25,
        "train__epochs": 0, "mask_from": str(place), **more,
    }  # fmt: skip


def given(place, run, **more):
    return config(**{**changes(place, run), **more})


def body(start):
    """The fingerprint of a weight file without the head."""
    weights = load_file(start / "weights.safetensors")
    names = [name.removeprefix("params/") for name in weights]
    tree = {}
    for name in names:
        layer, leaf = name.split("/")
        if layer != "head":
            tree.setdefault(layer, {})[leaf] = weights[f"params/{name}"]
    return maskfile.fingerprint({"params": tree, "batch_stats": {}})


def written(path, seed=0, density=0.5, shapes=SHAPES, signs=False, base=None):
    random = np.random.default_rng(seed)
    masks = {name: {"kernel": random.random(shape) < density} for name, shape in shapes.items()}
    if signs:
        masks = {name: {"kernel": np.where(part["kernel"], 1, -1)} for name, part in masks.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    maskfile.save(path, masks, base=base)
    return path


def test_a_mask_is_taken_as_it_is_and_named_after_its_source(start, source, tmp_path):
    found = finished(tmp_path / "run", **changes(start, source))
    one, two = (
        maskfile.read(each / "masks" / "ticket.mask") for each in (source, tmp_path / "run")
    )
    for name in SHAPES:
        np.testing.assert_array_equal(one.masks[name]["kernel"], two.masks[name]["kernel"])
    assert one.base == two.base == maskfile.Base("lenet_300_100", body(start))
    assert (found["method"], found["schedule"]) == ("snip of digits", "")
    assert (found["target_density"], found["seconds_of_pruning"]) == (0.25, None)
    place = (tmp_path / "run" / found["mask_from"]).resolve()
    assert place == (source / "masks" / "ticket.mask").resolve()
    # a copy of a copy is still what the first one was
    again = finished(tmp_path / "again", **changes(start, tmp_path / "run", density=0.0))
    assert (again["method"], again["density"]) == ("snip of digits", found["density"])


def test_a_learned_mask_over_the_same_network_is_taken(start, tmp_path):
    made = defaults.adapt("digits", epochs=1)
    made.network = config().network
    made.data.validation, made.data.classes = 0.2, (0, 1, 9)
    made.start, made.methods, made.mask.choices = str(start), ("mask",), (0.5,)
    recipe.run(made, tmp_path / "adapt")
    learned = maskfile.load(tmp_path / "adapt" / "mask" / "masks" / "task.mask")
    for place in ("adapt", "adapt/mask", "adapt/mask/masks/task.mask"):
        prepare(given(start, tmp_path / place, density=0.0))
    found = finished(tmp_path / "run", **changes(start, tmp_path / "adapt", density=0.0))
    kept = sum(int(learned[name]["kernel"].sum()) for name in SHAPES)
    assert found["density"] == pytest.approx(kept / (64 * 30 + 300))
    assert found["target_density"] == found["density"] < 1
    assert found["method"] == "mask of digits"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"mask_from": "nowhere"}, "nowhere: does not exist"),
        ({"mask_from": "a" * 300}, "cannot be read"),
        ({"mask_from": "a\0"}, "a path that files cannot name"),
        ({"density": 0.3}, r"has density 0\.25, and density is 0\.3; set density to 0"),
        ({"density": 1.0}, r"and density is 1;"),
        ({"start": "random"}, "found in other weights"),
        ({"initial": "kaiming"}, "found in other weights"),
        ({"rules": (("fc1/kernel", "mask"),)}, "fc2/kernel.*config.rules"),
        ({"rules": ((".*/(kernel|bias)", "mask"),)}, "fc1/bias.*config.rules"),
        ({"network__width": 0.2, "start": "random"}, r"fc1/kernel.*\(64, 30\)"),
        ({"start": "random", "head": "start"}, "head/kernel.*a new head never is"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(start, source, more, message, tmp_path):
    with pytest.raises(InputError, match=message):
        prepare(given(start, source, **more))


def test_several_masks_signs_and_masks_of_unknown_weights_are_refused(start, tmp_path):
    for name in ("one", "two"):
        written(tmp_path / "many" / f"{name}.mask")
    with pytest.raises(InputError, match=r"has 2 masks; give one of them: .*one\.mask"):
        prepare(given(start, tmp_path / "many"))
    base = maskfile.Base("lenet_300_100", body(start))
    signs = written(tmp_path / "signs.mask", signs=True, base=base)
    with pytest.raises(InputError, match="masks of signs"):
        prepare(given(start, signs, density=0.0))
    unknown = written(tmp_path / "unknown.mask")
    with pytest.raises(InputError, match=r"does not say in which weights.*other_weights=True"):
        prepare(given(start, unknown, density=0.0))


def test_other_weights_are_taken_if_asked_for(start, source, tmp_path):
    prepare(given(start, written(tmp_path / "unknown.mask"), density=0.0, other_weights=True))
    given_to = changes("random", source, seed=3, other_weights=True)
    found = finished(tmp_path / "run", **given_to)
    stored = maskfile.read(tmp_path / "run" / "masks" / "ticket.mask")
    assert stored.base.fingerprint != body(start)  # the mask is for these weights now
    assert found["density"] == pytest.approx(0.25, abs=1e-3)


def test_a_lottery_finds_its_own_masks(start, source):
    with pytest.raises(InputError, match="mask_from is set, and a lottery finds its own"):
        prepare(config("lottery", start=str(start), mask_from=str(source)))
