"""A miniature TFDS data directory, written without TensorFlow and without TFDS's builders."""

import io
import json

import numpy as np
import pytest


def encode(image: np.ndarray, kind: str = "PNG") -> bytes:
    """Encodes with Pillow, so that the decoder (OpenCV) is checked against another codec."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(buffer, kind)
    return buffer.getvalue()


def examples(count: int, classes: int, shape=(28, 28, 1), seed: int = 0):
    """`count` random images with labels 0, 1, ..., 0, 1, ..."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *shape), np.uint8)
    return images, np.arange(count, dtype=np.int32) % classes


def write_dataset(
    data_dir,
    splits: dict,
    *,
    name="mnist",
    version="3.0.1",
    config="",
    classes=2,
    shape=(28, 28, 1),
    keys=("image", "label"),
    names=None,
    file_format="array_record",
    alternatives=(),
    dtype="uint8",
):
    """Write `splits` = {split: [(encoded image, label), ...]} as TFDS would; returns the folder."""
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_pb2

    folder = data_dir / name / config / version
    folder.mkdir(parents=True, exist_ok=True)
    image_key, label_key = keys
    for split, records in splits.items():
        path = folder / f"{name}-{split}.array_record-00000-of-00001"
        writer = ArrayRecordWriter(str(path), "group_size:1")
        for image, label in records:
            example = tf_example_pb2.Example()
            example.features.feature[image_key].bytes_list.value.append(image)
            example.features.feature[label_key].int64_list.value.append(label)
            writer.write(example.SerializeToString())
        writer.close()
    info = {
        "name": name,
        "version": version,
        "fileFormat": file_format,
        "alternativeFileFormats": list(alternatives),
        "splits": [
            {
                "name": split,
                "shardLengths": [str(len(records))],
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
            for split, records in splits.items()
        ],
        "supervisedKeys": {"tuple": {"items": [{"featureKey": key} for key in keys]}},
    }
    if config:
        info["configName"] = config
    (folder / "dataset_info.json").write_text(json.dumps(info))
    kinds = "tensorflow_datasets.core.features"
    dimensions = [str(side or -1) for side in shape]
    features = {
        image_key: {
            "pythonClassName": f"{kinds}.image_feature.Image",
            "image": {"dtype": dtype, "shape": {"dimensions": dimensions}},
        },
        label_key: {
            "pythonClassName": f"{kinds}.class_label_feature.ClassLabel",
            "classLabel": {"numClasses": str(classes)},
        },
    }
    kind = f"{kinds}.features_dict.FeaturesDict"
    content = {"pythonClassName": kind, "featuresDict": {"features": features}}
    (folder / "features.json").write_text(json.dumps(content))
    if names:
        (folder / f"{label_key}.labels.txt").write_text("\n".join(names) + "\n")
    return folder


def records(images, labels, kind="PNG"):
    return [(encode(image, kind), int(label)) for image, label in zip(images, labels)]


@pytest.fixture
def tiny():
    """The functions above; a fixture, so that tests need not know where this file is."""

    class Tiny:
        pass

    Tiny.encode, Tiny.examples = staticmethod(encode), staticmethod(examples)
    Tiny.records, Tiny.write = staticmethod(records), staticmethod(write_dataset)
    return Tiny


@pytest.fixture
def mnist(tmp_path, tiny):
    """(data directory, {split: (images, labels)}) of a prepared `mnist` with two classes."""
    content = {
        "train": tiny.examples(30, 2, seed=1),
        "test": tiny.examples(10, 2, seed=2),
    }
    data_dir = tmp_path / "tfds"
    tiny.write(data_dir, {split: tiny.records(*arrays) for split, arrays in content.items()})
    return data_dir, content


@pytest.fixture(scope="module", autouse=True)
def every_module(quick_compilation):
    """Views are made a few times."""
