"""The command line: overrides, and one line for each mistake, before anything is trained."""

import errno
import json

import pytest

from jaxmask.cli import run as command_line
from jaxmask.cli.run import main, parse
from jaxmask.errors import InputError

QUICK = (
    "--config.network.width=0.125", "--config.pretrain.train.epochs=2",
    "--config.full.train.epochs=2", "--config.mask.train.epochs=2",
)  # fmt: skip


def refused(capsys, *arguments):
    """The one-line error of the command for these arguments."""
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("jaxmask: ")
    assert error.count("\n") == 1
    return error


def test_any_field_is_overridden_by_its_name():
    config, folder = parse(
        ["--config=digits", "--config.seed=7", "--config.data.classes=(1, 2)",
         "--config.data.flip=true", "--config.mask.choices=(1.0, 2.0)", "--config.start=random",
         "--workdir=/tmp/x"]
    )  # fmt: skip
    assert (config.seed, config.data.classes, config.data.flip) == (7, (1, 2), True)
    assert config.mask.choices == (1.0, 2.0)
    assert config.start == "random"
    assert str(folder) == "/tmp/x"


def test_flags_are_written_as_absl_and_ml_collections_write_them():
    config, folder = parse(
        ["--config.seed", "7", "--workdir", "x", "-config.data.share", "0.5", "--config", "digits",
         "--config.data.flip", "--config.data.classes=5", "--config.data.classes", "6",
         "--config.methods=mask", "--config.network.name='lenet5'", "--config.data.mean=0.1,0.2"]
    )  # fmt: skip
    assert (config.seed, config.data.share, config.data.flip) == (7, 0.5, True)
    assert (config.data.classes, config.methods, config.data.mean) == (
        (5, 6),
        ("mask",),
        (0.1, 0.2),
    )
    assert config.network.name == "'lenet5'"  # a text is taken as it is
    assert str(folder) == "x"
    assert parse(["--config=cifar10", "--noconfig.data.flip"])[0].data.flip is False
    assert parse(["--config=cifar10", "--config.data.flip=0"])[0].data.flip is False
    assert parse(["--config=digits", "--config.seed=1", "--config.seed=2"])[0].seed == 2


def test_flags_are_read_from_a_file(tmp_path):
    (tmp_path / "flags").write_text("--config=digits\n# mine\n--config.seed=3\n--workdir=x\n")
    config, folder = parse([f"--flagfile={tmp_path / 'flags'}"])
    assert (config.seed, str(folder)) == (3, "x")


def test_a_list_is_left_to_the_file(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(
        "from jaxmask.recipe import defaults\n"
        "def get_config():\n"
        "    c = defaults.dense('digits', 1)\n    c.own = [1]\n    c.none = None\n    return c\n"
    )
    for field, kind in (("own", "list"), ("none", "NoneType")):
        told = refused(capsys, f"--config={path}", f"--config.{field}=2")
        assert f"config.{field} is of type {kind}, which only the config's file can set" in told


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("digits", "runs/digits"),
        ("configs/digits.py", "runs/digits"),
        ("mnist:supermask", "runs/mnist-supermask"),
        ("configs/mnist.py:dense", "runs/mnist-dense"),
    ],
)
def test_a_config_is_found_by_name_or_file_from_anywhere(name, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(parse([f"--config={name}"])[1]) == folder


def test_your_own_file_can_be_a_config(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from jaxmask.recipe import defaults\n"
        "def get_config(mode=''):\n"
        "    config = defaults.dense('digits', 3)\n"
        "    config.seed = 5\n"
        "    return config\n"
    )
    assert parse([f"--config={path}"])[0].seed == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --config=NAME"),
        (["--config=digit"], "did you mean 'digits'"),
        (["--config=nowhere/digits.py"], "there is no config 'nowhere/digits.py' (no such file)"),
        (["--config=folder"], "a file or the run directory of a training"),
        (["--config=mnist:sparse"], "its modes are dense, supermask"),
        (["--config=digits", "--config.sede=1"], "no field 'sede'; did you mean 'seed'"),
        (["--config=digits", "--config.data.nam=x"], "did you mean 'data.name'"),
        (["--config=digits", "--config.seed=one"], "must be a whole number"),
        (["--config=digits", "--config.seed=1.5"], "must be a whole number"),
        (["--config=digits", "--config.data.flip=maybe"], "must be true or false"),
        (["--config=digits", "--config.data.share=half"], "must be a number"),
        (["--config=digits", "--config.data.classes=(1, 2"], "must be a tuple"),
        (["--config=digits", "--config.data.classes=[f(1)]"], "must be a tuple"),
        (["--config=digits", f"--config.mean={'(' * 30}"], "no field 'mean'; did you mean"),
        (["--config=digits", f"--config.data.mean={'[' * 30 + ']' * 30}"], "more than 20 brackets"),
        (["--config=digits", "--config.data.mean=(1" + "0" * 30 + ",)"], "more than 64 bits"),
        (["--config=digits", "--config.data.classes=abc"], "'abc' is not a class"),
        (["--config=digits", "--config.data.classes=3"], "nothing to tell apart"),
        (["--config=digits", "--config.data={'name': 'mnist'}"], "config.data is a section"),
        (["--config=digits", "--config.seed"], "--config.seed needs a value"),
        (["--config"], "--config needs a value"),
        (["--config=digits", "--noconfig.seed"], "--noconfig.seed sets a flag to false"),
        (["--config=digits", "--noconfig.data.flip=true"], "and takes no value"),
        (["--config=digits", "--noconfig.data.flap"], "no field 'data.flap'; did you mean"),
        (["--config=digits", "--config.data.flip", "maybe"], "unknown argument 'maybe'"),
        (["--config=digits", "--", "--config.seed=1"], "unknown argument '--'"),
        (["--config=digits", "-config.sed=1"], "did you mean 'seed'"),
        (["--config.seed=1"], "give --config=NAME"),
        (["--config=digits", "--workdr=x"], "did you mean 'workdir'"),
        (["--config=digits", "more"], "unknown argument 'more'"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(capsys, arguments, message):
    assert message in refused(capsys, *arguments)


def test_an_error_in_a_config_file_names_the_file(capsys, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def get_config():\n    return 1 / 0\n")
    assert "mine.py: division by zero" in refused(capsys, f"--config={path}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("recipe=adpt", "did you mean 'adapt'"),
        ("network.name=conv3", "no network 'conv3'"),
        ("network.width=0", "width"),
        ("network.stem=cifar", "has no option 'stem'"),
        ("network.compute_dtype=int8", "compute_dtype"),
        ("data.name=mnits", "did you mean"),
        ("data.classes=(5, 12)", "12"),
        ("data.classes=(0, True)", "True is not a class"),
        ("data.classes=(7,)", "classes is (7,): nothing to tell apart; at least two classes"),
        ("data.share=0.0", "share"),
        ("data.share=1.5", "share"),
        ("data.validation=0.0", "set data.validation above 0"),
        ("data.validation=0.0001", "none of the 672 training images of 5 classes is held out"),
        ("data.validation=-1.0", "data.validation"),
        ("data.mean=(0.5,)", "give both data.mean and data.std"),
        ("start=nowhere", "there are no weights at nowhere"),
        ("start=", "give --config.start=PATH"),
        ("methods=('mask', 'fll')", "unknown method 'fll'; did you mean 'full'"),
        ("methods=()", "config.methods is empty"),
        ("methods=('mask', 'mask')", "names a method twice"),
        ("mask.choices=(1.0,)", "the same number of choices"),
        ("mask.transform=treshold()", "did you mean 'threshold'"),
        ("mask.transform=top_k(1.5)", "density"),
        ("mask.transform=top_k(0.5, scope='all')", "scope"),
        ("mask.transform=threshold(rescale='live')", "rescale"),
        ("mask.transform=constant(1.0)", "a part of one"),
        ("mask.rules=(('conv9/kernel', 'mask'),)", "conv9/kernel"),
        ("mask.rules=(('.*/kernel', 'masked'),)", "masked"),
        ("mask.rules=(('.*/bias', 'freeze'),)", "mask nothing"),
        ("mask.head=frozen", "mask.head"),
        ("mask.trainable_share=0.0", "trainable_share"),
        ("mask.trainable_by=size", "trainable_by"),
        ("mask.tune=epochs", "mask.tune"),
        ("mask.train.mask_optimizer=sdg", "did you mean 'sgd'"),
        ("mask.train.schedule=cosine(warmup_epochs=99)", "warm-up"),
        ("mask.train.epochs=0", "train.epochs"),
        ("mask.train.batch_size=100000", "more than the"),
        ("mask.train.select=test", "train.select"),
        ("mask.train.label_smoothing=1.0", "label_smoothing"),
        ("linear_probe.choices=(-1.0, 0.1, 0.2, 0.3)", "of at least 0"),
        ("linear_probe.choices=('a', 0.1, 0.2, 0.3)", "'a'; give a finite number"),
        ("linear_probe.iterations=0", "linear_probe.iterations"),
        ("full.choices=(0.1, 0.1, 0.2, 0.3)", "a value twice"),
        ("methods=(1,)", "unknown method 1"),
        ("data.mean=('a',)", "give both"),
        ("data.validation=1.5", "data.validation"),
        ("mask.transform=top_k()", "density"),
        ("mask.transform=threshold(init=3)", "mask.transform"),
        ("mask.transform=threshold(init=shuffled())", "shuffled"),
        ("mask.train.mask_optimizer=lbfgs", "lbfgs"),
        ("mask.train.mask_optimizer=sgd(momentum='a')", "sgd"),
        ("mask.train.patience=-1", "mask.train.patience"),
        ("pretrain.train.schedule=cosin", "did you mean 'cosine'"),
        ("pretrain.train.batch_size=4096", "more than the"),
        ("seed=-1", "seed is -1"),
    ],
)
def test_an_invalid_config_is_refused_before_anything_is_created(
    capsys, tmp_path, override, message
):
    folder = tmp_path / "run"
    error = refused(capsys, "--config=digits", f"--workdir={folder}", f"--config.{override}")
    assert message in error
    assert not folder.exists()


def test_weights_of_another_network_are_refused(capsys, tmp_path):
    assert main(["--config=digits", f"--workdir={tmp_path / 'a'}", *QUICK,
                 "--config.methods=('linear_probe',)"]) == 0  # fmt: skip
    capsys.readouterr()
    error = refused(
        capsys, "--config=digits", f"--workdir={tmp_path / 'b'}", *QUICK,
        f"--config.start={tmp_path / 'a' / 'pretrain'}", "--config.network.width=0.25",
    )  # fmt: skip
    assert "do not fit the network" in error
    assert not (tmp_path / "b").exists()


def test_dense_refuses_rules_that_train_nothing(capsys, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from jaxmask.recipe import defaults\n"
        "def get_config():\n    return defaults.dense('digits', 1)\n"
    )
    error = refused(capsys, f"--config={path}", f"--workdir={tmp_path / 'run'}",
                    "--config.rules=(('.*', 'freeze'),)")  # fmt: skip
    assert "the rules must say 'train' or 'freeze'" in error


def test_the_directory_of_another_run_is_unchanged(capsys, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"recipe": "dense"}))
    error = refused(capsys, "--config=digits", f"--workdir={tmp_path}")
    assert "holds a run of another config" in error
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_full_disk_is_one_line_and_status_one(capsys, tmp_path, monkeypatch):

    from jaxmask import files

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    monkeypatch.setattr(files, "replace", full)
    assert main(["--config=digits", f"--workdir={tmp_path / 'run'}"]) == 1
    error = capsys.readouterr().err
    assert "No space left on device" in error
    assert "fix this and rerun" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run" / "config.json").exists()


def test_every_config_of_the_package_can_be_read():
    assert {"digits", "mnist", "cifar10", "cifar100"} <= set(command_line.names())
    for name in command_line.names():
        parse([f"--config={name}"])


@pytest.mark.parametrize(
    ("backend", "mode", "network"),
    [("cpu", "cpu", "resnet20"), ("gpu", "accelerator", "resnet18"),
     ("tpu", "accelerator", "resnet18")],
)  # fmt: skip
def test_half_of_cifar100_then_the_other_sized_to_the_machine(backend, mode, network, monkeypatch):
    monkeypatch.setattr("jax.default_backend", lambda: backend)
    source = "--config.data.name=hf:uoft-cs/cifar100#fine_label"
    config, folder = parse(["--config=cifar100", source])
    assert (config.network.name, str(folder)) == (network, "runs/cifar100")
    assert config.start == "pretrain"
    assert config.pretrain.data.name == ""  # the same other source
    first, second = set(config.pretrain.data.classes), set(config.data.classes)
    assert (len(first), len(second), len(first | second)) == (50, 50, 100)
    named, _ = parse([f"--config=cifar100:halves_{mode}", source])
    either, _ = parse(["--config=cifar100:halves", source])
    assert config.to_json() == named.to_json() == either.to_json()


def test_resolving_names_the_nearest_config():
    with pytest.raises(InputError, match="did you mean 'cifar100'"):
        command_line.resolve("cifar1000")


def test_a_working_directory_that_is_a_file_is_one_line(capsys, tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    assert main(["--config=digits", f"--workdir={path}"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["--config=digits", f"--workdir={path / 'below'}"]) == 1


@pytest.mark.parametrize("content", ["", "[1]", "{}", "{"])
def test_an_invalid_result_is_refused(capsys, tmp_path, content):
    config, _ = parse(["--config=digits"])
    (tmp_path / "config.json").write_text(config.to_json())
    (tmp_path / "result.json").write_text(content)
    assert "delete the run directory" in refused(capsys, "--config=digits", f"--workdir={tmp_path}")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise SystemExit(3)", "it calls sys.exit(3); remove that"),
        ("import sys\ndef get_config(): sys.exit('bye')", "it calls sys.exit('bye'); remove that"),
        ("def get_config(): exit()", "it calls sys.exit(); remove that"),
        ("class Own(BaseException): pass\ndef get_config(): raise Own('no\\ndata')", "no"),
        ("def get_config(): raise GeneratorExit", "GeneratorExit"),
        ("def get_config(): return None", "get_config returned a NoneType, not a ConfigDict"),
        ("def get_config(): return {'recipe': 'dense'}", "returned a dict, not a ConfigDict"),
    ],
)
def test_what_a_config_does_instead_of_giving_one_is_told(code, message, tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(code)
    told = refused(capsys, f"--config={path}", f"--workdir={tmp_path / 'run'}")
    assert told.startswith(f"jaxmask: config {path}: ")
    assert told.endswith(f"{message}\n")
    assert not (tmp_path / "run").exists()


def test_ctrl_c_in_a_config_is_not_its_fault(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text("raise KeyboardInterrupt")
    assert main([f"--config={path}", f"--workdir={tmp_path / 'run'}"]) == 130
    assert "stopped by SIGINT" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("knn.extra", "object()"),
        ("data.note", "{1, 2}"),
        ("extra", "(1, (b'x',))"),
        ("train_on", "__import__('numpy').float32(1)"),
        ("table", "(({(1, 2): 3},),)"),
    ],
)
def test_a_field_that_no_file_can_hold_is_named(field, value, tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(
        "from jaxmask.recipe import defaults\n"
        "def get_config():\n"
        "    c = defaults.adapt('digits', 1)\n"
        f"    c.{field} = {value}\n"
        "    return c\n"
    )
    told = refused(capsys, f"--config={path}", f"--workdir={tmp_path / 'run'}")
    assert f"config {path}: the field '{field}' " in told
    assert not (tmp_path / "run").exists()


def test_a_frozen_config_can_be_overridden(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from ml_collections import FrozenConfigDict\n"
        "from jaxmask.recipe import defaults\n"
        "def get_config(): return FrozenConfigDict(defaults.dense('digits', 1))\n"
    )
    config, _ = parse([f"--config={path}", "--config.train.epochs=4"])
    assert config.train.epochs == 4


def test_a_network_that_ends_the_process_is_no_success(tmp_path, capsys, monkeypatch):
    (tmp_path / "rude_networks.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    told = refused(
        capsys, "--config=digits", "--config.network.name=rude_networks:Net",
        f"--workdir={tmp_path / 'run'}",
    )  # fmt: skip
    assert "sys.exit()" in told


def test_a_run_above_the_runs_of_a_sweep_is_refused(tmp_path, capsys):
    point = tmp_path / "grid" / "seed=1"
    point.mkdir(parents=True)
    (point / "config.json").write_text('{"recipe": "dense"}')
    (point / "result.json").write_text('{"accuracy": 0.5}')
    told = refused(capsys, "--config=digits", f"--workdir={tmp_path / 'grid'}")
    assert f"{tmp_path / 'grid'} holds other runs, such as seed=1" in told
    assert not (tmp_path / "grid" / "config.json").exists()
