"""CLIP's towers and logits are those of the transformers library."""

import numpy as np
import pytest

from jaxmask import model
from jaxmask.errors import InputError
from jaxmask.model import pretrained

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.parity


@pytest.fixture
def checkpoint(tokenizer_file):
    """A function end -> (network, its folder): CLIP with random weights, and a tokenizer."""

    def make(end, activation="quick_gelu"):
        transformers.logging.set_verbosity_error()
        config = transformers.CLIPConfig(
            text_config=dict(
                hidden_size=32,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=4,
                vocab_size=12,
                max_position_embeddings=9,
                bos_token_id=8,
                eos_token_id=end,
                pad_token_id=9,
                hidden_act=activation,
            ),
            vision_config=dict(
                hidden_size=96,
                intermediate_size=384,
                num_hidden_layers=12,
                num_attention_heads=12,
                image_size=64,
                patch_size=32,
            ),
            projection_dim=64,
        )
        torch.manual_seed(0)
        network = transformers.CLIPModel(config).eval()
        for name, tensor in network.state_dict().items():
            if name != "logit_scale":  # unchanged, all images would look the same
                tensor.normal_(float("norm" in name and "weight" in name), 0.2)
        network.save_pretrained(tokenizer_file.parent)
        return network, tokenizer_file.parent

    return make


def test_both_towers_and_the_logits(checkpoint):
    network, folder = checkpoint(9)
    variables, about = pretrained.load(folder, "clip_vit_b32", width=0.125)
    assert about["layout"] == "clip"
    assert about["classes"] is None
    assert about["size"] == 64
    classes = ["cat", "photo", "cat photo"]
    # two words of class and six of text are one token too many: the end is cut
    head = pretrained.text_head(folder, classes, "a photo of a {} of a")
    assert head["kernel"].shape == (64, 3)
    np.testing.assert_array_equal(head["bias"], 0.0)
    rows = [[8, 0, 1, 2, 0, word, 2, 0, 9] for word in (3, 1)] + [[8, 0, 1, 2, 0, 3, 1, 2, 9]]
    x = np.random.default_rng(0).normal(size=(4, 64, 64, 3)).astype(np.float32)
    with torch.no_grad():
        expected = network(
            input_ids=torch.tensor(rows),
            pixel_values=torch.from_numpy(x.transpose(0, 3, 1, 2).copy()),
        )
    ours = model.create("clip_vit_b32", classes=3, width=0.125)
    features = ours.apply(variables, x, features=True)
    np.testing.assert_allclose(features, expected.image_embeds.numpy(), atol=1e-5)
    scale = np.exp(network.logit_scale.item())
    np.testing.assert_allclose(head["kernel"].T / scale, expected.text_embeds.numpy(), atol=1e-5)
    logits_there = expected.logits_per_image.numpy()
    assert np.ptp(logits_there, axis=0).min() > 0.1
    assert np.ptp(logits_there, axis=1).min() > 0.1
    logits = features @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(logits, logits_there, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("end", "activation"), [(9, "quick_gelu"), (2, "gelu")])
def test_shorter_texts_are_padded(checkpoint, end, activation):
    network, folder = checkpoint(end, activation)
    head = pretrained.text_head(folder, ["cat", "a photo of a cat"], "{}")
    with torch.no_grad():
        one = network.get_text_features(torch.tensor([[8, 3, 9]]))
    one = getattr(one, "pooler_output", one)[0].numpy()
    unit = head["kernel"][:, 0] / np.linalg.norm(head["kernel"][:, 0])
    np.testing.assert_allclose(unit, one / np.linalg.norm(one), atol=1e-5)


def test_exported_to_the_vision_tower_there(checkpoint):
    network, folder = checkpoint(9)
    variables, _ = pretrained.load(folder, "clip_vit_b32", width=0.125)
    state = pretrained.export(variables, "clip_vit_b32", "clip")
    tower = transformers.CLIPVisionModelWithProjection(network.config.vision_config)
    assert state.keys() == tower.state_dict().keys()
    for key, leaf in network.state_dict().items():
        if key in state:
            np.testing.assert_array_equal(state[key], leaf.numpy())


def test_other_activation_of_the_image_tower_is_refused(checkpoint):
    _, folder = checkpoint(9)
    text = (folder / "config.json").read_text()
    before, vision = text.split('"vision_config"')
    (folder / "config.json").write_text(
        before + '"vision_config"' + vision.replace("quick_gelu", "gelu")
    )
    with pytest.raises(InputError, match="vision_config has hidden_act 'gelu'; only 'quick_gelu'"):
        pretrained.load(folder, "clip_vit_b32", width=0.125)
