"""Whole experiments on small made texts."""

import csv
import json

import numpy as np
import pytest
import texts

from jaxmask import recipe, task
from jaxmask.cli.masks import main as masks
from jaxmask.cli.task import main
from jaxmask.run import defaults

WIDTH = 1 / 16


def config(folder, name="adapt", epochs=6, **changes):
    made = getattr(defaults, name)(f"text:{folder}", epochs)
    made.network.name, made.network.width = "bert_tiny", WIDTH
    made.data.tokenizer, made.data.validation = str(folder), 0.25
    made.start = "random"
    if name == "adapt":
        made.methods = ("full", "mask", "knn")
        made.full.choices, made.full.train.optimizer = (0.01,), "adam()"
        made.mask.choices, made.knn.choices = (0.02,), (5,)
        for method in ("full", "mask"):
            made[method].train.batch_size = 20
    else:
        made.train.batch_size = 20
        made.train.optimizer, made.train.learning_rate = "adam()", 0.01
    for field, value in changes.items():
        made.update_from_flattened_dict({field.replace("__", "."): value})
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return texts.folder(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def adapted(folder, tmp_path_factory, without_figures):
    run = tmp_path_factory.mktemp("run") / "adapt"
    told = []
    recipe.run(config(folder), run, told.append)
    assert "steps of 20 texts" in told[0]
    return run


def result(folder):
    return json.loads((folder / "result.json").read_text())


def test_methods_learn(adapted):
    found = result(adapted)["methods"]
    assert found["full"]["accuracy"] > 0.8  # 0.5 by chance
    assert found["mask"]["mask_bits"] == 2 * 8 * (4 * 8 + 2 * 32)  # attention and MLP kernels
    assert found["mask"]["storage_bytes"] < found["full"]["storage_bytes"]


@pytest.mark.parametrize("method", ["full", "mask", "knn"])
def test_a_stored_task_is_the_one_that_was_tested(adapted, folder, method, tmp_path, capsys):
    learned = task.load(adapted / method)
    assert learned.classes == ("animal", "tool")
    assert main(["evaluate", str(adapted / method), f"--out={tmp_path}"]) == 0
    assert "of 60 texts" in capsys.readouterr().out
    told = json.loads((tmp_path / "evaluation.json").read_text())
    assert told["accuracy"] == pytest.approx(result(adapted / method)["accuracy"])
    labels, sentences = texts.sentences(60, 1)
    (tmp_path / "new.txt").write_text("\n".join(sentences))
    assert main(["predict", str(adapted / method), str(tmp_path / "new.txt")]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["text"] for row in rows] == sentences
    right = np.mean([row["class"] == label for row, label in zip(rows, labels)])
    assert right == pytest.approx(told["accuracy"])


def test_a_stored_task_wants_its_own_tokenizer(adapted, tmp_path, capsys):
    other = texts.vocabulary(tmp_path / "other", texts.WORDS[:-1])
    given = [str(adapted / "mask"), f"--tokenizer={other}"]
    assert main(["evaluate", *given]) == 2
    assert "is another tokenizer than the weights were trained with" in capsys.readouterr().err
    same = texts.vocabulary(tmp_path / "same")
    assert main(["evaluate", *given[:1], f"--tokenizer={same}"]) == 0
    assert main(["predict", given[0], str(tmp_path / "a.png")]) == 2
    assert "is no file of texts" in capsys.readouterr().err


def test_several_tasks_are_served_together(adapted):
    served = task.serve([adapted / "mask", adapted / "full"])
    ids = task.load(adapted / "mask")
    rows = np.array([[2, 5, 9, 3] + [0] * 12, [2, 10, 3] + [0] * 13], np.int32)
    found = np.asarray(served.serve(rows, np.array([0, 0])))
    np.testing.assert_allclose(found, ids.logits(ids.variables, rows), rtol=1e-4, atol=1e-5)


def test_adapted_weights_start_another_run(adapted, folder, tmp_path):
    out = tmp_path / "w.safetensors"
    assert masks(["apply", str(adapted / "mask" / "masks" / "task.mask"), f"--out={out}"]) == 0
    begin = recipe.prepare(config(folder, "dense", start=str(out), data__tokenizer=""))
    assert len(begin.planned) == 1


def test_a_lottery(folder, tmp_path):
    changes = {"density": 0.5, "rounds": 1, "criterion": "snip", "rewind_step": 2}
    changes["scoring__examples_per_class"] = 4
    recipe.run(config(folder, "lottery", epochs=1, **changes), tmp_path / "run")
    found = result(tmp_path / "run")
    assert found["density"] == pytest.approx(0.5, abs=1e-3)
    assert found["accuracy"] > 0.3


def test_pairs_and_pretraining(tmp_path, without_figures):
    """On pairs, from weights that the run pretrains; rows of two texts have types of their own."""
    folder = texts.folder(tmp_path / "pairs", train=80, test=20, pair=True)
    made = config(folder, epochs=1, start="pretrain", methods=("mask",))
    made.pretrain.train.batch_size = 20
    recipe.run(made, tmp_path / "run")
    assert result(tmp_path / "run")["pretraining_accuracy"] > 0.2
    learned = task.load(tmp_path / "run")
    assert learned.module.separator == 3
    rows = np.array([[2, 5, 3, 6, 3, 0], [2, 5, 3, 9, 3, 0]], np.int32)
    assert learned.logits(learned.variables, rows).shape == (2, 2)
