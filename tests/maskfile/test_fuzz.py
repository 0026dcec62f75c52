"""10,000 random changes of mask files: each is refused in one line, or is a mask file."""

import hashlib
import json
import random
import struct

import numpy as np
import pytest

from jaxmask.errors import InputError
from jaxmask.maskfile import codec, contexts, entropy
from jaxmask.maskfile import header as headers
from jaxmask.maskfile.format import MAGIC, decode, encode

MUTATIONS = 10_000
DRAWN = np.random.default_rng(0)
MASKS = {
    "bias": DRAWN.random(7) < 0.5,
    "conv/kernel": DRAWN.random((3, 3, 4, 6)) < 0.8,
    "empty": np.zeros((0, 4), bool),
    "head/kernel": DRAWN.random((20, 10)) < 0.9,
}
ARRAYS = {"head/bias": DRAWN.normal(size=5).astype(np.float32), "on": np.array([True, False])}
FILES = [
    encode(MASKS, {"task": "digits"}, ARRAYS, ("lenet", "ab" * 32), name) for name in codec.CODECS
]
ENTROPY = [FILES[0]] * len(FILES)  # half of all


def sealed(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()


def changed(data: bytes, draw: random.Random) -> bytes:
    """Bytes flipped, replaced, removed, inserted or copied, at one to three places."""
    content = bytearray(data)
    for _ in range(draw.randint(1, 3)):
        at, length = draw.randrange(len(content) + 1), draw.randint(1, 12)
        kind = draw.choice(["flip", "flip", "byte", "cut", "insert", "copy"])
        if kind == "flip" and at < len(content):
            content[at] ^= 1 << draw.randrange(8)
        elif kind == "byte" and at < len(content):
            content[at] = draw.choice(b'09-[]{}",:/\\eE.\x00\xff')
        elif kind == "cut":
            del content[at : at + length]
        elif kind == "insert":
            content[at:at] = draw.randbytes(length)
        elif kind == "copy":
            content[at:at] = content[at : at + length]
    return bytes(content)


def changed_header(header: dict, draw: random.Random) -> None:
    """Replaces a value somewhere by another of the right kind, often absurd."""
    number = draw.choice([-1, 0, 1, 2, 3, 9, 2**20, 2**31, 2**33, 2**48, 2**64])
    entry = draw.choice([*header["leaves"], *header["arrays"]])
    kind = draw.choice(["axis", "axis", "axes", "path", "dtype", "codec", "kind", "size", "drop"])
    if kind == "axis" and entry[-1]:
        entry[-1][draw.randrange(len(entry[-1]))] = number
    elif kind == "axes":
        draw.shuffle(entry[-1])
        entry[-1].insert(0, number)
    elif kind == "path":
        entry[0] = draw.choice(["", "a/b", "..", "bias/x", "head", "zz"])
    elif kind == "dtype":
        header["arrays"][0][1] = draw.choice([*headers.DTYPES, "object", "V8"])
    elif kind == "codec":
        header["codec"] = draw.choice([*codec.CODECS, codec.GIVEN_WEIGHTS])
    elif kind == "kind":
        header["kind"] = draw.choice(headers.KINDS)
    elif kind == "size":
        shift = draw.randint(-9, 9)
        header["sizes"] = [header["sizes"][0] + shift, header["sizes"][1] - shift]
    elif kind == "drop":
        draw.choice([header["leaves"], header["arrays"]]).pop()


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Half unchanged, half with lengths and checksum corrected."""
    if draw.random() < 0.5:
        return changed(content, draw)
    start = 16 + struct.unpack_from("<I", content, 12)[0]
    header, body = json.loads(headers.unpacked(content[16:start])), content[start:-32]
    if draw.random() < 0.1:
        return sealed(changed(content[:-32], draw))
    if draw.random() < 0.5:
        before = len(body)
        body = changed(body, draw)
        part = draw.randrange(2)
        header["sizes"][part] += len(body) - before
    else:
        changed_header(header, draw)
    text = headers.packed(header)
    return sealed(MAGIC + struct.pack("<II", 2, len(text)) + text + body)


def check(content: bytes) -> bool:
    """Whether it is read; the content must match the header and can be saved again."""
    try:
        _, header, masks, arrays = decode(content)
    except InputError as error:
        return False if "\n" not in str(error) else pytest.fail(str(error))
    assert {path: list(leaf.shape) for path, leaf in masks.items()} == dict(header["leaves"])
    assert [[p, a.dtype.name, list(a.shape)] for p, a in arrays.items()] == header["arrays"]
    wanted = (-1, 1) if header["kind"] == "sign" else (0, 1)
    assert all(np.isin(leaf, wanted).all() for leaf in masks.values())
    start = 16 + struct.unpack_from("<I", content, 12)[0]
    stored = content[start : start + header["sizes"][0]]
    if header["codec"] == "entropy":
        layouts = [contexts.layout(leaf.shape) for leaf in masks.values()]
        model, offs = entropy.decode(stored, layouts, [None] * len(layouts))
        assert entropy.encode(model, offs, layouts, [None] * len(layouts)) == stored
    elif header["codec"] == "raw":
        assert (
            np.packbits(
                np.concatenate([(leaf > 0).ravel() for leaf in [*masks.values(), np.zeros(0)]])
            ).tobytes()
            == stored
        )
    return True


@pytest.mark.parametrize("seed", range(4))
def test_random_changes_are_refused_or_are_mask_files(seed):
    draw = random.Random(seed)
    read = sum(check(mutated(draw.choice([*FILES, *ENTROPY]), draw)) for _ in range(MUTATIONS // 4))
    # some changes leave a mask file (another bit of raw masks, another name); most do not
    assert 0 < read < MUTATIONS / 4 / 4


def test_unchanged_files_are_read():
    for content in FILES:
        assert check(content)
