"""What tasks of texts need besides those of images: a tokenizer, and the network's options."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
from ml_collections import ConfigDict

from jaxmask import data, model
from jaxmask.data.dataset import TEXTS
from jaxmask.data.tokenizer import Tokenizer
from jaxmask.data.words import WORDS
from jaxmask.errors import InputError, check_numbers
from jaxmask.model import outside
from jaxmask.model.bert import Bert
from jaxmask.run import fields
from jaxmask.run.seeds import number
from jaxmask.task import tokens

POSITIONS = 512  # of a network without weights, or data.tokens if that is more
OF_IMAGES = ("decode_size", "size", "crop_padding", "flip", "mean", "std")


def are(config: ConfigDict) -> bool:
    """Whether a data section is of texts."""
    return config.name.startswith(TEXTS)


def of_words(config: ConfigDict) -> bool:
    """Whether a data section is of texts whose words are predicted."""
    return config.name.startswith(WORDS)


def asked(network: ConfigDict) -> dict[str, Any]:
    """The options of a network of texts that a network section sets."""
    return {name: network[name] for name in ("pool", "attention") if network.get(name)}


def load(config: ConfigDict, seed: int, start: str, about: Mapping[str, Any]) -> data.Dataset:
    """The dataset of texts that a data section describes, by the tokenizer of the start.

    Args:
      start: of the experiment, beside which the tokenizer may lie.
      about: the start's metadata.

    Raises:
      InputError: the data section has fields of images, or see `data.load_texts` and `tokens.find`.
    """
    for name in OF_IMAGES:
        default = fields.DATA[name][0]
        if (tuple(config[name]) if isinstance(default, tuple) else config[name]) != default:
            raise InputError(
                f"data.{name} is for images, and {config.name} is of texts; leave it out"
            )
    check_numbers("data.tokens", [config.tokens], 1)
    beside = [] if start in ("random", "pretrain", "") else [start]
    tokenizer = tokens.find(config.tokenizer, beside, about, "--config.data.tokenizer")
    chosen = {
        "tokens": config.tokens,
        "share": config.share,
        "validation": int(config.validation) if config.validation >= 1 else config.validation,
        "seed": number(seed, "data"),
    }
    if not of_words(config):
        return data.load_texts(config.name, tokenizer, classes=tuple(config.classes), **chosen)
    if config.classes:
        raise InputError(f"data.classes: {config.name} has no classes but words; leave it out")
    return data.load_words(config.name, tokenizer, **chosen)


def options(
    config: ConfigDict, network: ConfigDict, tokenizer: Tokenizer, start: Mapping[str, Any]
) -> dict[str, Any]:
    """The options of `model.create` for a network that reads what a tokenizer writes.

    Args:
      config: the data section.
      start: those of the starting weights; {} if there are none.
    """
    if outside.is_outside(network.name):
        if of_words(config):
            raise InputError(
                f"{network.name} has no head for words; give a network of this package"
            )
        return asked(network)
    if not model.reads_texts(network.name):
        raise InputError(
            f"{network.name} reads images, and {config.name} is of texts; give one of "
            f"{', '.join(filter(model.reads_texts, model.names()))}"
        )
    fresh = {
        "vocabulary": tokenizer.vocabulary,
        "context": max(POSITIONS, config.tokens),
        "padding": tokenizer.padding,
    }
    mlm = {"mlm": of_words(config)}
    return {**fresh, **start, **asked(network), **mlm, "separator": tokenizer.separator}


def predicts_words(module: nn.Module) -> bool:
    """Whether a network's head is for words, and not for classes."""
    return isinstance(module, Bert) and module.mlm


def network_of(module: nn.Module) -> Callable[..., tuple[jax.Array, Any]]:
    """`model.apply_function`; where words are predicted, for `data.Blanks` in place of images, with
    logits [B, K, words].
    """
    whole = model.apply_function(module)
    if not predicts_words(module):
        return whole

    def network(
        parameters: Any, batch_stats: Any, inputs: Any, train: bool
    ) -> tuple[jax.Array, Any]:
        if not isinstance(inputs, data.Blanks):  # embeddings
            return whole(parameters, batch_stats, inputs, train)
        logits: Any = module.apply({"params": parameters}, inputs.ids, places=inputs.places)
        return logits, batch_stats

    return network


def words_of(inputs: data.Blanks, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The `targets` of a training problem of words."""
    return inputs.words, inputs.counted


def told(test: Mapping[str, float]) -> dict[str, float]:
    """What a result says of a test besides the accuracy."""
    return {name: test[name] for name in ("perplexity",) if name in test}


def check_classifies(module: nn.Module, what: str) -> None:
    """Raises InputError for a network that predicts words."""
    if predicts_words(module):
        raise InputError(f"{what} is of classes, and the network predicts words; leave it out")


def check_fits(module: nn.Module, tokenizer: Tokenizer, row: int) -> None:
    """Raises InputError unless a network can read rows of `row` ids of a tokenizer.

    Of a network of the user's own, those fields are checked that it has.
    """
    given: dict[str, Any] = {name: getattr(module, name, None) for name in
                             ("vocabulary", "padding", "context")}  # fmt: skip
    if given["vocabulary"] is not None and given["vocabulary"] < tokenizer.vocabulary:
        raise InputError(
            f"{tokenizer.path} has {tokenizer.vocabulary} tokens, more than the "
            f"{given['vocabulary']} words of the network; give the tokenizer of its weights"
        )
    if given["padding"] not in (None, tokenizer.padding):
        raise InputError(
            f"{tokenizer.path} fills up rows with token {tokenizer.padding}, the network expects "
            f"{given['padding']}; give the tokenizer of its weights"
        )
    if given["context"] is not None and given["context"] < row:
        raise InputError(
            f"rows have {row} tokens, and the network has positions for {given['context']}; set "
            f"data.tokens to at most {1 << given['context'].bit_length() - 1}"
        )
