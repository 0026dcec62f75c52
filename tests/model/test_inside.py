import re

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from jaxmask.errors import InputError
from jaxmask.model import inside

BODY = r"(layer\d+\.\d+\.)?conv\d\.weight"
NAMES = ("conv1.weight", "bn1.bias", "layer1.0.conv1.weight", "layer2.1.conv2.weight", "fc.weight")


def under(prefix, names=NAMES):
    return [prefix + name for name in names]


def find(**states):
    return inside.find({key.replace("__", "."): names for key, names in states.items()}, BODY, "f")


part = st.text("abcxyz_0123456789", min_size=1, max_size=6).map(lambda text: f"a{text}.")


@settings(max_examples=40)
@given(st.lists(st.one_of(part, st.sampled_from(["module.", "_orig_mod.", "net."])), max_size=4))
def test_any_common_prefix_is_found(parts):
    keys = under("".join(parts))
    place = inside.find({"": [*keys, "queue", "n_averaged"]}, BODY, "f")
    assert place.prefix == inside.unwrapped("".join(parts))
    names = inside.bare(keys, place.prefix)
    assert names == dict(zip(NAMES, keys))
    array = np.ones(1)
    assert list(inside.as_there(dict.fromkeys(names, array), names)) == keys
    assert list(inside.as_there({"head.bias": array}, names)) == ["".join(parts) + "head.bias"]


@pytest.mark.parametrize(
    ("state", "prefix", "others"),
    [
        ("encoder_q.", "encoder_k.", 1),
        ("base_encoder.", "momentum_encoder.", 1),
        ("backbone.", "backbone_momentum.", 1),
        ("online_network.", "target_network.", 1),
        ("model.", "ema_model.module.", 1),
        ("net.", "swa.", 1),
        ("semantic.", "model_ema.", 1),  # `ema` is a part of this word
    ],
)
def test_a_network_is_taken_before_its_copies(state, prefix, others):
    found = find(weights=[*under(prefix), *under(state)])
    assert (found.state, found.prefix) == ("weights", state)
    assert len(found.others) == others
    alone = find(weights=under(prefix))
    assert inside.unwrapped(prefix) == alone.prefix


def test_the_dict_of_a_copy_is_a_copy_too():
    found = find(student=under("module.backbone."), teacher=under("backbone."), optimizer=["lr"])
    assert (found.state, found.prefix) == ("teacher", "backbone.")
    assert found.others == (("student.backbone", "student"),)
    assert find(state_dict_ema=under(""), state_dict=under("")).state == "state_dict"


@pytest.mark.parametrize(
    "states",
    [
        {"": [*under("left."), *under("right.")]},
        {"state_dict": under(""), "model": under("")},
        {"": [*under("student."), *under("target.")]},
    ],
)
def test_of_two_networks_none_is_guessed(states):
    with pytest.raises(InputError, match=r"f holds 2 such networks \(.*\); save the state_dict"):
        inside.find(states, BODY, "f")


def test_the_one_with_most_of_the_names_is_the_network():
    stem = [name for name in under("decoder.") if "conv1" in name]
    assert find(a=[*stem, *under("encoder.")]).prefix == "encoder."
    assert find(a=["x", "y"], b=["z"]) == inside.Place("a", "")  # no such network


def test_wrappers_are_taken_out_wherever_they_are():
    keys = {
        "module._orig_mod.conv1.weight": "conv1.weight",
        "layer1._orig_mod.0._checkpoint_wrapped_module.conv1.weight": "layer1.0.conv1.weight",
        "_fsdp_wrapped_module.fc.weight": "fc.weight",
        "my_module.fc.weight": "my_module.fc.weight",
    }
    assert {key: inside.unwrapped(key) for key in keys} == keys
    with pytest.raises(InputError, match=r"conv1.weight and module.conv1.weight, both for conv1"):
        inside.bare(["conv1.weight", "module.conv1.weight"], "")


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("of_mask", [np.float32, bool, np.uint8])
def test_pruned_weights_are_multiplied_by_their_masks(dtype, of_mask):
    random = np.random.default_rng(0)
    weight, mask = random.normal(size=(4, 3)).astype(dtype), random.random((4, 3)) < 0.5
    state = {"a.bias": np.ones(4), "a.weight_orig": weight, "a.weight_mask": mask.astype(of_mask)}
    found = inside.merged(state, "f")
    assert found.keys() == {"a.bias", "a.weight"}
    assert found["a.weight"].dtype == dtype
    np.testing.assert_array_equal(found["a.weight"], np.where(mask, weight, 0))
    names = inside.keys_of(found, {"a.bias": "m.a.bias", "a.weight_orig": "m.a.weight_orig"})
    assert names == {"a.bias": "m.a.bias", "a.weight": "m.a.weight"}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"w_orig": np.ones(2)}, "f has w_orig without w_mask"),
        ({"w_orig": np.ones(2), "w_mask": np.ones(1)}, r"w_orig \(2,\) with w_mask"),
        ({"w_orig": np.ones(2), "w_mask": np.ones(2), "w": np.ones(2)}, "w_mask and w; make"),
    ],
)
def test_half_a_pair_is_refused(state, message):
    with pytest.raises(InputError, match=message):
        inside.merged(state, "f")


@pytest.mark.parametrize(
    ("states", "told"),
    [
        ({"": under("")}, ""),
        ({"state_dict": under("")}, ""),
        ({"model": under("net.")}, "takes 'net.' off the names"),
        (
            {"": [*under("module.encoder_q."), *under("module.encoder_k."), "module.queue"]},
            "takes 'module.encoder_q.' off the names, leaves out encoder_k, queue",
        ),
        (
            {"state_dict": [*under("encoder_q."), *under("encoder_k.")]},
            "takes 'encoder_q.' off the names, leaves out encoder_k",
        ),
        (
            {"": [*under("model.net."), "model.loss.weight", "scale"]},
            "takes 'model.net.' off the names, leaves out model.loss, scale",
        ),
        ({"model": under(""), "ema": under("")}, "reads model, leaves out ema"),
        (
            {"": under("", [name.replace("layer1.", "layer1._orig_mod.") for name in NAMES])},
            "takes wrappers out of the names",
        ),
        (
            {"": [*under("a."), *(f"{letter}.w" for letter in "bcdefg")]},
            "takes 'a.' off the names, leaves out b, c, d, e and 2 more",
        ),
    ],
)
def test_what_is_taken_off_and_left_out_is_told(states, told):
    place = inside.find(states, BODY, "f")
    keys = states[place.state]
    names = inside.bare(keys, place.prefix)
    apart = inside.apart(keys, names.values(), place.prefix)
    assert re.sub(r"\s+", " ", inside.described(place, names, apart)) == told
