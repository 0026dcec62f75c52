"""MobileNetV2 and EfficientNet-Lite give PyTorch's logits; exported weights give ours there."""

import jax
import numpy as np
import pytest
from flax import traverse_util

from jaxmask import model
from jaxmask.model import mobile, mobile_names, torch_layouts, torch_names

torch = pytest.importorskip("torch")
networks = pytest.importorskip("torch_networks")

pytestmark = pytest.mark.parity

WIDTH = 0.25
# all kinds of blocks: strided or not, with and without an expansion, with and without a skip
STAGES = (mobile.Stage(1, 16, 3, 1, 1), mobile.Stage(2, 24, 5, 2, 6))
# (names, whether padding and epsilon are TensorFlow's, sides of the images)
CASES = [
    ("torchvision", False, (20, 23)),
    ("lite", True, (22, 33)),
]


class Lite(mobile.EfficientNetLite):
    """Of few stages; a class of its own, as the shapes of a module are cached."""


@pytest.mark.parametrize(("style", "same", "sides"), CASES)
def test_logits_and_what_is_exported(style, same, sides, monkeypatch):
    monkeypatch.setattr(mobile, "efficientnet_lite", lambda wider, deeper: STAGES)
    network = networks.randomized(networks.Mobile(STAGES, style, 5, same, WIDTH))
    ours = mobile.MobileNetV2(5, WIDTH, stages=STAGES)
    if same:
        ours = Lite(5, 1.0, 1.0, WIDTH)
    layout = torch_layouts.Layout(getattr(mobile_names, style)(STAGES))
    shapes = jax.eval_shape(lambda k: model.initialize(ours, k, (*sides, 3)), jax.random.key(0))
    flat = {k: v.shape for k, v in traverse_util.flatten_dict(shapes, sep="/").items()}
    state = {k: v.numpy() for k, v in network.state_dict().items() if "num_batches" not in k}
    assert torch_names.misfits({k: v.shape for k, v in state.items()}, flat, layout) == []
    found = torch_names.to_ours(state, flat, layout)
    x = np.random.default_rng(1).normal(size=(3, *sides, 3)).astype(np.float32)
    expected = networks.theirs(network, x)
    assert np.abs(expected).max() > 1
    variables = traverse_util.unflatten_dict(found, sep="/")
    logits, rounded = jax.jit(ours.apply)(variables, x), torch_names.to_theirs(found, layout)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    assert rounded.keys() == state.keys()
    assert all(np.array_equal(rounded[name], leaf) for name, leaf in state.items())
