"""Mask files: round trips, the same bytes, atomic writes."""

import hashlib
import os
import struct

import containers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxmask import mask, tree
from jaxmask.errors import InputError
from jaxmask.maskfile.codec import CODECS
from jaxmask.maskfile.format import MAGIC

MASKS = {
    "conv": {"kernel": np.arange(2 * 3 * 5).reshape(2, 3, 5) % 3 == 0},
    "bias": np.array([True, False, True]),
    "scalar": np.array(True),
    "empty": np.zeros((0, 4), bool),
}


def assert_equal(a, b):
    assert tree.paths(a) == tree.paths(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_round_trip(tmp_path):
    path = tmp_path / "x.mask"
    mask.file.save(path, MASKS, metadata={"task": "zahlen é", "a": ""})
    assert_equal(mask.file.load(path), MASKS)
    assert_equal(mask.file.load(str(path), like=jax.tree.map(np.ones_like, MASKS)), MASKS)
    assert all(leaf.dtype == bool for leaf in jax.tree.leaves(mask.file.load(path)))
    header = mask.file.read_header(path)
    stored = header.pop("bytes")
    assert stored["file"] == os.path.getsize(path) > stored["masks"] + stored["arrays"]
    assert header == {
        "version": 2,
        "kind": "binary",
        "leaves": {"bias": (3,), "conv/kernel": (2, 3, 5), "empty": (0, 4), "scalar": ()},
        "metadata": {"task": "zahlen é", "a": ""},
        "base": None,
        "codec": "entropy",
        "arrays": {},
    }
    assert os.listdir(tmp_path) == ["x.mask"]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float32, jnp.bfloat16])
def test_dtypes_of_binary_masks(tmp_path, dtype):
    path = tmp_path / "x.mask"
    mask.file.save(path, jax.tree.map(lambda m: jnp.asarray(m, dtype), MASKS))
    assert_equal(mask.file.load(path), MASKS)


def test_sign_masks(tmp_path):
    signs = mask.sign().mask({"a": jnp.array([-1.0, 1.0]), "b": jnp.ones(3)})
    mask.file.save(tmp_path / "x.mask", signs)
    loaded = mask.file.load(tmp_path / "x.mask")
    assert loaded["a"].dtype == np.int8
    assert_equal(loaded, signs)
    assert mask.file.read_header(tmp_path / "x.mask")["kind"] == "sign"


def test_the_same_masks_give_the_same_bytes(tmp_path):
    mask.file.save(tmp_path / "a.mask", MASKS, metadata={"x": "1", "y": "2"})
    other = jax.tree.map(lambda m: jnp.asarray(m, jnp.float32), dict(reversed(MASKS.items())))
    mask.file.save(tmp_path / "b.mask", other, metadata={"y": "2", "x": "1"})
    content = (tmp_path / "a.mask").read_bytes()
    assert content == (tmp_path / "b.mask").read_bytes()


def test_one_bit_per_weight(tmp_path):
    mask.file.save(tmp_path / "x.mask", {"w": jnp.ones((1000, 80), bool)}, codec="raw")
    assert 10_000 < os.path.getsize(tmp_path / "x.mask") < 10_000 + 192


def test_like_an_nnx_state_or_a_tree_with_holes(tmp_path):
    state = nnx.state(nnx.Linear(3, 2, rngs=nnx.Rngs(0)))
    parts = tree.partition(state, tree.label(state, [("kernel", "mask")]))
    mask.file.save(tmp_path / "x.mask", jax.tree.map(lambda w: w > 0, parts["mask"]))
    loaded = mask.file.load(tmp_path / "x.mask", like=parts["mask"])
    assert jax.tree.structure(loaded) == jax.tree.structure(parts["mask"])
    with pytest.raises(InputError, match=r"x\.mask: .*no 'bias'"):
        mask.file.load(tmp_path / "x.mask", like=state)
    wrong = {"kernel": np.ones((2, 3))}
    with pytest.raises(InputError, match=r"'kernel' has shape \(3, 2\), expected \(2, 3\)"):
        mask.file.load(tmp_path / "x.mask", like=wrong)
    with pytest.raises(InputError, match="unexpected 'kernel'"):
        mask.file.load(tmp_path / "x.mask", like={})


@pytest.mark.parametrize(
    ("masks", "metadata", "words"),
    [
        ({"w": np.array([0, 2])}, None, "'w' has values other than 0 and 1"),
        ({"w": np.array([np.nan])}, None, "'w' has values other"),
        ({"v": np.array([-1, 1]), "w": np.array([0, 1])}, None, "'w' has values other than -1"),
        ({"w": jnp.tanh}, None, "'w' is .*not an array"),
        ({"w": jax.random.key(0)}, None, "'w' is .*not an array"),
        ({"w": True}, None, "'w' is bool"),
        ({"": np.array([True])}, None, "empty or unsafe"),
        (np.array([True]), None, "empty or unsafe"),
        ({"..": {"w": np.array([True])}}, None, "unsafe"),
        ({"a\n": np.array([True])}, None, "unsafe"),
        ({"a": np.array([True]), "a/b": np.array([True])}, None, "'a' is a leaf"),
        ({"w": np.array([True])}, {"a": 1}, "metadata"),
        ({"w": np.array([True])}, ["a"], "metadata"),
    ],
)
def test_what_cannot_be_saved(tmp_path, masks, metadata, words):
    with pytest.raises(InputError, match=words) as error:
        mask.file.save(tmp_path / "x.mask", masks, metadata=metadata)
    assert "x.mask" in str(error.value)
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == []


def test_a_missing_folder(tmp_path):
    with pytest.raises(InputError, match="existing folder"):
        mask.file.save(tmp_path / "no" / "x.mask", MASKS)
    with pytest.raises(InputError, match="existing folder"):
        mask.file.save(tmp_path, MASKS)


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, broken):
    path = tmp_path / "x.mask"
    mask.file.save(path, MASKS)
    before = path.read_bytes()

    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, fail)
        with pytest.raises(KeyboardInterrupt):
            mask.file.save(path, {"w": np.array([True])})
    assert os.listdir(tmp_path) == ["x.mask"]
    assert path.read_bytes() == before
    mask.file.save(path, {"w": np.array([True])})
    assert path.read_bytes() != before


def test_a_saved_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    mask.file.save(tmp_path / "x.mask", MASKS)
    assert os.stat(tmp_path / "x.mask").st_mode == os.stat(tmp_path / "plain").st_mode


def test_loading_what_is_not_a_mask_file(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        mask.file.load(tmp_path / "no.mask")
    with pytest.raises(InputError, match="cannot be read"):
        mask.file.load(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        mask.file.load("a\0b")


ARRAYS = {
    "params": {"head": {"kernel": np.arange(6, dtype=np.float32).reshape(3, 2)}},
    "batch_stats": {"mean": jnp.array([0.5, 2.0], jnp.bfloat16), "seen": np.array(3)},
    "on": np.array([True, False]),
}
BASE = mask.file.Base("lenet", mask.file.fingerprint({"w": np.ones(3)}))


@pytest.mark.parametrize("codec", CODECS)
def test_everything_comes_back_under_every_codec(tmp_path, codec):
    path = tmp_path / "x.mask"
    mask.file.save(path, MASKS, metadata={"a": "b"}, arrays=ARRAYS, base=BASE, codec=codec)
    found = mask.file.read(path, fingerprint=BASE.fingerprint)
    assert_equal(found.masks, MASKS)
    assert_equal(found.arrays, ARRAYS)
    assert jax.tree.map(lambda a: np.asarray(a).dtype, found.arrays) == jax.tree.map(
        lambda a: np.asarray(a).dtype, ARRAYS
    )
    assert found[2:] == (BASE, {"a": "b"}, "binary", codec, 2)
    header = mask.file.read_header(path)
    assert header["base"] == BASE
    assert header["arrays"]["params/head/kernel"] == ((3, 2), "float32")
    assert header["codec"] == codec


def test_arrays_without_masks(tmp_path):
    mask.file.save(tmp_path / "x.mask", {}, arrays=ARRAYS)
    found = mask.file.read(tmp_path / "x.mask")
    assert found.masks == {}
    assert_equal(found.arrays, ARRAYS)


def test_a_file_of_version_1_is_read(tmp_path):
    header = b'{"kind":"binary","leaves":[["w",[3]]],"metadata":{"a":"b"}}'
    body = MAGIC + struct.pack("<II", 1, len(header)) + header + b"\xa0"
    (tmp_path / "x.mask").write_bytes(body + hashlib.sha256(body).digest())
    found = mask.file.read(tmp_path / "x.mask")
    assert_equal(found.masks, {"w": np.array([True, False, True])})
    assert found[1:] == ({}, None, {"a": "b"}, "binary", "raw", 1)
    assert mask.file.read_header(tmp_path / "x.mask")["version"] == 1
    with pytest.raises(InputError, match="does not say for which network"):
        mask.file.load(tmp_path / "x.mask", fingerprint=BASE.fingerprint)


def test_a_file_for_another_network_is_refused(tmp_path):
    mask.file.save(tmp_path / "x.mask", MASKS, base=BASE)
    other = mask.file.fingerprint({"w": np.ones(3) * 2})
    for read in (mask.file.load, mask.file.read):
        read(tmp_path / "x.mask", fingerprint=BASE.fingerprint)
        with pytest.raises(InputError, match=r"for another network than this one.*'lenet'"):
            read(tmp_path / "x.mask", fingerprint=other)


def test_fingerprint_is_of_paths_dtypes_shapes_and_values():
    weights = {"b": {"w": np.array([1.0, 2.0], np.float32)}, "a": np.zeros((2, 0))}
    same = {"a": np.zeros((2, 0)), "b": {"w": jnp.array([1.0, 2.0]), "hole": None}}
    found = mask.file.fingerprint(weights)
    assert found == mask.file.fingerprint(dict(reversed(weights.items())))
    assert found == mask.file.fingerprint(same)
    digest = hashlib.sha256(b'["a", "float64", [2, 0]]\n["b/w", "float32", [2]]\n')
    digest.update(struct.pack("<2f", 1.0, 2.0))
    assert found == digest.hexdigest()
    for other in (
        {**weights, "b": {"w": np.array([1.0, 2.5], np.float32)}},
        {**weights, "b": {"v": weights["b"]["w"]}},
        {**weights, "b": {"w": weights["b"]["w"].astype(np.float64)}},
        {**weights, "a": np.zeros((0, 2))},
        {"b": weights["b"]},
    ):
        assert mask.file.fingerprint(other) != found
    with pytest.raises(InputError, match="'f' is"):
        mask.file.fingerprint({"f": jnp.tanh})


def test_masks_that_are_coded_given_the_frozen_weights(tmp_path):
    path = tmp_path / "x.mask"
    weights = {"w": jax.random.normal(jax.random.key(0), (60, 50)), "bias": jnp.ones(3)}
    masks = {"w": jnp.abs(weights["w"]) > 0.2}
    mask.file.save(path, masks, weights=weights)
    size = os.path.getsize(path)
    assert_equal(mask.file.load(path, weights=weights), masks)
    assert mask.file.read_header(path)["codec"] == "entropy_given_weights"
    with pytest.raises(InputError, match="given the frozen weights"):
        mask.file.load(path)
    with pytest.raises(InputError, match="given different weights"):
        mask.file.load(path, weights={"w": 2 * weights["w"]})
    with pytest.raises(InputError, match="no 'w' of shape"):
        mask.file.load(path, weights={"w": jnp.ones((50, 60))})
    with pytest.raises(InputError, match="no 'w' of shape"):
        mask.file.save(path, masks, weights={"v": jnp.ones((60, 50))})
    with pytest.raises(InputError, match="'raw' uses no weights"):
        mask.file.save(path, masks, weights=weights, codec="raw")
    mask.file.save(path, masks)
    assert os.path.getsize(path) > 1.2 * size
    assert_equal(mask.file.load(path, weights=weights), masks)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"arrays": {"a": "text"}}, "array 'a' is str"),
        ({"arrays": {"a": np.array([None])}}, "array 'a' is ndarray"),
        ({"arrays": {"a": jax.random.key(0)}}, "array 'a' is"),
        ({"arrays": {"..": np.ones(1)}}, "unsafe"),
        ({"base": ("lenet",)}, "base"),
        ({"base": ("lenet", None)}, "base"),
        ({"codec": "lzm"}, "unknown codec 'lzm'; did you mean 'lzma'"),
    ],
)
def test_what_else_cannot_be_saved(tmp_path, arguments, words):
    with pytest.raises(InputError, match=words) as error:
        mask.file.save(tmp_path / "x.mask", MASKS, **arguments)
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["partitioned", "boxes in boxes", "nnx state", "frozen dict"])
def test_a_file_does_not_depend_on_the_containers(name, tmp_path):
    """Nor does the fingerprint of a network, nor a mask that is coded given its weights."""
    own, plain = (containers.KINDS[kind].make() for kind in (name, "dict"))
    assert mask.file.fingerprint(own) == mask.file.fingerprint(plain)
    for file, weights in (("own.mask", own), ("plain.mask", plain)):
        masks = jax.tree.map(lambda leaf: leaf > 0, weights)
        mask.file.save(tmp_path / file, masks, weights=weights)
    assert (tmp_path / "own.mask").read_bytes() == (tmp_path / "plain.mask").read_bytes()
    one = mask.file.load(tmp_path / "own.mask", weights=plain)
    again = mask.file.load(tmp_path / "plain.mask", weights=own)
    assert tree.paths(one) == tree.paths(again)
    assert all(map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(again)))
