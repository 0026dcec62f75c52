import json

import numpy as np
import pytest
import texts
import tokenizers as library
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask.data import tokenizer
from jaxmask.errors import InputError

SHOWN = [
    "The cat is OLD.",
    "Café über naïve drills?!",  # accents
    "the   cats\u00a0saw\ta dog",  # a space of another kind
    "xxx 猫 cat\u200dcat",  # not in the vocabulary; characters of their own; a joiner
    "don't file  ' . ! the",
    "e\u0301 caf\u00e9 cafe\u0301",
    "a " * 40,
    "[CLS] the cat [MASK]",
]


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    return tokenizer.read(texts.vocabulary(tmp_path_factory.mktemp("tokenizer")))


def changed(folder, change, words=texts.WORDS):
    """The tokenizer.json of the words, with a change."""
    made = library.implementations.BertWordPieceTokenizer(
        {word: index for index, word in enumerate(words)}
    )
    content = json.loads(made.to_str())
    change(content)
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return folder / "tokenizer.json"


def padded(rows, row):
    return np.array([line + [0] * (row - len(line)) for line in rows])


@pytest.mark.parity
@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("tokens", [128, 9])
def test_same_ids_as_transformers(lower, tokens, tmp_path):
    from transformers import BertTokenizerFast

    path = texts.vocabulary(tmp_path, (*texts.WORDS, "The", "OLD"), do_lower_case=lower)
    theirs = BertTokenizerFast(vocab=str(path), do_lower_case=lower)
    pairs = list(zip(SHOWN, reversed(SHOWN)))
    for given_texts, arguments in ((SHOWN, (SHOWN,)), (pairs, tuple(map(list, zip(*pairs))))):
        expected = theirs(*arguments, truncation=True, max_length=tokens)
        theirs.save_pretrained(tmp_path / "saved")
        for place in (path, tmp_path / "saved" / "tokenizer.json"):
            own = tokenizer.read(place)
            found = tokenizer.encode(own, given_texts, tokens)
            row = found.ids.shape[1]
            np.testing.assert_array_equal(found.ids, padded(expected["input_ids"], row))
            types = tokenizer.types_of(found.ids, own.separator, own.padding)
            np.testing.assert_array_equal(types, padded(expected["token_type_ids"], row))
            assert (own.padding, own.separator, own.blank) == (0, 3, 4)
            assert own.vocabulary == len(theirs)


def test_what_it_knows(mine):
    assert (mine.padding, mine.separator, mine.blank) == (0, 3, 4)
    assert mine.vocabulary == len(texts.WORDS)
    assert mine.special == (0, 1, 2, 3, 4)


def test_rows(mine):
    cat, owl, the = (texts.WORDS.index(word) for word in ("cat", "owl", "the"))
    found = tokenizer.encode(mine, ["The cat", ("owl", "the CAT")], tokens=12)
    assert found.ids.dtype == np.int32
    assert found.ids.tolist() == [
        [2, the, cat, 3] + [0] * 12, [2, owl, 3, the, cat, 3] + [0] * 10
    ]  # fmt: skip
    assert found.lengths.tolist() == [4, 6]
    assert found.cut == 0
    cut = tokenizer.encode(mine, ["the cat the cat", "cat"], tokens=4, row=6)
    assert cut.ids.tolist() == [[2, the, cat, 3, 0, 0], [2, cat, 3, 0, 0, 0]]
    assert cut.cut == 1


@given(st.integers(1, 2**16))
@settings(max_examples=30)
def test_buckets_are_powers_of_two(longest):
    row = tokenizer.bucket(longest)
    assert row >= longest
    assert row in (16, 32, 64, 128, 256, 512) or row % 1024 == 0
    assert row == 16 or row < 2 * longest


def test_padding_and_truncation_of_the_file_itself_are_not_used(tmp_path):
    def change(content):
        content["padding"] = {
            "strategy": {"Fixed": 7},
            "direction": "Left",
            "pad_id": 0,
            "pad_to_multiple_of": None,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        }
        content["truncation"] = {"direction": "Left", "max_length": 5, "stride": 2,
                                 "strategy": "OnlyFirst"}  # fmt: skip

    own = tokenizer.read(changed(tmp_path, change))
    found = tokenizer.encode(own, ["cat dog owl fox saw axe", "cat"], tokens=6)
    words = [texts.WORDS.index(word) for word in ("cat", "dog", "owl", "fox")]
    assert found.ids[0].tolist() == [2, *words, 3] + [0] * 10
    assert found.ids[1].tolist() == [2, words[0], 3] + [0] * 13


@pytest.mark.parametrize("text", ["a [SEP] cat", ("the cat", "old [SEP] owl"), "cat [PAD]"])
def test_marks_inside_a_text_are_refused(text, mine):
    marks = "fills up rows" if "[PAD]" in text else "stands between two texts"
    if isinstance(text, tuple):  # in the second text it changes no type
        tokenizer.encode(mine, [text], 32)
        text = (text[1], text[0])
    with pytest.raises(InputError, match=f"contains the token that {marks}; remove it") as error:
        tokenizer.encode(mine, ["cat", text], 32)
    assert "\n" not in str(error.value)


def test_too_few_tokens(mine):
    with pytest.raises(InputError, match=r"data\.tokens is 3, of which 3 mark the ends"):
        tokenizer.encode(mine, [("a", "a")], 3)


def test_the_fingerprint_is_of_all_that_matters(tmp_path, mine):
    same = tokenizer.read(texts.vocabulary(tmp_path / "same", unk_token="[UNK]"))
    assert same.fingerprint == mine.fingerprint
    cased = tokenizer.read(texts.vocabulary(tmp_path / "cased", do_lower_case=False))
    other = tokenizer.read(texts.vocabulary(tmp_path / "other", texts.WORDS[:-1]))
    assert len({mine.fingerprint, cased.fingerprint, other.fingerprint}) == 3


def test_padding_as_settings_name_it(tmp_path):
    def change(content):
        content["added_tokens"] = [each for each in content["added_tokens"] if each["id"] != 0]

    words = ("<nothing>", *texts.WORDS[1:])
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"pad_token": {"content": "<nothing>"}, "mask_token": "fox"})
    )
    own = tokenizer.read(changed(tmp_path, change, words))
    assert (own.padding, own.blank) == (0, words.index("fox"))
    (tmp_path / "tokenizer_config.json").unlink()
    with pytest.raises(InputError, match="has no token to fill up rows"):
        tokenizer.read(tmp_path / "tokenizer.json")


def test_other_types_are_refused(tmp_path):
    def change(content):
        content["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 1}},
                     {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {},
        }  # fmt: skip

    with pytest.raises(InputError, match="only a type that begins after a token between"):
        tokenizer.read(changed(tmp_path, change))


def test_pairs_without_types(tmp_path):
    def change(content):
        content["post_processor"]["type"] = "RobertaProcessing"
        content["post_processor"].update(trim_offsets=True, add_prefix_space=False)

    own = tokenizer.read(changed(tmp_path, change))
    assert own.separator is None
    found = tokenizer.encode(own, [("cat", "dog")], 16)
    assert found.ids[0, :7].tolist() == [2, 5, 3, 3, 6, 3, 0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", "{}", "is not a tokenizer's file"),
        ("tokenizer.json", "\ufffd", "is not a tokenizer's file"),
        ("vocab.txt", "the\ncat\n[PAD]\n[UNK]\n", r"lacks the tokens \[CLS\], \[SEP\]"),
    ],
)
def test_what_is_no_tokenizer(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message) as error:
        tokenizer.read(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(InputError, match=r"pip install 'jaxmask\[text\]'"):
        tokenizer.read(tmp_path / "vocab.txt")
