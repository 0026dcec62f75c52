"""Metadata of the wrong type, range or relation is refused in one line, whatever reads it.

The files are those of `written_before`, each method's; only their metadata are altered.
"""

import contextlib
import io
import json
import random
import shutil
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxmask import maskfile, task, tree
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


def stored(run, method, change, **texts):
    """A file of the method with other arrays; `change` takes them by path."""
    file = maskfile.read(BEFORE / method / "masks" / "task.mask")
    arrays = {path: np.array(leaf) for path, leaf in tree.named_leaves(file.arrays).items()}
    change(arrays)
    path = run / method / "masks" / "altered.mask"
    about = {**file.metadata, **texts}
    maskfile.save(path, file.masks, metadata=about, arrays=tree.nested(arrays), base=file.base)
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": ["7", "8", "7"]},
        {"classes": ["a", "", "c"]},
        {"classes": ["a", " ", "c"]},
        {"classes": ["a", "b", "\udfff"]},
        {"classes": ["a", "b\x9b2J", "c"]},
        {"classes": ["a", "b\u2028", "c"]},
        {"network": "lenet_300_100\x07"},
        {"start": "/data/\udc80"},
        {"dataset": "digits\x1b]0;x\x07"},
        {"stem": "\r"},
        {"method": "ma\x7fsk"},
        {"metrics": {"accuracy\udbff": 1}},
        {"metrics": {"by": ["fine", {"name": "\x1b[2J"}]}},
        {"note": "\ud83d alone"},
        {"\udcff": 1},
        {"a\x1bc": 1},
    ],
)
def test_text_that_cannot_be_printed_or_names_twice_is_refused_and_still_shown(
    run, capsys, changes
):
    path = altered(run, "mask", {name: json.dumps(value) for name, value in changes.items()})
    for use in (loaded, served, applied):
        with pytest.raises(InputError, match=r"altered.mask: .* in its metadata") as error:
            use(path)
        assert str(error.value).isprintable()
    assert masks(["show", str(path)]) == 0
    told = capsys.readouterr().out
    assert all(line.isprintable() for line in told.split("\n"))
    assert masks(["show", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["metadata"].items() >= changes.items()


def test_show_escapes_what_its_output_cannot_encode(run, monkeypatch):
    path = altered(run, "mask", {"classes": json.dumps(["é", "猫", "c"])})
    out = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr("sys.stdout", out)
    assert masks(["show", str(path)]) == 0
    out.flush()
    assert "é, \\u732b, c" in out.buffer.getvalue().decode("latin-1")


@pytest.mark.parametrize(
    "classes",
    [
        ["naïve", "日本\u3000語", "👩\u200d🔬"],
        ["a b", "a  b", "A b"],
        ["\xa0x", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "_"],
    ],
)
def test_names_of_all_languages_are_taken(run, classes):
    texts = {"classes": json.dumps(classes), "note": json.dumps("two\nlines\tof text")}
    assert task.load(altered(run, "mask", texts)).classes == tuple(classes)


@pytest.mark.parametrize("kind", ["bool", "int8", "uint16", "int64"])
@pytest.mark.parametrize(
    ("method", "name"),
    [("mask", "params/head/kernel"), ("bias", "params/fc1/bias"), ("lora", "low_rank/fc1/kernel/b"),
     ("linear_probe", "params/head/bias"), ("knn", "neighbours/features")],
)  # fmt: skip
def test_weights_of_whole_numbers_are_refused(run, method, name, kind):
    path = stored(run, method, lambda arrays: arrays.update({name: arrays[name].astype(kind)}))
    for use in (loaded, served, applied):
        with pytest.raises(InputError, match=r"altered.mask") as error:
            use(path)
        if method != "knn":
            assert f"{name!r} is of {kind}" in str(error.value)
    if method == "knn":
        with pytest.raises(InputError, match=f"features are of {kind}"):
            loaded(path)


def test_weights_of_any_width_and_half_precision_features_are_taken(run):
    def halve(arrays):
        for name in {"params/head/kernel", "neighbours/features"} & arrays.keys():
            arrays[name] = arrays[name].astype(np.float16)

    assert outcome(loaded, stored(run, "mask", halve))
    assert outcome(loaded, stored(run, "knn", halve))


def test_a_setting_or_array_by_its_old_name_and_its_new_one_is_refused(run, capsys):
    path = altered(run, "knn", {"neighbours": "3", "neighbors": "1"})
    with pytest.raises(InputError, match=r"altered.mask has the setting 'neighbors' twice"):
        loaded(path)
    assert masks(["show", str(path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)[0]["metadata"]
    assert (shown["neighbours"], shown["neighbors"]) == (3, 1)
    path = altered(run, "linear_probe", {"regularisation": "1", "regularization": "1"})
    for use in (loaded, served, applied):
        with pytest.raises(InputError, match="the setting 'regularization' twice"):
            use(path)

    def double(arrays):
        for name in [name for name in arrays if name.startswith("neighbo")]:
            leaf = name.split("/")[1]
            arrays[f"neighbors/{leaf}"] = arrays[name]

    with pytest.raises(InputError, match=r"altered.mask has the arrays 'neighbors' twice"):
        loaded(stored(run, "knn", double))


@pytest.mark.parametrize(
    ("stored_shape", "image_shape", "fits"),
    [
        ([1024, 1024, 3], [8, 8, 3], True),
        ([8, 8, 1], [1024, 1024, 1], True),
        ([28, 28, 1], [1024, 1024, 1], True),
        ([4096, 4096, 3], [224, 224, 3], True),
        ([6000, 4000, 3], [224, 224, 3], True),  # not square: nothing is resized to it
        (None, [224, 224, 3], True),
        ([4097, 4097, 3], [224, 224, 3], False),
        ([16384, 16384, 1], [8, 8, 1], False),
        ([2048, 2048, 1], [8, 8, 1], False),
        ([1024, 1024, 3], [8, 4, 3], False),
        (None, [8192, 8192, 1], False),
        ([8, 8, 1], [8192, 8192, 1], False),
        ([5000, 5000, 1], None, False),
    ],
)
def test_images_are_not_resized_to_absurd_sizes(stored_shape, image_shape, fits):
    given = {"stored_shape": stored_shape, "image_shape": image_shape}
    about = {name: shape for name, shape in given.items() if shape}
    if fits:
        return schema.check(about, Path("x.mask"))
    with pytest.raises(InputError, match=r"x.mask: .* pixels, too large for this network"):
        schema.check(about, Path("x.mask"))


@pytest.mark.parametrize("value", [-1e200, 1e39, np.inf])
def test_numbers_too_large_for_float32_are_refused_without_a_warning(run, value):
    def spoil(arrays):
        arrays["params/head/bias"] = np.full(3, value)

    path = stored(run, "mask", spoil)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match="'params/head/bias' is not finite"):
            task_file.read(path)


def test_numbers_that_json_lacks_are_shown_as_null(run, capsys):
    text = '{"loss": [1e999, -1e400, Infinity, -Infinity, NaN, 2.5]}'
    assert masks(["show", str(altered(run, "mask", {"metrics": text})), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found["metadata"]["metrics"] == {"loss": [None] * 5 + [2.5]}


@pytest.mark.parametrize("name", ["batch_stats/bn1/var", "batch_stats/var"])
def test_a_negative_variance_is_refused(name, tmp_path):
    leaf = np.array([1, 0, -1e-3], np.float32)
    with pytest.raises(InputError, match=f"x.mask: the variance '{name}' is negative"):
        schema.check_arrays(tree.nested({name: leaf}), Path("x.mask"))
    schema.check_arrays(tree.nested({name: abs(leaf)}), Path("x.mask"))
    others = {"params/bn1/var": leaf, "batch_stats/bn1/mean": leaf, "batch_stats/bn1/covar": leaf}
    schema.check_arrays(tree.nested(others), Path("x.mask"))


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"knn"}))
def test_a_file_that_says_it_is_of_neighbors_is_neither_applied_nor_exported(
    run, tmp_path, capsys, method
):
    path = altered(run, method, {"method": json.dumps("knn")})
    for command, out in (("apply", "a.safetensors"), ("export", "a.pth")):
        assert masks([command, str(path), f"--out={tmp_path / out}"]) == 2
        assert "classifies by nearest neighbors" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_merging_looks_at_what_the_files_say(run, tmp_path, capsys):
    path = altered(run, "mask", {"mean": json.dumps("x")})
    both = [str(path), str(BEFORE / "mask" / "masks" / "task.mask")]
    assert masks(["merge", *both, "--how=vote", f"--out={tmp_path}/m.mask"]) == 2
    assert "'mean' in its metadata is a text ('x')" in capsys.readouterr().err
