"""Checkpoints of BERT and its relatives: their sizes, their settings, and which parts are used."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from absl import logging

from jaxmask.errors import InputError
from jaxmask.model import bert, registry, torch_layouts, torch_names

# what `model_type` in a config.json may be; others with the same names compute something else
_TYPES = ("bert", "distilbert", "electra")
# settings that change outputs but not shapes: those of BERT and of DistilBERT
_SETTINGS = {
    "hidden_act": "gelu",
    "activation": "gelu",
    "layer_norm_eps": bert.EPSILON,
    "position_embedding_type": "absolute",
    "is_decoder": False,
}
_HEADS = ("num_attention_heads", "n_heads")


def module(
    name: str,
    state: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
    source: str,
    width: float,
    options: Mapping[str, Any],
) -> tuple[bert.Bert, dict[str, Any]]:
    """The network called `name`, without weights, and all its options.

    The numbers of words, positions and token types are those of the arrays in `state`, the id of
    padding is the config's; `options` go first.

    Raises:
        InputError: the file holds another number of blocks, or blocks of another size.
    """
    layout = next(iter(torch_names.layouts(name).values()))

    def shape(path: str) -> tuple[int, ...]:
        found = state.get(torch_names.their_name(f"params/{path}", layout))
        return (0, 0) if found is None or found.ndim != 2 else found.shape

    words, units = shape("embeddings/word/embedding")
    sizes: dict[str, Any] = {
        "vocabulary": words,
        "context": shape("embeddings/position/embedding")[0],
    }
    sizes = {key: count for key, count in sizes.items() if count}  # else it is told as lacking
    if not name.startswith("distilbert"):
        sizes["types"] = shape("embeddings/token_type/embedding")[0]
    padding = config.get("pad_token_id")
    options = {**sizes, **({} if padding is None else {"padding": padding}), **options}
    made: Any = registry.create(name, classes=1, width=width, **options)
    blocks = 0
    while 0 not in shape(f"block{blocks}/query/kernel"):
        blocks += 1
    if words and blocks and (blocks, units) != (made.blocks, made.size):
        raise InputError(
            f"{source} holds {blocks} blocks of {units} units, and {name} has {made.blocks} of "
            f"{made.size}{_of_size(blocks, units, layout)}"
        )
    return made, options


def _of_size(blocks: int, units: int, layout: torch_names.Layout) -> str:
    """The networks of such a size, in a few words."""
    known = [
        name
        for name in filter(registry.reads_texts, registry.names())
        if layout in torch_names.layouts(name).values() and _size(name) == (blocks, units)
    ]
    return (
        f"; give {' or '.join(known)} of width 1" if known else "; no network here is of that size"
    )


def _size(name: str) -> tuple[int, int]:
    found: Any = registry.create(name, classes=1)
    return found.blocks, found.size


def check(module: bert.Bert, config: Mapping[str, Any], keys: Iterable[str], source: str) -> None:
    """Raises InputError for a network of the same names and shapes that computes something else.

    Args:
        module: ours.
        config: the checkpoint's config.json; {} if there is none.
        keys: the names of the arrays in the file.
        source: of the file, for messages.
    """
    kind = config.get("model_type")
    named = [match[1] for key in keys if (match := re.search(r"(?:^|\.)(\w*roberta)\.", key))]
    if kind not in (None, *_TYPES) or named or (kind is None and module.types == 1):
        what = kind or (named[0] if named else "network with one token type, as RoBERTa has")
        raise InputError(
            f"{source} is a {what}: its names are BERT's, but it computes something else (RoBERTa "
            "counts positions from 2); give a BERT"
        )
    ours = {**_SETTINGS, **dict.fromkeys(_HEADS, module.heads)}
    for key, value in ours.items():
        if config.get(key, value) != value:
            raise InputError(
                f"the config.json of {source} has {key} {config[key]!r}; only {value!r} is "
                "implemented"
            )


def used(
    name: str,
    which: str,
    state: Mapping[str, np.ndarray],
    module: bert.Bert,
    config: Mapping[str, Any],
    source: str,
) -> tuple[str, dict[str, np.ndarray]]:
    """The kind of layout, and the arrays that the network has.

    Its pooler and its classifier, which is on the pooler, are for `pool="pooler"`; the head for
    words, in place of the classifier, is for `mlm=True`, without the decoder, which must be the
    embeddings of words.

    Raises:
        InputError: the decoder is another one.
    """
    made_for = (config.get("architectures") or ["ForSequenceClassification"])[0]
    pooled = module.pool == "pooler"
    unused = {
        "the pooler": r"bert\.pooler\..*|pre_classifier\..*" if not pooled else "",
        "the classifier": r"classifier\..*" + (r"|head\..*" if module.mlm else ""),
        "the head for words": r"cls\..*|vocab_\w+\..*" if not module.mlm else "",
    }
    if module.mlm:
        which = torch_layouts.WORDS
    elif pooled and "ForSequenceClassification" in made_for:
        unused["the classifier"] = ""
    elif which == "classifier":
        which = next(iter(torch_names.layouts(name)))
    kept = dict(state)
    left = {what: [key for key in kept if re.fullmatch(keys, key)] for what, keys in unused.items()}
    for keys in left.values():
        for key in keys:
            del kept[key]
    if any(left.values()):
        logging.warning("%s: leaves out %s", source, ", ".join(what for what in left if left[what]))
    return which, _tied(kept, source)


def _tied(state: dict[str, np.ndarray], source: str) -> dict[str, np.ndarray]:
    """Without the second copies of what the head for words shares, after a check of them."""
    for copy, original in (
        ("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
        ("cls.predictions.decoder.bias", "cls.predictions.bias"),
        ("vocab_projector.weight", "distilbert.embeddings.word_embeddings.weight"),
    ):
        if copy not in state:
            continue
        array = state.pop(copy)
        if not np.array_equal(array, state.setdefault(original, array)):
            raise InputError(
                f"{source} has a {copy} of its own, other than {original}; leave out the head for "
                "words, mlm=False"
            )
    return state
