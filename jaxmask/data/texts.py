"""Load labeled texts as token ids, split into training, validation and test sets."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging

from jaxmask.data import splits, text_source
from jaxmask.data import tokenizer as tokenizers
from jaxmask.data.dataset import Dataset, Part, Split, assembled, check_names
from jaxmask.data.tokenizer import Tokenizer
from jaxmask.errors import InputError

TEXT = "text:"


def load_texts(
    name: str,
    tokenizer: Tokenizer,
    *,
    tokens: int = 128,
    classes: Sequence[int] = (),
    share: float = 1.0,
    validation: float = 0.1,
    seed: int = 0,
) -> Dataset:
    """Labeled texts of a folder, as token ids in place of images: int32 [N, L].

    The folder has a `train.tsv`, and a `validation.tsv` and a `test.tsv` if there are such; see
    `text_source.find` for what is in them. Which is trained and tested on, and what is held out, is
    as for `data.load`; the fifth of `train.tsv` that is tested on where there is no other file
    depends on the texts alone. All splits have rows of the same length L, see `tokenizer.encode`.

    Args:
      name: "text:FOLDER".
      tokenizer: of `read_tokenizer`.
      tokens: of a text at most; longer ones are cut, and a line tells how many.
      classes, share, validation, seed: as for `data.load`.

    Raises:
      InputError: the folder or a line of a file is not as it must be, or an option is invalid.
    """
    found = _found(name)
    sources = {split: splits.choose(found.splits, split) for split in ("train", "test")}
    every = text_source.taken(found, found.splits)
    rows = _encoded(every, tokenizer, tokens, 0, str(found.path))
    starts = np.cumsum([0, *(len(part.labels) for part in found.parts.values())])
    where = {part: np.arange(*starts[i : i + 2]) for i, part in enumerate(found.splits)}

    def part(split: str) -> Part:
        source = sources[split]
        places = np.concatenate([where[own] for own in source.names])
        ids, labels = rows.ids[places], every.labels[places]
        indices = np.arange(len(labels))
        if source.fifth is not None:
            keys = text_source.keys([every.texts[place] for place in places])
            indices = np.flatnonzero(splits.in_fifth(labels, keys) == source.fifth)
        return Part(ids, indices, labels[indices], found.classes)

    made = assembled(name, part("train"), part("test"), classes, share, validation, seed)
    return made._replace(tokenizer=tokenizer)


def load_texts_split(
    name: str, split: str, tokenizer: Tokenizer, *, tokens: int, row: int = 0
) -> tuple[Split, tuple[str, ...]]:
    """One whole split and its class names; see `data.load_split`.

    Args:
      tokens, row: as for `tokenizer.encode`.
    """
    found = _found(name)
    source = splits.choose(found.splits, split)
    texts = text_source.taken(found, source.names)
    indices = np.arange(len(texts.labels))
    if source.fifth is not None:
        fifth = splits.in_fifth(texts.labels, text_source.keys(texts.texts))
        indices = np.flatnonzero(fifth == source.fifth)
    ids = _encoded(texts, tokenizer, tokens, row, str(found.path)).ids
    return Split(ids[indices], texts.labels[indices]), found.classes


def _found(name: str) -> text_source.Folder:
    if not name.startswith(TEXT):
        raise InputError(f"{name} is not of texts; give text:FOLDER")
    found = text_source.find(name.removeprefix(TEXT))
    check_names(name, found.classes)
    return found


def _encoded(
    texts: text_source.Texts, tokenizer: Tokenizer, tokens: int, row: int, where: str
) -> Any:
    rows = tokenizers.encode(tokenizer, texts.texts, tokens, row)
    if rows.cut:
        logging.warning(
            "%s: %d of %d texts were longer than %d tokens, and cut; data.tokens sets another "
            "number", where, rows.cut, len(texts.texts), tokens,
        )  # fmt: skip
    return rows
