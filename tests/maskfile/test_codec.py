"""Codecs: bytes come back, match the standard library, and are never more than declared."""

import bz2
import gzip
import lzma
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmask.errors import InputError
from jaxmask.maskfile import codec

ZEROS = bytes(3_000_000)


@pytest.mark.parametrize("name", codec.GENERAL)
@given(st.binary(max_size=300), st.integers(1, 50))
@settings(max_examples=20, deadline=None)
def test_round_trip(name, data, times):
    data *= times
    stored = codec.compress(name, data)
    assert codec.decompress(name, stored, len(data)) == data
    for size in (len(data) + 1, len(data) - 1):
        if size >= 0:
            with pytest.raises(InputError, match=f"{size} bytes of {name}|cannot hold"):
                codec.decompress(name, stored, size)


@pytest.mark.parametrize("name", codec.GENERAL)
def test_the_most_compressible_bytes_are_plausible(name):
    stored = codec.compress(name, ZEROS)
    assert codec.decompress(name, stored, len(ZEROS)) == ZEROS
    assert name == "raw" or len(stored) < len(ZEROS) / 20


@pytest.mark.parametrize("name", [name for name in codec.GENERAL if name != "raw"])
def test_bytes_before_between_and_after_are_refused(name):
    data = np.random.default_rng(0).bytes(5000)
    stored = codec.compress(name, data)
    for wrong in (stored + b"x", stored[:-1], b"x" + stored, stored + stored, stored[:4], b"x"):
        with pytest.raises(InputError) as error:
            codec.decompress(name, wrong, len(data))
        assert "\n" not in str(error.value)


def test_other_tools_read_the_bytes():
    data = b"mask" * 1000
    for name, read in (("gzip", gzip), ("bz2", bz2), ("lzma", lzma)):
        assert read.decompress(codec.compress(name, data)) == data
    # the published table counts the defaults of these libraries
    assert codec.compress("lzma", data) == lzma.compress(data)
    assert codec.compress("bz2", data) == bz2.compress(data)
    assert len(codec.compress("gzip", data)) == len(gzip.compress(data))


@pytest.mark.parametrize("name", [name for name in codec.GENERAL if name != "raw"])
def test_a_bomb_takes_no_memory(name):
    bomb = codec.compress(name, bytes(2**25))
    tracemalloc.start()
    with pytest.raises(InputError):
        codec.decompress(name, bomb, 1000)
    with pytest.raises(InputError, match="cannot hold"):
        codec.decompress(name, bomb[:100], 2**48)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**24  # xz: a dictionary of 8 MiB


def test_a_dictionary_of_a_gigabyte_is_refused():
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**30}]
    with pytest.raises(InputError, match="lzma"):
        # the decoder would allocate the memory before it reads a byte
        codec.decompress("lzma", lzma.compress(b"x", filters=filters), 1)


def test_a_codec_whose_package_is_missing_is_one_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ("entropy", "zstd"):
        with pytest.raises(InputError, match=r"pip install 'jaxmask\[experiments\]'"):
            codec.require(name)
    for name in ("raw", "gzip", "bz2", "lzma"):
        codec.require(name)
