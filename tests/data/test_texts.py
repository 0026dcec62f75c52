import numpy as np
import pytest
import texts

from jaxmask import data
from jaxmask.data import tokenizer
from jaxmask.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return texts.folder(tmp_path_factory.mktemp("texts"), train=50, test=20)


@pytest.fixture(scope="module")
def mine(folder):
    return tokenizer.read(folder / "vocab.txt")


def told(split, mine):
    return {mine.library.decode(row): int(label) for row, label in zip(*split)}


def test_splits(folder, mine):
    found = data.load_texts(f"text:{folder}", mine, validation=0.2)
    assert found.classes == ("animal", "tool")
    assert found.tokenizer is mine
    assert [len(split.labels) for split in found[1:4]] == [40, 10, 20]
    assert {split.images.shape[1] for split in found[1:4]} == {16}
    assert found.train.images.dtype == np.int32
    labels, sentences = texts.sentences(20, 1)
    ids = tokenizer.encode(mine, sentences, 16).ids
    np.testing.assert_array_equal(found.test.images, ids)
    assert found.test.labels.tolist() == [int(label == "tool") for label in labels]
    again = data.load_texts(f"text:{folder}", mine, validation=0.2, seed=1)
    assert not np.array_equal(again.train.images, found.train.images)
    few = data.load_texts(f"text:{folder}", mine, share=0.2, classes=(1, 0), validation=0)
    assert len(few.train.labels) == 10
    assert few.classes == ("tool", "animal")


def test_all_splits_are_as_long(folder, mine, tmp_path, caplog):
    long = " ".join(["the"] * 40)
    for name in ("train", "test"):
        (tmp_path / f"{name}.tsv").write_text((folder / f"{name}.tsv").read_text())
    with (tmp_path / "test.tsv").open("a") as file:
        file.write(f"tool\t{long}\n")
    found = data.load_texts(f"text:{tmp_path}", mine)
    assert {split.images.shape[1] for split in found[1:4]} == {64}
    assert not caplog.records
    found = data.load_texts(f"text:{tmp_path}", mine, tokens=30)
    assert {split.images.shape[1] for split in found[1:4]} == {32}
    assert (found.test.images[-1] != 0).sum() == 30
    assert "1 of 71 texts were longer than 30 tokens, and cut" in caplog.text


def test_a_fifth_is_tested_on_where_there_is_no_other_file(folder, mine, tmp_path):
    lines = (folder / "train.tsv").read_text().splitlines()
    (tmp_path / "train.tsv").write_text("\n".join(lines) + "\n")
    found = data.load_texts(f"text:{tmp_path}", mine, validation=0)
    assert [len(split.labels) for split in found[1:4]] == [40, 0, 10]
    (tmp_path / "train.tsv").write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    again = data.load_texts(f"text:{tmp_path}", mine, validation=0)
    assert told(again.test, mine) == told(found.test, mine)
    split, classes = data.load_texts_split(f"text:{tmp_path}", "test", mine, tokens=16, row=16)
    np.testing.assert_array_equal(split.images, again.test.images)
    np.testing.assert_array_equal(split.labels, again.test.labels)
    assert classes == ("animal", "tool")


def test_refusals(folder, mine):
    with pytest.raises(InputError, match="is not of texts; give text:FOLDER"):
        data.load_texts("digits", mine)
    with pytest.raises(InputError, match=r"use data\.load_texts"):
        data.load(f"text:{folder}")
    with pytest.raises(InputError, match="has no split 'validation'"):
        data.load_texts_split(f"text:{folder}", "validation", mine, tokens=16)
    with pytest.raises(InputError, match="at least two classes"):
        data.load_texts(f"text:{folder}", mine, classes=(1,))
