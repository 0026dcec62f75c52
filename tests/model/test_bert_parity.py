"""Networks of texts compute what those of the transformers library do, both ways."""

import functools

import jax
import numpy as np
import pytest

from jaxmask import model
from jaxmask.model import pretrained

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.parity

IDS = np.array([[2, 5, 7, 3, 1, 0, 0], [4, 1, 8, 9, 6, 2, 17]])
TYPES = np.array([[0, 0, 0, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1, 1]])
BERT = dict(vocab_size=19, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=64, max_position_embeddings=12, num_labels=3)  # fmt: skip
DISTILBERT = dict(vocab_size=19, dim=24, n_layers=6, n_heads=12, hidden_dim=96,
                  max_position_embeddings=12, num_labels=3)  # fmt: skip
WIDTH = {"bert_tiny": 1 / 8, "distilbert": 1 / 32}


def theirs(kind, folder):
    """A network of theirs with random weights, stored in a folder, and our name for it."""
    transformers.logging.set_verbosity_error()
    distil = kind.startswith("Distil")
    config = (
        transformers.DistilBertConfig(**DISTILBERT) if distil else transformers.BertConfig(**BERT)
    )
    torch.manual_seed(0)
    network = getattr(transformers, kind)(config).eval()
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.normal_(float("norm" in name.lower() and "weight" in name), 0.2)
    network.save_pretrained(folder)
    return network, "distilbert" if distil else "bert_tiny"


def outputs(network, distil):
    given = {"input_ids": torch.tensor(IDS), "attention_mask": torch.tensor(IDS != 0).long()}
    if not distil:
        given["token_type_ids"] = torch.tensor(TYPES)
    with torch.no_grad():
        return network(**given)


@pytest.mark.parametrize(
    ("kind", "options", "method", "field"),
    [
        ("BertModel", {}, "encode", "last_hidden_state"),
        ("BertModel", {"pool": "pooler"}, "features", "pooler_output"),
        ("BertForMaskedLM", {"mlm": True}, "word_logits", "logits"),
        ("BertForPreTraining", {"mlm": True}, "word_logits", "prediction_logits"),
        ("BertForSequenceClassification", {"pool": "pooler"}, "__call__", "logits"),
        ("DistilBertModel", {"pool": "first"}, "encode", "last_hidden_state"),
        ("DistilBertForMaskedLM", {"mlm": True}, "word_logits", "logits"),
        ("DistilBertForSequenceClassification", {"pool": "pooler"}, "__call__", "logits"),
    ],
)
def test_outputs_and_what_is_exported(kind, options, method, field, tmp_path):
    network, name = theirs(kind, tmp_path)
    expected = outputs(network, name == "distilbert")[field].numpy()
    variables, about = pretrained.load(tmp_path, name, width=WIDTH[name], **options)
    module = model.create(name, classes=about["classes"] or 1, width=WIDTH[name],
                          **about["options"])  # fmt: skip
    call = {"features": True, "method": "__call__"} if method == "features" else {"method": method}
    apply = jax.jit(functools.partial(module.apply, **call))
    found = apply(variables, IDS, IDS != 0, None if name == "distilbert" else TYPES)
    real = IDS != 0 if found.ndim == 3 else slice(None)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(np.asarray(found)[real], expected[real], atol=1e-5)

    # ours, changed, give the same there
    rng = np.random.default_rng(0)
    changed = jax.tree.map(lambda leaf: leaf * (rng.random(leaf.shape) < 0.9), variables)
    state = pretrained.export(changed, name, about["layout"], about["names"])
    missing, unexpected = network.load_state_dict(
        {key: torch.from_numpy(leaf) for key, leaf in state.items()}, strict=False
    )
    assert unexpected == []
    # second copies, and what the network here does not have
    assert all("decoder" in key or "seq_rel" in key or "pooler" in key or "projector" in key
               for key in missing)  # fmt: skip
    expected = outputs(network, name == "distilbert")[field].numpy()
    found = apply(changed, IDS, IDS != 0, None if name == "distilbert" else TYPES)
    np.testing.assert_allclose(np.asarray(found)[real], expected[real], atol=1e-5)


def test_old_files_of_torch(tmp_path):
    network, name = theirs("BertForMaskedLM", tmp_path)
    state = {
        key.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): leaf
        for key, leaf in network.state_dict().items()
    }
    torch.save(state, tmp_path / "pytorch_model.bin")
    variables, about = pretrained.load(
        tmp_path / "pytorch_model.bin", name, width=WIDTH[name], mlm=True
    )
    expected, _ = pretrained.load(tmp_path / "model.safetensors", name, width=WIDTH[name], mlm=True)
    jax.tree.map(np.testing.assert_array_equal, variables, expected)
    again = pretrained.export(variables, name, about["layout"], about["names"])
    assert again.keys() <= state.keys()
