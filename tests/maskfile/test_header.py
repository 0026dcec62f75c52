"""The header of a mask file: its text, and each fault that it may have."""

import json
import zlib

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmask.maskfile import header
from jaxmask.maskfile.codec import GIVEN_WEIGHTS


def second(**changes):
    """A good header of version 2."""
    return {
        "arrays": [["head/bias", "float32", [3]], ["head/kernel", "bfloat16", [2, 3]]],
        "base": ["lenet", "0" * 64], "codec": "entropy", "kind": "binary",
        "leaves": [["fc/kernel", [2, 4]], ["w", []]], "metadata": {"a": "b"}, "sizes": [4, 5],
        **changes,
    }  # fmt: skip


def test_good_headers_have_no_fault_and_their_bits_and_bytes_are_counted():
    good = second()
    assert header.fault(good, 2) == ""
    assert header.bits(good) == 8 + 1
    assert header.array_bytes(good) == 3 * 4 + 6 * np.dtype(ml_dtypes.bfloat16).itemsize
    first = {name: good[name] for name in ("kind", "leaves", "metadata")}
    assert header.fault(first, 1) == ""
    assert (header.bits(first), header.array_bytes(first)) == (9, 0)
    assert header.fault(second(base=None, arrays=[], leaves=[], codec=GIVEN_WEIGHTS), 2) == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "ternary"}, "the kind is not one of binary, sign"),
        ({"kind": ["binary"]}, "the kind"),
        ({"metadata": {"a": 1}}, "metadata is not a dict"),
        ({"metadata": []}, "metadata is not a dict"),
        ({"codec": "rar"}, "the codec is not one of"),
        ({"base": ["lenet"]}, "the base is not"),
        ({"base": ["lenet", 3]}, "the base is not"),
        ({"base": "lenet"}, "the base is not"),
        ({"sizes": [1]}, "two numbers of bytes"),
        ({"sizes": [1, -1]}, "two numbers of bytes"),
        ({"sizes": [1, True]}, "two numbers of bytes"),
        ({"sizes": [1, 2.0]}, "two numbers of bytes"),
        ({"leaves": {}}, "leaves is not a list"),
        ({"leaves": [["w"]]}, "not every leaf is a path and a shape"),
        ({"leaves": [[3, [1]]]}, "not every leaf is a path and a shape"),
        ({"arrays": [["w", [1]]]}, "not every array is a path, a dtype and a shape"),
        ({"arrays": [["w", "complex64", [1]]]}, "the dtype of 'w'"),
        ({"arrays": [["w", None, [1]]]}, "the dtype of 'w'"),
        ({"leaves": [["", [1]]]}, "is empty or unsafe"),
        ({"leaves": [["a//b", [1]]]}, "is empty or unsafe"),
        ({"leaves": [["a/../b", [1]]]}, "is empty or unsafe"),
        ({"leaves": [["./b", [1]]]}, "is empty or unsafe"),
        ({"leaves": [["a\nb", [1]]]}, "is empty or unsafe"),
        ({"leaves": [["w", [1.0]]]}, "the shape of 'w' is not a list of integers"),
        ({"leaves": [["w", [True]]]}, "the shape of 'w' is not a list of integers"),
        ({"leaves": [["w", "12"]]}, "the shape of 'w' is not a list of integers"),
        ({"leaves": [["w", [-1]]]}, "a negative axis"),
        ({"leaves": [["w", [1] * 33]]}, "more than 32"),
        ({"leaves": [["w", [2**25, 2**25]]]}, "absurdly large"),
        ({"leaves": [["w", [0, 2**49]]]}, "absurdly large"),
        ({"leaves": [["b", [1]], ["a", [1]]]}, "not sorted"),
        ({"leaves": [["a", [1]], ["a", [1]]]}, "occurs twice"),
        ({"leaves": [["a", [1]], ["a/b", [1]]]}, "'a' is a leaf, but 'a/b' is below it"),
        ({"leaves": [["a", [2**33 + 1]]]}, "sizes are absurd"),
        ({"arrays": [["a", "float64", [2**31]]]}, "sizes are absurd"),
    ],
)
def test_every_fault_is_told(changes, words):
    assert words in header.fault(second(**changes), 2)


@pytest.mark.parametrize("wrong", [None, [], 3, {}, {"kind": "binary"}])
def test_other_fields_are_a_fault(wrong):
    assert "the header's fields are not" in header.fault(wrong, 1)
    assert "the header's fields are not" in header.fault({**second(), "more": 1}, 2)
    assert "the header's fields are not" in header.fault(second(), 1)


def test_the_text_does_not_depend_on_the_order_of_fields():
    good = second()
    text = header.canonical(good)
    assert text == header.canonical(dict(reversed(good.items())))
    assert text.startswith(b'{"arrays":[["head/bias","float32",[3]],')
    assert json.loads(text) == good


@given(st.dictionaries(st.text(), st.text(), max_size=3))
def test_a_packed_header_is_the_text_again(metadata):
    good = second(metadata=metadata)
    assert header.unpacked(header.packed(good)) == header.canonical(good)


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b"x" + b,
                                    lambda b: b""])  # fmt: skip
def test_what_does_not_end_with_the_stream_is_refused(change):
    with pytest.raises(ValueError, match=r"."):
        header.unpacked(change(header.packed(second())))


def test_an_absurdly_long_text_is_refused(monkeypatch):
    monkeypatch.setattr(header, "_MAX_TEXT", 1000)
    assert header.unpacked(zlib.compress(b" " * 999)) == b" " * 999
    with pytest.raises(ValueError, match="does not end"):
        header.unpacked(zlib.compress(b" " * 1001))
