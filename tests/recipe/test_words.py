"""Masked language modelling, whole."""

import json

import numpy as np
import pytest
import texts

from jaxmask import data, model, recipe, task
from jaxmask.data import tokenizer
from jaxmask.errors import InputError
from jaxmask.model import weights
from jaxmask.run import defaults, starting
from jaxmask.train.records import read_records


def config(folder, name="dense", epochs=1, start="random", **changes):
    made = getattr(defaults, name)(f"mlm:{folder / 'a.txt'}", epochs)
    made.network.name, made.network.width = "bert_tiny", 1 / 8
    made.data.tokenizer, made.data.tokens, made.start = str(folder), 32, start
    for section in (made, made.get("mask"), made.get("full")):
        if section is not None and "train" in section:
            section.train.batch_size, section.train.optimizer = 8, "adam()"
            section.train.learning_rate = 0.01
    for field, value in changes.items():
        made.update_from_flattened_dict({field.replace("__", "."): value})
    return made


def result(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    texts.paragraphs(folder / "a.txt")
    texts.vocabulary(folder)
    return folder


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory, without_figures):
    run = tmp_path_factory.mktemp("run") / "dense"
    recipe.run(config(folder, epochs=12), run)
    return run


def test_words_are_learned(trained):
    """A row tells its words, of eight."""
    found = result(trained)
    assert found["accuracy"] > 0.4
    records = read_records(trained)
    test = next(each for each in records if each["split"] == "test")
    assert found["perplexity"] == pytest.approx(np.exp(test["loss"])) == pytest.approx(
        test["perplexity"]
    )  # fmt: skip
    losses = [each["loss"] for each in records if each["split"] == "train"]
    assert losses[-1] < 0.75 * losses[0]
    assert losses[0] < 1.3 * np.log(len(texts.WORDS))


def test_the_loss_is_the_mean_over_the_words_that_are_counted(trained, folder):
    """The numbers of the test split again, by NumPy."""
    variables, about = weights.load(trained)
    module = model.create("bert_tiny", classes=1, width=1 / 8, **about["options"])
    assert "kernel" not in variables["params"]["head"]
    own = tokenizer.read(folder / "vocab.txt")
    rows = data.load_words(f"mlm:{folder / 'a.txt'}", own, tokens=32).test.images
    blanks = data.blanks(own)(None, rows)
    logits = np.asarray(module.apply(variables, blanks.ids), np.float64)
    logits = np.take_along_axis(logits, np.asarray(blanks.places)[..., None], 1)
    nats = np.log(np.exp(logits).sum(-1))
    nats -= np.take_along_axis(logits, np.asarray(blanks.words)[..., None], -1)[..., 0]
    counted = np.asarray(blanks.counted)
    test = next(each for each in read_records(trained) if each["split"] == "test")
    assert test["loss"] == pytest.approx(nats[counted].mean(), rel=1e-5)
    right = (logits.argmax(-1) == np.asarray(blanks.words))[counted]
    assert test["accuracy"] == pytest.approx(right.mean())


def test_a_mask_over_the_trained_network(trained, folder, tmp_path):
    """It keeps the head for words, and trains it; the embeddings stay."""
    made = config(folder, "adapt", start=str(trained), methods=("mask",), mask__choices=(0.02,))
    recipe.run(made, tmp_path / "run")
    found = result(tmp_path / "run")
    assert found["accuracy"] > 0.2
    own = result(tmp_path / "run" / "mask")
    assert own["perplexity"] < len(texts.WORDS)
    assert own["mask_bits"] == 2 * 16 * (4 * 16 + 2 * 64)
    with pytest.raises(InputError, match="predicts masked words, not classes; jaxmask masks apply"):
        task.load(tmp_path / "run")
    made.methods = ("knn",)
    with pytest.raises(InputError, match="knn is of classes, and the network predicts words"):
        recipe.prepare(made)


def test_a_ticket_of_words(folder, tmp_path):
    changes = {"density": 0.5, "rounds": 1, "criterion": "snip"}
    recipe.run(config(folder, "lottery", **changes), tmp_path / "run")
    found = result(tmp_path / "run")
    assert found["density"] == pytest.approx(0.5, abs=1e-3)
    assert found["effective_density"] == pytest.approx(0.5, abs=0.1)
    assert found["perplexity"] < 2 * len(texts.WORDS)


def test_texts_start_from_words_and_words_from_texts(trained, folder, tmp_path, caplog):
    texts.folder(tmp_path / "texts", train=40, test=10)
    made = config(
        folder,
        data__name=f"text:{tmp_path / 'texts'}",
        head="new",
        recipe="prune",
        start=str(trained),
    )
    made.data.tokenizer = ""
    found, start = starting.task_of(made)
    assert (found.module.mlm, start.head) == (False, False)
    assert "leaves out head" in caplog.text
    variables = starting.starting_variables(found, start, starting.named_key(0, "a"))
    assert variables["params"]["head"]["kernel"].shape == (16, 2)
    about = starting.tasks.about_network(made.network, found)
    weights.save(tmp_path / "w.safetensors", variables, about)
    found, start = starting.task_of(
        config(folder, head="new", name="prune", start=str(tmp_path / "w.safetensors"))
    )
    assert (found.module.mlm, start.head) == (True, False)
    head = starting.starting_variables(found, start, starting.named_key(0, "a"))["params"]["head"]
    assert set(head) == {"bias", "dense", "norm"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__classes": (0,)}, "data.classes: mlm:.* has no classes but words"),
        ({"network__name": "lenet5"}, "lenet5 reads images"),
        ({"network__name": "some_package.networks:Net"}, "has no head for words"),
    ],
)
def test_refusals(changes, message, folder):
    with pytest.raises(InputError, match=message):
        starting.task_of(config(folder, **changes))
