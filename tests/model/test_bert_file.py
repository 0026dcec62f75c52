"""Checkpoints of BERT and DistilBERT: names, sizes, parts, and what is refused."""

import json
import re

import numpy as np
import pytest
from checkpoints import assert_same, without_head
from safetensors.numpy import save_file

from jaxmask import model
from jaxmask.errors import InputError
from jaxmask.model import pretrained

WIDTH = {"bert_tiny": 1 / 16, "minilm_l6": 1 / 16, "distilbert": 1 / 32}
SIZES = {"vocabulary": 19, "context": 12}


@pytest.fixture
def made(random_variables):
    """A function (name, **options) -> random variables of a small network."""

    def make(name="bert_tiny", **options):
        options = {**SIZES, **options}
        module = model.create(name, classes=3, width=WIDTH[name], **options)
        return random_variables(module, (1,))

    return make


def stored(folder, state, config=None):
    save_file({key: np.ascontiguousarray(leaf) for key, leaf in state.items()},
              folder / "model.safetensors")  # fmt: skip
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def loaded(folder, name="bert_tiny", **options):
    return pretrained.load(folder, name, width=WIDTH[name], **options)


@pytest.mark.parametrize(
    ("name", "layout", "options"),
    [
        ("bert_tiny", "classifier", {"pool": "pooler"}),
        ("bert_tiny", "words", {"pool": "pooler", "mlm": True}),
        ("bert_tiny", "bert", {"types": 3}),
        ("minilm_l6", "bert", {"pool": "first"}),
        ("distilbert", "classifier", {"pool": "pooler"}),
        ("distilbert", "words", {"mlm": True}),
    ],
)
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_there_and_back(name, layout, options, suffix, made, tmp_path):
    if suffix == "pt":
        pytest.importorskip("torch")
    variables = made(name, **options)
    state = pretrained.export(variables, name, layout)
    pretrained.save(tmp_path / f"a.{suffix}", state)
    given = {key: value for key, value in options.items() if key != "types"}
    found, about = loaded(tmp_path / f"a.{suffix}", name, **given)
    assert_same(found, variables)
    assert (about["layout"], about["classes"]) == (layout, None if layout == "words" else 3)
    sizes = {**SIZES, **({} if name == "distilbert" else {"types": 2})}
    assert about["options"] == {**sizes, **options}
    again = pretrained.export(found, name, layout, about["names"])
    assert again.keys() == state.keys()
    assert all(np.array_equal(again[key], state[key]) for key in state)
    assert "normalization" not in about
    model.create(name, classes=3, **about["options"])


def test_layout_of_the_arrays(made):
    variables = made(pool="pooler")["params"]
    state = pretrained.export({"params": variables}, "bert_tiny", "classifier")
    key = "bert.encoder.layer.1.intermediate.dense.weight"
    np.testing.assert_array_equal(state[key], variables["block1"]["fc1"]["kernel"].T)
    key = "bert.embeddings.word_embeddings.weight"
    np.testing.assert_array_equal(state[key], variables["embeddings"]["word"]["embedding"])
    key = "bert.encoder.layer.0.attention.output.LayerNorm.bias"
    np.testing.assert_array_equal(state[key], variables["block0"]["norm1"]["bias"])
    assert state["classifier.weight"].shape == (3, 8)
    words = pretrained.export(made(mlm=True), "bert_tiny", "words")
    assert words["cls.predictions.bias"].shape == (19,)


def renamed(state, pairs):
    for pattern, replacement in pairs:
        state = {re.sub(pattern, replacement, key): leaf for key, leaf in state.items()}
    return state


OLD = ((r"LayerNorm\.weight", "LayerNorm.gamma"), (r"LayerNorm\.bias", "LayerNorm.beta"))


@pytest.mark.parametrize(
    ("name", "pairs"),
    [
        ("bert_tiny", ((r"^bert\.", ""),)),
        ("bert_tiny", OLD),
        ("bert_tiny", ((r"^bert\.", "0.auto_model."),)),  # of a sentence encoder, in a sequence
        ("bert_tiny", ((r"^", "model."), (r"layer\.", "layer._orig_mod."))),
        ("bert_tiny", ((r"^bert\.", "electra."),)),
        ("distilbert", ((r"^distilbert\.", ""),)),
        ("distilbert", ((r"^", "student_model.module."), *OLD)),
    ],
)
def test_names_in_use(name, pairs, made, tmp_path):
    variables = without_head(made(name))
    state = renamed(pretrained.export(variables, name, name.removesuffix("_tiny")), pairs)
    found, about = loaded(stored(tmp_path, state), name)
    assert_same(found, variables)
    again = pretrained.export(found, name, about["layout"], about["names"])
    assert again.keys() == state.keys()
    assert all(np.array_equal(again[key], state[key]) for key in state)


def test_two_of_one_name_are_refused(made, tmp_path):
    state = pretrained.export(without_head(made()), "bert_tiny", "bert")
    both = state | renamed(state, [(r"^bert\.", "")])
    with pytest.raises(InputError, match=r"both for bert\.embeddings\.LayerNorm\.bias; keep one"):
        loaded(stored(tmp_path, both))


def test_what_is_beside_the_encoder_is_left_out(made, tmp_path, caplog):
    variables, other = made(pool="pooler"), made(pool="pooler", mlm=True)
    predictions = pretrained.export(other, "bert_tiny", "words")
    state = pretrained.export(variables, "bert_tiny", "classifier")
    state |= {key: leaf for key, leaf in predictions.items() if key.startswith("cls")}
    words = state["bert.embeddings.word_embeddings.weight"]
    more = {
        "bert.embeddings.position_ids": np.arange(12)[None],
        "cls.predictions.decoder.weight": words,
        "cls.predictions.decoder.bias": state["cls.predictions.bias"],
        "cls.seq_relationship.weight": np.ones((2, 8), np.float32),
        "qa_outputs.weight": np.ones((2, 8), np.float32),
    }
    folder = stored(tmp_path, state | more)
    found, about = loaded(folder, pool="pooler")
    assert_same(found, variables)
    found, about = loaded(folder, pool="pooler", mlm=True)
    assert_same(found["params"]["head"], other["params"]["head"])
    assert_same(found["params"]["pooler"], variables["params"]["pooler"])
    bare, about = loaded(folder)
    kept = ("embeddings", "block0", "block1")
    params = {part: variables["params"][part] for part in kept}
    assert_same(bare, {"params": params, "batch_stats": {}})
    assert about["classes"] is None
    assert about["layout"] == "bert"
    told = caplog.text
    assert "leaves out cls, qa_outputs" in told
    assert "leaves out the pooler, the classifier, the head for words" in told
    # a head that a task learned is not called as one on the pooler
    head = pretrained.export({"params": {"head": variables["params"]["head"]}}, "bert_tiny", "bert")
    assert set(head) == {"head.weight", "head.bias"}


def test_a_classifier_of_single_tokens_is_none_of_texts(made, tmp_path):
    state = pretrained.export(made(pool="pooler"), "bert_tiny", "classifier")
    folder = stored(tmp_path, state, {"architectures": ["BertForTokenClassification"]})
    found, about = loaded(folder, pool="pooler")
    assert "head" not in found["params"]
    assert about["classes"] is None


def test_a_decoder_of_its_own_is_refused(made, tmp_path):
    state = pretrained.export(made(mlm=True), "bert_tiny", "words")
    state["cls.predictions.decoder.weight"] = np.ones((19, 8), np.float32)
    stored(tmp_path, state)
    loaded(tmp_path)
    with pytest.raises(InputError, match=r"decoder.weight of its own, other than .* mlm=False"):
        loaded(tmp_path, mlm=True)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "roberta"}, "is a roberta: its names are BERT's"),
        ({"model_type": "xlm-roberta"}, "is a xlm-roberta"),
        ({"hidden_act": "gelu_new"}, "has hidden_act 'gelu_new'; only 'gelu' is implemented"),
        ({"layer_norm_eps": 1e-5}, "has layer_norm_eps 1e-05; only 1e-12"),
        ({"num_attention_heads": 4}, "has num_attention_heads 4; only 2"),
        ({"position_embedding_type": "relative_key"}, "has position_embedding_type"),
        ({"is_decoder": True}, "has is_decoder True"),
    ],
)
def test_configs_of_other_networks_are_refused(config, message, made, tmp_path):
    state = pretrained.export(without_head(made()), "bert_tiny", "bert")
    usual = {"model_type": "bert", "hidden_act": "gelu", "num_attention_heads": 2}
    loaded(stored(tmp_path, state, usual))
    with pytest.raises(InputError, match=message):
        loaded(stored(tmp_path, state, {**usual, **config}))


def test_roberta_without_a_config_is_refused(made, tmp_path):
    variables = without_head(made(types=1))
    state = pretrained.export(variables, "bert_tiny", "bert")
    with pytest.raises(InputError, match="is a network with one token type, as RoBERTa has"):
        loaded(stored(tmp_path, state))
    loaded(stored(tmp_path, state, {"model_type": "bert"}))
    state = pretrained.export(without_head(made()), "bert_tiny", "bert")
    (tmp_path / "config.json").unlink()
    with pytest.raises(InputError, match="is a xlm_roberta: its names"):
        loaded(stored(tmp_path, renamed(state, [("^bert", "xlm_roberta")])))


def test_padding_is_the_configs(made, tmp_path):
    state = pretrained.export(made(), "bert_tiny", "bert")
    stored(tmp_path, state, {"pad_token_id": 3})
    assert loaded(tmp_path).about["options"]["padding"] == 3
    assert loaded(tmp_path, padding=5).about["options"]["padding"] == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("bert.encoder.layer.1.output.dense.bias"), "lack bert.encoder.layer.1"),
        (
            lambda s: s.update({"bert.encoder.layer.0.attention.self.distance_embedding.weight":
                                np.ones((23, 4), np.float32)}),
            r"has relative positions \(bert.encoder.layer.0",
        ),
        (
            lambda s: s.update({"bert.embeddings_project.weight": np.ones((8, 8), np.float32)}),
            "embeddings of another size",
        ),
        (lambda s: s.pop("bert.embeddings.word_embeddings.weight"), "lack bert.embeddings.word"),
        (lambda s: s.update({"bert.x": np.ones(1, np.float32)}), "also have bert.x"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit(change, message, made, tmp_path):
    state = dict(pretrained.export(without_head(made()), "bert_tiny", "bert"))
    change(state)
    with pytest.raises(InputError, match=message) as caught:
        loaded(stored(tmp_path, state))
    assert "\n" not in str(caught.value)


def test_the_network_of_the_right_size_is_named(made, tmp_path):
    state = pretrained.export(without_head(made("minilm_l6")), "minilm_l6", "bert")
    stored(tmp_path, state)
    with pytest.raises(
        InputError, match="holds 6 blocks of 24 units, and bert_tiny has 2 of 8; no"
    ):
        loaded(tmp_path)
    with pytest.raises(InputError, match="do not fit distilbert: they lack distilbert"):
        loaded(tmp_path, "distilbert")
    wide = {key: np.zeros((8, 128) if leaf.ndim == 2 else 128, np.float32)
            for key, leaf in pretrained.export(made(), "bert_tiny", "bert").items()}  # fmt: skip
    stored(tmp_path, wide)
    with pytest.raises(InputError, match="minilm_l6 has 6 of 24; give bert_tiny of width 1"):
        loaded(tmp_path, "minilm_l6")
