"""Published CIFAR-10 networks: converted, they keep their accuracy in PyTorch.

Needs the weights (cifar10_resnet20.safetensors, cifar10_resnet56.safetensors) in the folder
JAXMASK_CIFAR10_WEIGHTS and CIFAR-10's test split in TFDS_DATA_DIR. Takes some minutes on a CPU.
"""

import os
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxmask import data, model
from jaxmask.model import pretrained

WEIGHTS = os.environ.get("JAXMASK_CIFAR10_WEIGHTS", "")
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)

pytestmark = pytest.mark.skipif(
    not WEIGHTS or not os.environ.get("TFDS_DATA_DIR"),
    reason="JAXMASK_CIFAR10_WEIGHTS (a folder of weights) and TFDS_DATA_DIR are not both set",
)


@pytest.mark.parametrize(("name", "right"), [("resnet20", 9173), ("resnet56", 9339)])
def test_accuracy_on_cifar10(name, right):
    source = Path(WEIGHTS) / f"cifar10_{name}.safetensors"
    variables, about = pretrained.load(source, name)
    assert (about["layout"], about["classes"]) == ("cifar", 10)
    module = model.create(name, classes=10)
    test, _ = data.load_split("cifar10", "test", progress=False)

    @jax.jit
    def predictions(images):
        return module.apply(variables, (images / np.float32(255) - MEAN) / STD).argmax(-1)

    hits = [
        np.asarray(predictions(test.images[start : start + 500]))
        == test.labels[start : start + 500]
        for start in range(0, len(test.labels), 500)
    ]
    assert len(test.labels) == 10_000
    assert abs(int(np.sum(hits)) - right) <= 2  # ties of rounding


@pytest.mark.parametrize("name", ["resnet20", "resnet56"])
def test_export_gives_the_published_file_back(name):
    source = Path(WEIGHTS) / f"cifar10_{name}.safetensors"
    from safetensors.numpy import load_file

    published = load_file(source)
    state = pretrained.export(pretrained.load(source, name).variables, name, "cifar")
    assert state.keys() == published.keys()
    assert all(np.array_equal(state[key], published[key]) for key in state)
