"""Variables with random numbers everywhere, made without compiling an initializer."""

import jax
import numpy as np
import pytest
from checkpoints import SMALL

from jaxmask import model


def _random_leaf(rng, path, leaf):
    kind = path[-1].key
    if kind == "kernel":
        return rng.normal(size=leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1]))
    if kind in ("scale", "var"):
        return rng.uniform(0.5, 1.5, leaf.shape)
    return 0.1 * rng.normal(size=leaf.shape)  # biases and running means


@pytest.fixture
def random_variables():
    """A function (module, image_shape, seed=0) -> variables with no zeros and ones in them."""

    def make(module, image_shape, seed=0):
        rng = np.random.default_rng(seed)
        shapes = jax.eval_shape(
            lambda key: model.initialize(module, key, image_shape), jax.random.key(0)
        )
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: _random_leaf(rng, path, leaf).astype(leaf.dtype), shapes
        )

    return make


@pytest.fixture
def shapes():
    """A function (name, image_shape, **options) -> {path: shape} of the parameters, uncomputed."""

    def make(name, image_shape, **options):
        module = model.create(name, **options)
        params = jax.eval_shape(
            lambda key: model.initialize(module, key, image_shape), jax.random.key(0)
        )["params"]
        leaves = jax.tree_util.tree_leaves_with_path(params)
        return {"/".join(key.key for key in path): leaf.shape for path, leaf in leaves}

    return make


@pytest.fixture
def tokenizer_file(tmp_path):
    """A tokenizer.json like CLIP's, of words: `a photo of cat` are 0 to 3, 8 begins and 9 ends."""
    tokenizers = pytest.importorskip("tokenizers")
    words = {"a": 0, "photo": 1, "of": 2, "cat": 3, "<start>": 8, "<end>": 9, "<unknown>": 10}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unknown>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 8), ("<end>", 9)]
    )
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


@pytest.fixture
def small(random_variables):
    """A function name -> random variables of a small network of that name."""

    def make(name, classes=3):
        width, pixels, _ = SMALL[name]
        module = model.create(name, classes=classes, width=width)
        return random_variables(module, (pixels, pixels, 3))

    return make


@pytest.fixture(scope="module", autouse=True)
def every_module(quick_compilation):
    """Networks here run once or twice."""
