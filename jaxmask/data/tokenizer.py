"""Texts to token ids, by the file that belongs to a network's weights."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmask import files
from jaxmask.errors import InputError

NAMES = ("tokenizer.json", "vocab.txt")  # the first that exists is taken
SETTINGS = "tokenizer_config.json"
SHORTEST = 16  # rows are of this many tokens, or twice, four times, ...
# what Hugging Face's class for vocab.txt reads from the settings -> the library's name for it
_WORD_PIECE = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}


class Tokenizer(NamedTuple):
    """A tokenizer, and what a network must know of it.

    Attributes:
      library: the `tokenizers.Tokenizer`, which neither cuts nor pads.
      path: its file.
      fingerprint: SHA-256 of what it depends on, as hexadecimal digits.
      vocabulary: one more than the largest id.
      padding: the id that fills up a row.
      separator: the id after which the second text of a pair begins, where tokens of the second
        text have a type of their own; else None.
      blank: the id of the mask token, for masked language modelling; None if there is none.
      special: all ids that stand for no piece of a text, padding among them.
      source: how to find the file again, as a config's `start`; "" is `path`.
    """

    library: Any
    path: Path
    fingerprint: str
    vocabulary: int
    padding: int
    separator: int | None
    blank: int | None
    special: tuple[int, ...]
    source: str = ""


class Rows(NamedTuple):
    """Texts as ids int32 [N, L], filled up; `lengths` int [N], and how many texts were cut."""

    ids: np.ndarray
    lengths: np.ndarray
    cut: int


def read(path: str | Path) -> Tokenizer:
    """The tokenizer in a `tokenizer.json`, or in a `vocab.txt` of BERT's word pieces.

    With a vocab.txt, the `tokenizer_config.json` beside it says whether capitals and accents count.

    Raises:
      InputError: the package `tokenizers` is missing, the file cannot be read, or it lacks a token
        that fills up rows.
    """
    path = Path(path)
    try:
        import tokenizers
    except ImportError:
        raise InputError(
            f"{path} needs the package tokenizers: pip install 'jaxmask[text]'"
        ) from None
    settings_file = path.parent / SETTINGS
    settings = (
        files.read_json(settings_file, "repair or remove it") if settings_file.is_file() else {}
    )
    used: dict[str, Any] = {}
    try:
        content = path.read_bytes()
        if path.suffix == ".txt":
            used = {ours: settings[name] for name, ours in _WORD_PIECE.items() if name in settings}
            library = _word_pieces(tokenizers, path, used)
        else:
            library = tokenizers.Tokenizer.from_str(content.decode())
    except InputError:
        raise
    except Exception as error:  # the library raises nothing more specific
        raise InputError(f"{path} is not a tokenizer's file ({error})") from None
    print_of = hashlib.sha256(
        content + (json.dumps(used, sort_keys=True).encode() if used else b"")
    )
    padding = _padding(library, settings)
    library.no_truncation()
    library.no_padding()
    if padding is None:
        raise InputError(f"{path} has no token to fill up rows, such as [PAD]; add one")
    vocabulary = library.get_vocab(with_added_tokens=True)
    added = library.get_added_tokens_decoder()
    special = {index for index, token in added.items() if token.special} | {padding}
    return Tokenizer(
        library=library,
        path=path,
        fingerprint=print_of.hexdigest(),
        vocabulary=max(vocabulary.values()) + 1,
        padding=padding,
        separator=_separator(library, path),
        blank=_named(vocabulary, settings.get("mask_token"), "[MASK]", "<mask>"),
        special=tuple(sorted(special)),
    )


def _word_pieces(tokenizers: Any, path: Path, used: dict[str, Any]) -> Any:
    words = path.read_text(encoding="utf-8").split("\n")
    vocabulary = {word.removesuffix("\r"): index for index, word in enumerate(words) if word}
    lacking = [word for word in ("[UNK]", "[CLS]", "[SEP]", "[PAD]") if word not in vocabulary]
    if lacking:
        raise InputError(f"{path} lacks the tokens {', '.join(lacking)} of BERT's word pieces")
    made = tokenizers.implementations.BertWordPieceTokenizer(vocabulary, **used)
    return tokenizers.Tokenizer.from_str(made.to_str())


def _named(vocabulary: dict[str, int], *names: Any) -> int | None:
    """The id of the first of some tokens that there is; a token may be an object with its text."""
    for name in names:
        text = name.get("content") if isinstance(name, dict) else name
        if isinstance(text, str) and text in vocabulary:
            return vocabulary[text]
    return None


def _padding(library: Any, settings: dict[str, Any]) -> int | None:
    """As the settings say, which a user may have changed, else as the file itself pads."""
    vocabulary = library.get_vocab(with_added_tokens=True)
    found = _named(vocabulary, settings.get("pad_token"))
    if found is None and library.padding:
        found = int(library.padding["pad_id"])
    return _named(vocabulary, "[PAD]", "<pad>") if found is None else found


def _separator(library: Any, path: Path) -> int | None:
    pair = library.encode("a", "a")
    if not any(pair.type_ids):
        return None
    found = pair.ids[pair.type_ids.index(1) - 1]
    if pair.type_ids != types_of(np.array([pair.ids]), found, -1)[0].tolist():
        raise InputError(
            f"{path} gives the tokens of a pair the types {pair.type_ids}; only a type that begins "
            "after a token between the two texts is implemented"
        )
    return int(found)


def types_of(ids: np.ndarray, separator: int | None, padding: int) -> np.ndarray:
    """The token types that `model.bert.Bert` derives: 1 after the first separator, 0 before."""
    if separator is None:
        return np.zeros_like(ids)
    are = ids == separator
    return np.where(ids == padding, 0, np.minimum(np.cumsum(are, axis=1) - are, 1))


def encode(tokenizer: Tokenizer, texts: Sequence[Any], tokens: int, row: int = 0) -> Rows:
    """Texts, or pairs of them, as rows of ids.

    Args:
      texts: each a text, or a tuple of two.
      tokens: of a text (with those that mark its ends) at most; longer ones are cut at the end, of
        two texts always the longer one.
      row: the length of the rows; 0 is the smallest of 16, 32, 64, ... that holds all texts, so
        that many datasets share compiled programs.

    Raises:
      InputError: a text holds the separator of pairs itself (the message says which); `tokens` is
        less than the marks of the ends need.

    Example:
      >>> from jaxmask.data import read_tokenizer
      >>> from jaxmask.data.tokenizer import encode
      >>> mine = read_tokenizer("vocab.txt")  # doctest: +SKIP
      >>> encode(mine, ["a text", "another"], tokens=32).ids.shape  # doctest: +SKIP
      (2, 16)
    """
    library = tokenizer.library
    pairs = any(isinstance(text, tuple) for text in texts)
    marks = library.num_special_tokens_to_add(pairs)
    if tokens <= marks:
        raise InputError(
            f"data.tokens is {tokens}, of which {marks} mark the ends of a text; give more"
        )
    library.enable_truncation(tokens)
    try:
        found = library.encode_batch(list(texts))
    finally:
        library.no_truncation()
    lengths = np.array([len(each.ids) for each in found], np.int64)
    longest = int(lengths.max(initial=1))
    row = row or bucket(longest)
    ids = np.full((len(found), row), tokenizer.padding, np.int32)
    types = np.zeros_like(ids)
    for index, each in enumerate(found):
        ids[index, : len(each.ids)] = each.ids
        types[index, : len(each.ids)] = each.type_ids
    inside = np.arange(row) < lengths[:, None]
    derived = types_of(ids, tokenizer.separator, tokenizer.padding)
    for what, wrong in (
        ("that fills up rows", inside & (ids == tokenizer.padding)),
        ("that stands between two texts", inside & (types != derived)),
    ):
        if wrong.any():
            shown = texts[int(wrong.any(axis=1).argmax())]
            raise InputError(f"the text {shown!r:.60} contains the token {what}; remove it")
    return Rows(ids, lengths, sum(bool(each.overflowing) for each in found))


def bucket(longest: int) -> int:
    """The smallest of 16, 32, 64, ... that is at least `longest`."""
    return max(SHORTEST, 1 << max(longest - 1, 0).bit_length())
