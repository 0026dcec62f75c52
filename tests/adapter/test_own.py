"""The user's own adapter and transform: trained, stored, shown, applied, served."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxmask import adapter, data, mask, task, tree
from jaxmask.adapter import Adapter, Method, Stored
from jaxmask.cli import masks as masks_cli
from jaxmask.cli import task as task_cli
from jaxmask.cli.run import main
from jaxmask.errors import InputError
from jaxmask.mask import MaskTransform
from jaxmask.run import defaults, seeds

CLASSES = (5, 6, 7)


def scaled_masks(rules):
    """Masks that add a learned scale per output channel: `w * m * exp(c)`."""
    transform = mask.threshold(rescale=False)

    def under(bits, weights, scales):
        return jax.tree.map(lambda m, w, c: w * m * jnp.exp(c), bits, weights, scales)

    def init(key, params):
        parts = tree.partition(params, tree.label(params, rules))
        scales = jax.tree.map(lambda w: jnp.zeros(w.shape[-1]), parts["mask"])
        scores = transform.init(key, parts["mask"])
        learned = {"scores": scores, "scales": scales, "train": parts["train"]}
        return learned, {"weights": parts["mask"], "freeze": parts["freeze"]}

    def parameters(learned, frozen):
        bits = transform.mask(learned["scores"])
        masked = under(bits, frozen["weights"], learned["scales"])
        return tree.combine(masked, learned["train"], frozen["freeze"])

    def store(learned, frozen):
        arrays = {"params": learned["train"], "scales": learned["scales"]}
        return Stored(transform.mask(learned["scores"]), arrays, {"flavor": "mine"})

    def restore(params, stored):
        assert stored.settings["flavor"] == "mine"
        params = tree.replaced(params, stored.arrays["params"])
        scales, bits = (tree.named_leaves(x) for x in (stored.arrays["scales"], stored.masks))
        return tree.replaced(
            params,
            tree.nested({
                path: leaf * jnp.asarray(bits[path], leaf.dtype) * jnp.exp(scales[path])
                for path, leaf in tree.named_leaves(params).items()
                if path in bits
            }),
        )  # fmt: skip

    def optimizers(section):
        weights = section.weights()
        return {"scores": section.scores(), "scales": weights, "train": weights}

    return Adapter(init, parameters, optimizers, store, restore)


def soft():
    """A transform that keeps a tenth of a weight whose mask is off."""
    hard = mask.threshold()

    def put(bits, weights):
        return jax.tree.map(lambda m, w: w * (0.1 + 0.9 * jnp.asarray(m, w.dtype)), bits, weights)

    return MaskTransform(hard.init, hard.mask, lambda s, w: put(hard.mask(s), w), put)


METHODS = {
    **adapter.METHODS,
    "scaled": Method(lambda section, site: scaled_masks([site.head, *site.rules]), {}),
    "soft": Method(lambda section, site: adapter.masks(soft(), [site.head, *site.rules]), {}),
}
ADAPTERS = {**adapter.KNOWN, "scaled": scaled_masks(()), "soft": adapter.masks(soft(), ())}


def config_file(folder):
    """A config with sections for the user's own methods."""
    path = folder / "own.py"
    path.write_text(
        "from ml_collections import ConfigDict\n"
        "from jaxmask.recipe import defaults\n\n\n"
        "def get_config():\n"
        "    config = defaults.adapt('digits', epochs=3)\n"
        "    config.start = 'random'\n"
        "    config.network.name, config.network.width = 'conv2', 0.25\n"
        f"    config.data.classes, config.data.validation = {CLASSES}, 0.2\n"
        "    config.methods = ('scaled', 'soft', 'mask')\n"
        "    for name in ('scaled', 'soft'):\n"
        "        train = defaults.train(3)\n"
        "        config[name] = ConfigDict({'train': train, 'tune': 'mask_learning_rate'})\n"
        "        config[name].choices = (20.0,)\n"
        "    config.mask.choices = (0.2,)\n"
        "    return config\n"
    )
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    arguments = [f"--config={config_file(folder)}", f"--workdir={folder / 'run'}"]
    assert main(arguments, methods=METHODS) == 0
    return folder / "run"


def result(folder):
    return json.loads((folder / "result.json").read_text())


def images():
    dataset = data.load("digits", classes=CLASSES, validation=0.2, seed=seeds.number(0, "data"))
    return dataset.test.images, dataset.test.labels


@pytest.mark.parametrize("name", ["scaled", "soft"])
def test_it_is_trained_compared_and_reproduces_its_accuracy(run, name):
    found = result(run)["methods"][name]
    assert found["accuracy"] > 0.8
    assert found["mask_bits"] > 0
    learned = task.load(run / name, adapters=ADAPTERS)
    x, labels = images()
    predicted = learned.logits(learned.variables, x).argmax(axis=-1)
    assert float((predicted == labels).mean()) == pytest.approx(found["accuracy"], abs=1e-6)


def test_its_scales_were_learned(run):
    stored = mask.file.read(run / "scaled" / "masks" / "task.mask").arrays["scales"]
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(stored))


@pytest.mark.parametrize("name", ["scaled", "soft"])
def test_commands_know_it_only_from_the_caller(run, tmp_path, capsys, name):
    file = run / name
    assert masks_cli.main(["show", str(file)]) == 0
    assert name in capsys.readouterr().out
    for command in (["apply", str(file), f"--out={tmp_path}/a.safetensors"],
                    ["export", str(file), f"--out={tmp_path}/e.safetensors"]):  # fmt: skip
        if command[0] == "export":
            continue  # conv2 has no PyTorch names
        assert masks_cli.main(command) == 2
        assert f"the adapter {name!r}, which is not known here" in capsys.readouterr().err
        assert masks_cli.main(command, ADAPTERS) == 0
    assert task_cli.main(["evaluate", str(file)]) == 2
    capsys.readouterr()
    given = ["evaluate", str(file), "digits", f"--out={tmp_path}"]
    assert task_cli.main(given, ADAPTERS) == 0
    told = json.loads((tmp_path / "evaluation.json").read_text())["accuracy"]
    assert told == pytest.approx(result(run)["methods"][name]["accuracy"], abs=0.1)


def test_it_is_served_with_others(run):
    names = ("scaled", "soft", "mask")
    served = task.serve([run / name for name in names], adapters=ADAPTERS)
    x, _ = images()
    numbers = np.arange(len(x)) % 3
    logits = served.serve(x, jnp.asarray(numbers))
    for number, name in enumerate(names):
        one = task.load(run / name, adapters=ADAPTERS)
        mine = np.flatnonzero(numbers == number)
        expected = one.logits(one.variables, x[mine])
        np.testing.assert_allclose(logits[mine], expected, rtol=1e-4, atol=1e-4)


def test_nothing_that_a_file_names_is_imported(run, monkeypatch):
    before = set(sys.modules)
    with pytest.raises(InputError, match="is not known here"):
        task.load(run / "scaled")
    assert set(sys.modules) == before


def test_a_restore_that_gives_another_network_is_refused(tmp_path, capsys):
    def forgetful(section, site):
        way = scaled_masks([site.head, *site.rules])
        return way._replace(restore=lambda params, stored: params)

    methods = {**METHODS, "scaled": Method(forgetful, {})}
    arguments = [f"--config={config_file(tmp_path)}", f"--workdir={tmp_path / 'run'}",
                 "--config.methods=('scaled',)"]  # fmt: skip
    assert main(arguments, methods=methods) == 2
    assert "restore does not give back" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run" / "scaled" / "result.json").exists()


def test_a_transform_that_cannot_put_masks_back_is_refused(tmp_path, capsys):
    def lacking(section, site):
        return adapter.masks(soft()._replace(put=None), [site.head, *site.rules])

    methods = {**METHODS, "soft": Method(lacking, {})}
    arguments = [f"--config={config_file(tmp_path)}", f"--workdir={tmp_path / 'run'}",
                 "--config.methods=('soft',)"]  # fmt: skip
    assert main(arguments, methods=methods) == 2
    assert "no 'put'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_optimizer_that_ignores_the_choices_is_refused(tmp_path, capsys):
    import optax

    def deaf(section, site):
        way = scaled_masks([site.head, *site.rules])
        groups = ("scores", "scales", "train")
        return way._replace(optimizers=lambda section: dict.fromkeys(groups, optax.sgd(0.1)))

    methods = {**METHODS, "scaled": Method(deaf, {})}
    arguments = [f"--config={config_file(tmp_path)}", f"--workdir={tmp_path / 'run'}",
                 "--config.methods=('scaled',)"]  # fmt: skip
    assert main(arguments, methods=methods) == 2
    assert "no optimizer of this method takes 'mask_learning_rate'" in capsys.readouterr().err


def test_a_method_needs_only_its_config_section():
    config = defaults.adapt("digits", 1)
    assert {"full", "mask", "lora", "knn"} <= set(config.keys())
    assert isinstance(config.mask, ConfigDict)
