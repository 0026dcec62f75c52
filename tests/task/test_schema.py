"""Metadata of the wrong type, range or relation is refused in one line, whatever reads it.

The files are those of `written_before`, each method's; only their metadata are altered.
"""

import contextlib
import io
import json
import random
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxmask import maskfile, task
from jaxmask.cli.masks import main as masks
from jaxmask.errors import InputError
from jaxmask.task import file as task_file
from jaxmask.task import inspect, schema

BEFORE = Path(__file__).parent / "written_before" / "run"
METHODS = sorted(path.name for path in BEFORE.iterdir() if path.is_dir())
IMAGES = jax.ShapeDtypeStruct((2, 8, 8, 1), "uint8")
WRONG = [
    None, True, False, "", "x", "\0", "a" * 5000, -1, 0, 1, 3, 2.5, 1e-300, 1e308, 2**70, [], {},
    [1], ["a"], [[1]], [None], [True], {"a": 1}, [8, 8], [8, 8, 3], [0, 0, 1], [8, 8, 1, 1],
    [8.0, 8, 1], [10**9] * 3, [1e308], [0.5, 0.5], [-1e-9], ["5", "6"], ["5", "6", "7", "8"],
    "resnet20", "lenet5", "mask", "full", "lora", "knn", "linear_probe", "cifar", "/dev/null",
]  # fmt: skip
TEXTS = ["[", "[" * 100 + "]" * 100, "[" * 100_000, "1e400", "NaN", "-Infinity", "1" * 5000, "é"]
ALTERED = ("network", "width", "stem", "classes", "mean", "std", "image_shape", "stored_shape",
           "start", "dataset", "method", "metrics", "neighbours", "temperature", "low_rank_scale",
           "rescale")  # fmt: skip
# those in which any wrong value changes what a network computes, for the methods that use it
SEEN = {"network", "width", "classes", "mean", "std", "image_shape", "method"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return shutil.copytree(BEFORE, tmp_path_factory.mktemp("run") / "run")


def altered(run, method, texts):
    """A file of the method with other metadata; None takes a name out."""
    file = maskfile.read(BEFORE / method / "masks" / "task.mask")
    about = {**file.metadata, **texts}
    about = {name: text for name, text in about.items() if text is not None}
    path = run / method / "masks" / "altered.mask"
    maskfile.save(path, file.masks, metadata=about, arrays=file.arrays, base=file.base)
    return path


def loaded(path):
    """What predict and evaluate do, up to compiling it."""
    learned = task.load(path)
    return jax.eval_shape(learned.logits, learned.variables, IMAGES)


def served(path):
    library = task.serve([path])
    return jax.eval_shape(library.serve, IMAGES, np.zeros(2, np.int32))


def applied(path):
    with jax.disable_jit():
        return inspect.adapted(path, "")


def shown(path):
    with contextlib.redirect_stdout(io.StringIO()):
        assert masks(["show", str(path)]) == 0


def outcome(use, path):
    """Whether it is accepted; whatever is raised is one line that names the file."""
    told = ""
    try:
        use(path)
    except InputError as error:
        told = str(error)
    assert "\n" not in told
    assert len(told) < 6000
    assert not told or "altered.mask" in told or "there are no weights at" in told
    return told == ""


@pytest.mark.parametrize("method", METHODS)
def test_any_value_is_used_as_it_is_or_refused_in_one_line(run, method):
    draw = random.Random(method)
    for name in ALTERED:
        texts = [json.dumps(draw.choice(WRONG)), draw.choice([*TEXTS, None])]
        for text in texts:
            path = altered(run, method, {name: text})
            taken = {use.__name__: outcome(use, path) for use in (loaded, served, applied)}
            if name in SEEN and not (name == "method" and text):
                assert not any(taken.values()), (name, text, taken)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"std": [1e308]}, r"'std' in its metadata is a list \(\[1e\+308\]\); .* to 1000"),
        ({"std": [0.0]}, "'std' in its metadata"),
        ({"mean": [0.5, 0.5]}, "mean and std need one number per channel"),
        ({"mean": [0.5] * 3, "std": [0.5] * 3}, "has 3 numbers, its images 1 channels"),
        ({"mean": 0.5}, "'mean' in its metadata is the number"),
        ({"width": True}, "'width' in its metadata is a truth value"),
        ({"width": None}, "'width' in its metadata is null"),
        ({"classes": ["a", "b"]}, r"'params/head/bias' is \(3,\), and \(2,\) in the network"),
        ({"classes": "abc"}, r"'classes' .* is a text \('abc'\); it must be a list of names"),
        ({"image_shape": [8, 8, 1.0]}, "whole numbers"),
        ({"image_shape": [16, 16, 1]}, "'params/fc1/kernel' is"),
        ({"width": 0.5}, "'params/conv1/"),
        ({"network": "conv4"}, "and missing|is missing, and"),
        ({"method": "lora"}, "mask of .* which its method does not use|cannot be restored"),
        ({"axes": ["fc1/kernel", "in out"]}, "axes is .* it must be an object from paths to words"),
        ({"axes": {"fc1/kernel": 3}}, "axes is .* it must be an object"),
        ({"rescale": "false"}, "rescale is 'false'; it must be true or false"),
    ],
)
def test_the_field_its_value_and_what_it_must_be_are_told(run, changes, message):
    path = altered(run, "mask", {name: json.dumps(value) for name, value in changes.items()})
    for use in (loaded, served, applied):
        with pytest.raises(InputError, match=message):
            use(path)


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("lora", {"low_rank_scale": 1e30}, "low_rank_scale is 1e[+]30"),
        ("lora", {"method": "full"}, "arrays 'low_rank', which its method does not use"),
        ("bias", {"method": "knn"}, r"features \(0,\)"),
        ("knn", {"neighbours": 2.5}, r"neighbors has \(2.5,\); give whole numbers"),
        ("knn", {"neighbours": True}, "neighbors has True"),
        ("knn", {"temperature": 0}, "temperature has 0"),
        ("knn", {"classes": ["a", "b"]}, r"labels are not whole numbers in \[0, 2\)"),
        ("mask_sign", {"method": "bias"}, "mask of 'conv1/kernel', which its method does not use"),
    ],
)
def test_settings_of_a_method_are_checked_by_the_method(run, method, changes, message):
    path = altered(run, method, {name: json.dumps(value) for name, value in changes.items()})
    with pytest.raises(InputError, match=message) as error:
        loaded(path)
    assert "altered.mask" in str(error.value)


def test_whatever_a_file_says_is_shown(run):
    for text in [*map(json.dumps, WRONG), *TEXTS]:
        shown(altered(run, "mask", {"mean": text, "metrics": text}))


def test_what_was_written_passes(run):
    for method in METHODS:
        path = altered(run, method, {})
        assert outcome(loaded, path)
        assert outcome(served, path) is (method != "knn")
        schema.check(task_file.read(path).about, path, schema.NEEDED)


def test_a_file_with_a_mask_alone_is_no_task(run):
    about = task_file.read(altered(run, "mask", {})).about
    for name in schema.NEEDED:
        with pytest.raises(InputError, match=f"has a mask but no task: its header lacks {name}"):
            schema.check({key: about[key] for key in about if key != name}, run, schema.NEEDED)
        schema.check({key: about[key] for key in about if key != name}, run)


def test_stored_numbers_that_are_not_finite_are_refused(run):
    file = maskfile.read(BEFORE / "bias" / "masks" / "task.mask")
    arrays = jax.tree.map(np.copy, file.arrays)
    arrays["params"]["fc1"]["bias"][3] = np.nan
    path = run / "bias" / "masks" / "altered.mask"
    maskfile.save(path, file.masks, metadata=file.metadata, arrays=arrays, base=file.base)
    for use in (loaded, served, applied):
        with pytest.raises(InputError, match=r"altered.mask: the array 'params/fc1/bias' is not"):
            use(path)


def test_merging_looks_at_what_the_files_say(run, tmp_path, capsys):
    path = altered(run, "mask", {"mean": json.dumps("x")})
    both = [str(path), str(BEFORE / "mask" / "masks" / "task.mask")]
    assert masks(["merge", *both, "--how=vote", f"--out={tmp_path}/m.mask"]) == 2
    assert "'mean' in its metadata is a text ('x')" in capsys.readouterr().err
