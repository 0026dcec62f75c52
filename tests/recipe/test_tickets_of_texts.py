"""Tickets of sentences and of masked language modelling, in one small encoder."""

import json

import numpy as np
import pytest
import texts
from ml_collections import ConfigDict

from jaxmask import maskfile, recipe
from jaxmask.run import defaults

NAMES = ("query", "key", "value", "out", "fc1", "fc2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = texts.folder(tmp_path_factory.mktemp("texts"), train=60, test=20)
    texts.paragraphs(folder / "words.txt", count=20)
    return folder


def test_a_body_is_shared_by_classes_and_words(folder, tmp_path, without_figures):
    made = defaults.tickets("", epochs=1, learning_rate=0.01)
    made.network.name, made.network.width, made.start = "bert_tiny", 1 / 16, "random"
    made.data.tokenizer, made.data.tokens, made.data.validation = str(folder), 16, 0.2
    made.train.batch_size, made.train.optimizer = 8, "adam()"
    made.density, made.rounds, made.one_shot = 0.5, 1, ()
    made.tasks = ConfigDict(
        {"kind": {"name": f"text:{folder}"}, "words": {"name": f"mlm:{folder / 'words.txt'}"}}
    )
    recipe.run(made, tmp_path / "run")
    cells = json.loads((tmp_path / "run" / "result.json").read_text())["cells"]
    assert len(cells) == 2 * 3
    assert all(0 <= cell["accuracy"] <= 1 for cell in cells)
    bases = set()
    for name in ("ticket_kind", "ticket_words"):
        read = maskfile.read(tmp_path / "run" / "masks" / f"{name}.mask")
        assert set(read.masks) == {"block0", "block1"}  # neither head
        bits = [leaf for block in read.masks.values() for layer in block.values()
                for leaf in layer.values()]  # fmt: skip
        assert len(bits) == 2 * len(NAMES)
        size = sum(leaf.size for leaf in bits)
        assert sum(int(np.sum(leaf)) for leaf in bits) == size - size // 2
        bases.add(read.base)
    assert len(bases) == 1
