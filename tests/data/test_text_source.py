import pytest

from jaxmask.data import text_source
from jaxmask.errors import InputError

TRAIN = b"label\ttext\nb\tone\na\ttwo\n"


def made(folder, **files):
    for name, content in files.items():
        (folder / f"{name}.tsv").write_bytes(content)
    return folder


def test_rows(tmp_path):
    content = '\ufefflabel\tsentence\r\nb\t"a \u2028quoted" one\r\n\r\na\té\x0b \u85fb\n'.encode()
    found = text_source.find(str(made(tmp_path, train=content)))
    train = found.parts["train"]
    assert found.classes == ("a", "b")
    assert train.texts == ['"a \u2028quoted" one', "é\x0b 藻"]
    assert train.labels.tolist() == [1, 0]
    assert [place.rpartition(" line ")[2] for place in train.places] == ["2", "4"]


def test_splits_by_other_names_and_pairs(tmp_path):
    pair = b"label\tpremise\thypothesis\n0\ta\tb\n1\tc\td\n"
    found = text_source.find(str(made(tmp_path, train=pair, dev=b"ignored", val=pair, test=pair)))
    assert found.splits == ("train", "validation", "test")
    assert found.parts["validation"].texts == [("a", "b"), ("c", "d")]
    taken = text_source.taken(found, ("train", "validation"))
    assert len(taken.texts) == len(taken.labels) == 4
    with pytest.raises(InputError, match="has no split 'dev', only 'train', 'validation', 'test'"):
        text_source.taken(found, ("dev",))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["10", "9", "x"], ("10", "9", "x")),
        (["B", "a", "Ä"], ("B", "a", "Ä")),
        (["1.5", "10.0"], ("1.5", "10.0")),
        (["2", "02"], ("02", "2")),
    ],
)
def test_order_of_classes(labels, classes, tmp_path):
    rows = "".join(f"{label}\tx\n" for label in labels)
    found = text_source.find(str(made(tmp_path, train=f"label\ttext\n{rows}".encode())))
    assert found.classes == classes


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"test": TRAIN}, "has no train.tsv"),
        ({"train": TRAIN, "valid": TRAIN, "val": TRAIN}, "has valid.tsv and val.tsv; keep one"),
        ({"train": b""}, "train.tsv has no texts"),
        ({"train": b"label\ttext\n"}, "train.tsv has no texts"),
        ({"train": b"a\tone\nb\ttwo\n"}, "line 1 is 'a.tone'; it must name the columns"),
        ({"train": b"label\ta\tb\tc\n"}, "line 1 is .* it must name the columns"),
        ({"train": b"label\n"}, "line 1 is 'label'; it must name the columns"),
        ({"train": TRAIN + b"a\tx\ty\n"}, "line 4 has 2 texts, and 1 is needed; a text holds no"),
        ({"train": TRAIN + b"a\n"}, "line 4 has 0 texts, and 1 is needed"),
        ({"train": b"label\ta\tb\nx\ty\n"}, "line 2 has 1 text, and 2 are needed"),
        ({"train": TRAIN + b" \tx\n"}, "line 4 has no label"),
        ({"train": TRAIN + b"a\t \n"}, "line 4 has an empty text"),
        ({"train": TRAIN + b"a\tcaf\xe9\n"}, "line 4 is not UTF-8; convert the file"),
        ({"train": TRAIN, "test": TRAIN + b"c\tx\n"}, "test.tsv line 4 has the label 'c', which"),
        ({"train": TRAIN, "test": b"label\ta\tb\na\tx\ty\n"}, "test.tsv line 1 has 3 columns"),
    ],
)
def test_faults_name_file_and_line(files, message, tmp_path):
    with pytest.raises(InputError, match=message) as error:
        text_source.find(str(made(tmp_path, **files)))
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_no_folder(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        text_source.find(str(tmp_path / "nowhere"))


def test_texts_without_labels(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo\tmore\n")
    with pytest.raises(InputError, match=r"a.txt line 3 has 2 texts, and 1 is needed"):
        text_source.unlabeled(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_text("one\r\n\ntwo more")
    assert text_source.unlabeled(tmp_path / "a.txt") == ["one", "two more"]
    (tmp_path / "a.txt").write_text("one\tother\n")
    assert text_source.unlabeled(tmp_path / "a.txt") == [("one", "other")]
    made(tmp_path, b=TRAIN)
    assert text_source.unlabeled(tmp_path / "b.tsv") == ["one", "two"]
    (tmp_path / "a.txt").write_text("\n")
    with pytest.raises(InputError, match="has no texts"):
        text_source.unlabeled(tmp_path / "a.txt")


def test_keys_depend_on_the_text_alone():
    first = text_source.keys(["a", "b", ("a", "b")])
    assert text_source.keys(["x", "b"])[1] == first[1]
    assert len(set(first.tolist())) == 3
