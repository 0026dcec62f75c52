"""PyTorch's files, made by hand: pickles of tensors and of other things, in both formats."""

import os
import pickle
import struct
import zipfile

import numpy as np

NUMBERS = np.arange(6, dtype=np.float32)


def body(value):
    """The opcodes that push a value."""
    return pickle.dumps(value, 2)[2:-1]


def storage(dtype=b"ctorch\nFloatStorage\n", key="0", count=6, kind="storage"):
    parts = body(kind), dtype, body(key), body("cpu"), body(count)
    return b"(" + b"".join(parts) + b"tQ"


def tensor(shape=(2, 3), strides=(3, 1), offset=0, more=b"", where=None):
    parts = where or storage(), body(offset), body(shape), body(strides)
    hooks = b"ccollections\nOrderedDict\n)R"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + b"".join(parts) + b"\x89" + hooks + more + b"tR"
    )


def state(*tensors):
    """The pickle of a dict of tensors a, b, ..."""
    items = b"".join(body("abc"[i]) + each for i, each in enumerate(tensors))
    return b"\x80\x02}(" + items + b"u."


def zipped(folder, content, records=None, compression=zipfile.ZIP_STORED, **more):
    records = {"0": NUMBERS.tobytes()} if records is None else records
    with zipfile.ZipFile(folder / "a.pth", "w", compression) as archive:
        archive.writestr("a/data.pkl", content)
        for key, numbers in records.items():
            archive.writestr(f"a/data/{key}", numbers)
        for name, text in more.items():
            archive.writestr(f"a/{name.replace('_', '.')}", text)
    return folder / "a.pth"


MAGIC, MACHINE = pickle.dumps(0x1950A86A20F9469CFC6C, 2), {"little_endian": True}


def legacy(folder, content, records=None, machine=MACHINE, keys=None, version=1001, size=4):
    """`size`: bytes of an element in all storages."""
    records = {"0": NUMBERS.tobytes()} if records is None else records
    parts = [MAGIC, pickle.dumps(version, 2), pickle.dumps(machine, 2), content]
    parts.append(pickle.dumps(list(records) if keys is None else keys, 2))
    for numbers in records.values():
        parts += [struct.pack("<q", len(numbers) // size), numbers]
    (folder / "a.pth").write_bytes(b"".join(parts))
    return folder / "a.pth"


BEYOND = [
    tensor((2, 4), (3, 1)),
    tensor((2, 3), (4, 1)),
    tensor((6,), (1,), 1),
    tensor((2,), (2**62,)),
    tensor((2**62, 2**62), (2**62, 1)),
    tensor((), (), 6),
    tensor((3,), (-1,), 2),
    tensor((2,), (1,), -1),
    tensor((2, 3), (1,)),
    tensor((2.0, 3), (3, 1)),
    tensor(where=storage(count=7)),
    tensor(where=storage(count=5)),
    tensor(where=storage(b"ctorch\nDoubleStorage\n")),
    tensor(where=storage(key="1")),
    tensor(where=storage(key="../data.pkl")),
    tensor(where=storage(kind="module")),
    tensor(where=body((NUMBERS.tobytes().decode("latin1"), "float32"))),
    tensor(where=storage(body("object"), count=3)),
    tensor(where=storage(body("O,O"), count=3)),
    tensor(where=storage(b"ctorch.storage\nUntypedStorage\n", count=24)),
    tensor(more=body({"conj": True})),
]


class Run:
    def __reduce__(self):
        return os.mkdir, ("ran",)


class Built:
    """Its state would be set by a function of numpy."""

    def __reduce__(self):
        return np.ndarray, ((0,),), (1, (3,), np.dtype("O"), False, b"")


HOSTILE = {
    "reduce": pickle.dumps({"a": Run()}, 2),
    "stack": pickle.dumps({"a": Run()}, 4),
    "text": pickle.dumps({"a": Run()}, 0),
    "built": pickle.dumps({"a": Built()}, 2),
    "eval": b"\x80\x02c__builtin__\neval\n(" + body("__import__('os').mkdir('ran')") + b"tR.",
    "getattr": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2.__globals__\n.",
    "module": b"\x80\x02ctorch\nload\n(" + body("a.pth") + b"tR.",
    "inst": b"\x80\x02(" + body("ran") + b"ios\nmkdir\n.",
    "obj": b"\x80\x02(cos\nmkdir\n" + body("ran") + b"o.",
    "newobj": b"\x80\x02cbuiltins\nlist\n)\x81.",
    "extension": b"\x80\x02\x82\x01.",
    "far memo": b"\x80\x02}r\xff\xff\xff\xff.",
    "dtype called": b"\x80\x02ctorch\nfloat32\n(" + body("ran") + b"tR.",
    "function set": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n"
    + body((None, {"__code__": 1})) + b"b.",
    "class set": b"\x80\x02ccollections\nOrderedDict\n" + body({"keys": 1}) + b"b.",
    "tensor set": b"\x80\x02" + tensor() + body((1, (1,), "O", False, "x")) + b"b.",
    "tensor filled": b"\x80\x02" + tensor() + body(0) + body(7) + b"s.",
}  # fmt: skip
