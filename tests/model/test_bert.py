import functools

import jax
import numpy as np
import pytest
from scipy.special import ndtr

from jaxmask import model
from jaxmask.errors import InputError

SMALL = dict(classes=3, width=1 / 16, vocabulary=19, context=40)
IDS = np.array([[2, 5, 7, 3, 0, 0], [4, 1, 8, 9, 6, 2]], np.int32)
SPARSE = "bigbird(window=1, random=1, global_=1, block=2)"


@functools.cache
def create(**options):
    return model.create("bert_tiny", **{**SMALL, **options})


@pytest.fixture
def variables(random_variables):
    return random_variables(create(pool="pooler"), (6,))


@functools.cache
def compiled(module):
    return jax.jit(functools.partial(module.apply, features=True))


def features(module, variables, *inputs):
    return np.asarray(compiled(module)(variables, *inputs))


@pytest.mark.parametrize("name", ["bert_tiny", "bert_mini", "bert_small", "bert_base",
                                  "minilm_l6", "distilbert"])  # fmt: skip
def test_published_parameter_count(name):
    """Those of the models on the hub, whose BERTs have a pooler, too."""
    published = {"bert_tiny": 4_385_920, "bert_mini": 11_170_560, "bert_small": 28_763_648,
                 "bert_base": 109_482_240, "minilm_l6": 22_713_216,
                 "distilbert": 66_362_880 + 768 * 769}  # fmt: skip
    module = model.create(name, classes=2, pool="pooler")
    params = model.shapes(module, (9,))["params"]
    assert model.count(params) - model.count(params["head"]) == published[name]


@pytest.mark.parametrize(
    ("pool", "attention"),
    [("mean", "dense"), ("first", "dense"), ("pooler", "dense"), ("mean", SPARSE)],
)
def test_padding_changes_nothing(pool, attention, variables):
    module = create(pool=pool, attention=attention)
    found = features(module, variables, IDS)
    more = features(module, variables, np.pad(IDS, ((0, 0), (0, 5))))
    np.testing.assert_allclose(more, found, atol=2e-6)
    # nor does what stands at places that the mask leaves out
    other = np.where(IDS == 0, 11, IDS)
    masked = features(module, variables, other, (IDS != 0).astype(np.int32))
    np.testing.assert_allclose(masked, found, atol=2e-6)
    assert np.abs(features(module, variables, other) - found)[0].max() > 1e-3
    np.testing.assert_allclose(features(module, variables, IDS[:1, :4])[0], found[0], atol=2e-6)


def test_poolings(variables):
    hidden = np.asarray(create().apply(variables, IDS, method="encode"))
    assert hidden.shape == (2, 6, 8)
    mean = [hidden[0, :4].mean(0), hidden[1].mean(0)]
    np.testing.assert_allclose(features(create(), variables, IDS), mean, atol=1e-6)
    first = features(create(pool="first"), variables, IDS)
    np.testing.assert_allclose(first, hidden[:, 0], atol=1e-6)
    dense = hidden[:, 0] @ variables["params"]["pooler"]["kernel"]
    dense = dense + variables["params"]["pooler"]["bias"]
    for pooler, function in (("tanh", np.tanh), ("relu", lambda x: np.maximum(x, 0))):
        found = features(create(pool="pooler").clone(pooler=pooler), variables, IDS)
        np.testing.assert_allclose(found, function(dense), atol=1e-6)


def test_a_text_of_padding_alone_is_finite(variables):
    """Of the last batch that is filled up, say."""
    empty = np.zeros((1, 6), np.int32)
    for pool in ("mean", "first"):
        assert np.isfinite(features(create(pool=pool), variables, empty)).all()
    np.testing.assert_array_equal(features(create(), variables, empty), 0)


def test_the_order_of_words_and_the_types_of_tokens_count(variables):
    found = features(create(), variables, IDS)
    turned = features(create(), variables, IDS[:, [1, 0, 2, 3, 4, 5]])
    typed = features(create(), variables, IDS, None, np.array([[0, 0, 1, 1, 0, 0]] * 2))
    for other in (turned, typed):
        assert np.abs(other - found).max(1).min() > 1e-3
    same = features(create(), variables, IDS, None, np.zeros_like(IDS))
    np.testing.assert_array_equal(same, found)


def test_another_word_for_padding(variables):
    module = create(padding=3)
    found = features(module, variables, np.where(IDS == 0, 3, IDS))
    masked = features(create(), variables, IDS, (IDS != 0) & (IDS != 3))
    np.testing.assert_allclose(found, masked, atol=1e-6)


def test_embeddings_in_place_of_ids(variables):
    """What needs real numbers begins at the embeddings' output."""
    params = variables["params"]["embeddings"]
    x = params["word"]["embedding"][IDS] + params["position"]["embedding"][:6]
    x = x + params["token_type"]["embedding"][0]
    x = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)
    x = (x * params["norm"]["scale"] + params["norm"]["bias"]).astype(np.float32)
    found = features(create(), variables, x, IDS != 0)
    np.testing.assert_allclose(found, features(create(), variables, IDS), atol=1e-5)
    assert model.real_shape(create(), (6,)) == (6, 8)
    assert model.real_shape(create(), (6, 6, 3)) == (6, 6, 3)


def test_logits_of_words(random_variables):
    module = create(mlm=True)
    variables = random_variables(module, (6,))
    hidden = np.asarray(module.apply(variables, IDS, method="encode"))
    words = variables["params"]["head"]
    x = hidden @ words["dense"]["kernel"] + words["dense"]["bias"]
    x = x * ndtr(x)
    x = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)
    x = x * words["norm"]["scale"] + words["norm"]["bias"]
    expected = x @ variables["params"]["embeddings"]["word"]["embedding"].T + words["bias"]
    found = module.apply(variables, IDS, method="word_logits")
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(module.apply(variables, IDS), found)
    places = np.array([[3, 3, 0], [5, 1, 2]])
    some = module.apply(variables, IDS, places=places)
    np.testing.assert_allclose(some, np.take_along_axis(expected, places[..., None], 1), atol=1e-5)
    with pytest.raises(InputError, match="create it with mlm=True"):
        create().apply(variables, IDS, method="word_logits")


@pytest.mark.parametrize("word", [-1, 19, 30522])
def test_words_that_are_not_in_the_vocabulary_are_no_others(word, variables):
    ids = IDS.copy()
    ids[1, 3] = word
    found = features(create(), variables, ids)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((np.ones((2, 41), np.int32),), "texts of 41 tokens are longer than the 40"),
        ((np.ones((2, 6), np.float32),), r"takes token ids int .* not float32 of shape \(2, 6\)"),
        ((np.ones((2, 6, 7), np.float32),), r"embeddings \[B, L, 8\]; not float32"),
        ((np.ones((2, 6, 8), np.int32),), "not int32 of shape"),
        ((np.ones((2, 6), bool),), "not bool of shape"),
        ((IDS[0],), r"not int32 of shape \(6,\)"),
        ((IDS, np.ones(6)), r"attention_mask is of shape \(6,\); give \(2, 6\)"),
        ((IDS, None, np.ones(6, np.int32)), r"token_types are of shape \(6,\); give \(2, 6\)"),
    ],
)
def test_inputs_that_are_no_texts(inputs, message, variables):
    with pytest.raises(InputError, match=message):
        create().apply(variables, *inputs)


def test_a_network_without_token_types_takes_none(random_variables):
    module = create(types=0)
    variables = random_variables(module, (6,))
    assert set(variables["params"]["embeddings"]) == {"word", "position", "norm"}
    with pytest.raises(InputError, match="the network has none; leave them out"):
        module.apply(variables, IDS, None, np.zeros_like(IDS))


@pytest.mark.parametrize("separator", [3, None])
def test_types_by_the_separator(separator, variables):
    """1 after the first; padding counts nowhere."""
    pairs = np.array([[2, 5, 3, 7, 9, 3, 0], [2, 8, 4, 4, 3, 0, 0], [2, 3, 3, 7, 3, 3, 6]])
    types = np.array([[0, 0, 0, 1, 1, 1, 0], [0] * 7, [0, 0, 1, 1, 1, 1, 1]])
    found = features(create(separator=separator), variables, pairs)
    given = np.zeros_like(types) if separator is None else types
    expected = features(create(), variables, pairs, None, given)
    np.testing.assert_array_equal(found, expected)
    # those that are given go first
    again = features(create(separator=separator), variables, pairs, None, types)
    np.testing.assert_array_equal(again, features(create(), variables, pairs, None, types))


def test_initialized():
    variables = model.initialize(create(mlm=True), jax.random.key(0), (1,))
    embeddings = variables["params"]["embeddings"]
    assert abs(np.std(embeddings["word"]["embedding"]) / 0.02 - 1) < 0.25
    np.testing.assert_array_equal(embeddings["norm"]["scale"], 1)
    assert set(variables["params"]) == {"embeddings", "block0", "block1", "head"}
    assert set(variables["params"]["head"]) == {"dense", "norm", "bias"}
    # they do not depend on the length
    other = model.initialize(create(mlm=True), jax.random.key(0), (12,))
    jax.tree.map(np.testing.assert_array_equal, variables, other)
