"""Small networks whose weights are written as PyTorch's, and what may be wrong with such files."""

import jax
import numpy as np
from flax import traverse_util

from jaxmask import model

# name -> (width, pixels, layout): small networks of every family
SMALL = {
    "resnet20": (0.25, 8, "cifar"),
    "resnet18": (0.1, 8, "torchvision"),
    "resnet50": (0.05, 8, "torchvision"),
    "vit_ti16": (0.125, 48, "timm"),
    "clip_vit_b32": (0.03125, 64, "clip"),
    "mobilenetv2": (0.1, 8, "torchvision"),
    "efficientnet_lite0": (0.1, 8, "lite"),
}


def assert_same(got, expected):
    got, expected = (traverse_util.flatten_dict(tree, sep="/") for tree in (got, expected))
    assert got.keys() == expected.keys()
    for path, leaf in expected.items():
        assert got[path].dtype == np.float32
        np.testing.assert_array_equal(got[path], leaf, err_msg=path)


def without_head(variables):
    params = {name: leaf for name, leaf in variables["params"].items() if name != "head"}
    return {**variables, "params": params}


def transformer(side, width=0.0625):
    """Random variables of vit_ti16 for images of a side, made without compiling."""
    module = model.create("vit_ti16", classes=3, width=width)
    shapes = jax.eval_shape(
        lambda key: model.initialize(module, key, (side, side, 3)), jax.random.key(0)
    )
    random = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(leaf.dtype), shapes)


def changed(state, *, add=(), drop=(), turn=()):
    """A state dict with arrays of some shapes added, dropped, or of another dtype."""
    kept = {key: leaf for key, leaf in state.items() if not key.startswith(tuple(drop) or "\n")}
    kept |= {key: np.ones(shape, np.float32) for key, shape in dict(add).items()}
    return kept | {key: state[key].astype(dtype) for key, dtype in dict(turn).items()}
