import sys

import numpy as np
import pytest

from jaxmask.errors import InputError
from jaxmask.model import clip, clip_text

TOWER = clip.TextTower(vocabulary=12, context=6, size=8, blocks=1, heads=2, projection=4)
END = {"text_config": {"eos_token_id": 9}}


def test_tokens_end_marks_and_padding(tokenizer_file):
    folder = tokenizer_file.parent
    texts = ["a photo of a cat", "cat", "dog"]
    tokens, ends = clip_text.tokenise(folder, texts, TOWER, END)
    # 8 begins, 9 ends, 10 is unknown; the first text is one word too long
    np.testing.assert_array_equal(
        tokens, [[8, 0, 1, 2, 0, 9], [8, 3, 9, 0, 0, 0], [8, 10, 9, 0, 0, 0]]
    )
    np.testing.assert_array_equal(ends, [5, 2, 2])
    assert tokens.dtype == ends.dtype == np.int32


@pytest.mark.parametrize("config", [{}, {"text_config": {"eos_token_id": 2}}])
def test_without_the_end_marks_number_the_highest_token_ends(config, tokenizer_file):
    _, ends = clip_text.tokenise(tokenizer_file.parent, ["cat", "dog"], TOWER, config)
    np.testing.assert_array_equal(ends, [2, 1])  # the unknown word's 10 is higher than 9


@pytest.mark.parametrize(
    ("tower", "config", "message"),
    [
        (TOWER, {"text_config": {"eos_token_id": 5}}, "does not end 'cat' with token 5"),
        (TOWER.clone(vocabulary=9), END, "gives token 9; the checkpoint has 9"),
    ],
)
def test_tokenizer_of_another_checkpoint(tower, config, message, tokenizer_file):
    with pytest.raises(InputError, match=message):
        clip_text.tokenise(tokenizer_file.parent, ["cat"], tower, config)


def test_no_tokenizer(tokenizer_file, monkeypatch):
    folder = tokenizer_file.parent
    with pytest.raises(InputError, match=r"there is no .*tokenizer\.json; put"):
        clip_text.tokenise(folder / "elsewhere", ["cat"], TOWER, END)
    tokenizer_file.write_text(tokenizer_file.read_text()[:50])
    with pytest.raises(InputError, match="is not a tokenizer for CLIP"):
        clip_text.tokenise(folder, ["cat"], TOWER, END)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(InputError, match=r"install jaxmask\[hub\]"):
        clip_text.tokenise(folder, ["cat"], TOWER, END)


SIZES = {
    "text_model.embeddings.token_embedding.weight": (12, 128),
    "text_model.embeddings.position_embedding.weight": (6, 128),
    "text_model.encoder.layers.0.mlp.fc1.bias": (512,),
    "text_model.encoder.layers.1.mlp.fc1.bias": (512,),
    "text_projection.weight": (5, 128),
}


def tower_of(sizes, config):
    state = {name: np.broadcast_to(np.float32(0), shape) for name, shape in sizes.items()}
    return clip_text.text_tower(state, config, "weights")


def test_sizes_are_those_of_the_arrays():
    found = tower_of(SIZES, {})
    assert (found.vocabulary, found.context, found.size) == (12, 6, 128)
    assert (found.blocks, found.heads, found.projection) == (2, 2, 5)
    assert found.activation is clip.ACTIVATIONS["quick_gelu"]
    config = {"text_config": {"num_attention_heads": 8, "hidden_act": "gelu"}}
    assert tower_of(SIZES, config).heads == 8
    assert tower_of(SIZES, config).activation is clip.ACTIVATIONS["gelu"]


@pytest.mark.parametrize(
    ("lacks", "config", "message"),
    [
        ("text_projection.weight", {}, "no CLIP text tower: it lacks text_projection.weight"),
        ("", {"text_config": {"layer_norm_eps": 1e-6}}, "not implemented: layer_norm_eps 1e-06"),
        ("", {"text_config": {"num_attention_heads": 3}}, "3 heads for 128 units"),
        ("", {"text_config": {"hidden_act": "relu"}}, "has the activation 'relu'"),
    ],
)
def test_other_text_towers(lacks, config, message):
    with pytest.raises(InputError, match=message):
        tower_of({name: shape for name, shape in SIZES.items() if name != lacks}, config)


def test_other_image_towers():
    clip_text.check_image_tower({}, 12, "weights")
    clip_text.check_image_tower({"vision_config": {"hidden_act": "quick_gelu"}}, 12, "weights")
    for key, value in (
        ("hidden_act", "gelu"),
        ("layer_norm_eps", 1e-6),
        ("num_attention_heads", 16),
    ):
        with pytest.raises(InputError, match=f"vision_config has {key} {value!r}; only"):
            clip_text.check_image_tower({"vision_config": {key: value}}, 12, "weights")
