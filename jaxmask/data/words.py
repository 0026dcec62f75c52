"""Masked language modelling: texts of any kind as rows of token ids, and the words to predict."""

import glob
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmask import signals
from jaxmask.data import text_source
from jaxmask.data.dataset import Dataset, Split
from jaxmask.data.subset import split_training
from jaxmask.data.tokenizer import Tokenizer, bucket
from jaxmask.errors import InputError

WORDS = "mlm:"
SHARE = 0.15  # of the tokens that are predicted
BLANK, RANDOM = 0.8, 0.1  # of these: replaced by the mask token, or by a random word
HELD_OUT = re.compile(r"heldout|held_out|held-out|test", re.IGNORECASE)
TEST_SHARE = 10  # one row in 10, if no file is named so
BATCH = 4096  # paragraphs tokenized at a time


class Blanks(NamedTuple):
    """Texts with words to predict.

    Attributes:
      ids: int [B, L], with some tokens replaced.
      places: int [B, K], where tokens are predicted; L times the share, rounded.
      words: int [B, K], which tokens are there.
      counted: bool [B, K]: a text with fewer tokens has fewer places, which come first.
    """

    ids: jax.Array
    places: jax.Array
    words: jax.Array
    counted: jax.Array


def load_words(
    name: str,
    tokenizer: Tokenizer,
    *,
    tokens: int = 128,
    share: float = 1.0,
    validation: float = 0.1,
    seed: int = 0,
) -> Dataset:
    """Files of texts, a paragraph a line, as token ids int32 [N, L].

    The paragraphs of a file are joined and cut into rows of `tokens`, with the marks of a text's
    ends around each; the last row of a file may be shorter. Files with "test" or "heldout" in their
    names are tested on; if there are none, the last tenth of the rows of each file is.

    Args:
      name: "mlm:PATH[,PATH...]": text files, folders (all `.txt` files in them), or patterns
        with `*`.
      tokenizer: of `read_tokenizer`, with a mask token.
      tokens: of a row, its marks among them.
      share, validation: of the rows that are not tested on, as for `data.load`.
      seed: decides which rows these are.

    Returns:
      A dataset whose labels are all 0, for the one "class" called word.

    Raises:
      InputError: a file is missing, empty or not UTF-8, there is nothing to test on, or an option
        is invalid.
    """
    if tokenizer.blank is None:
        raise InputError(f"{tokenizer.path} has no mask token, such as [MASK]; use another")
    files = _files(name)
    rows = {file: _rows(file, tokenizer, tokens) for file in files}
    tested = [file for file in files if HELD_OUT.search(file.stem)]
    if len(tested) == len(files):
        raise InputError(f"{name}: all files are named as to be tested on; give others, too")
    learned = [rows[file] for file in files if file not in tested]
    test = [rows[file] for file in tested]
    if not test:
        ends = [len(each) - max(len(each) // TEST_SHARE, min(1, len(each) - 1)) for each in learned]
        test = [each[end:] for each, end in zip(learned, ends)]
        learned = [each[:end] for each, end in zip(learned, ends)]
    train, held = np.concatenate(learned), np.concatenate(test)
    if not len(held):
        raise InputError(f"{name} is too short to test on a part of it; give more texts")
    training, held_out = split_training(np.zeros(len(train), np.int32), share, validation, seed)
    parts = (train[training], train[held_out], held)
    made = [Split(ids, np.zeros(len(ids), np.int32)) for ids in parts]
    return Dataset(name, made[0], made[1], made[2], ("word",), tokenizer)


def count(length: int) -> int:
    """How many tokens are predicted of `length`: the share, rounded, at least one."""
    return max(int(SHARE * length + 0.5), 1)


def blanks(tokenizer: Tokenizer) -> Callable[[jax.Array | None, jax.Array], Blanks]:
    """A pure function from token ids to texts with words to predict (Devlin et al., 2019).

    Of the m tokens of a text that are pieces of it, max(round(0.15 m), 1) are drawn. Of these, each
    by itself, 80 % become the mask token, 10 % a random token (a piece of text, maybe the same) and
    10 % stay.

    Returns:
      f(key, ids int [B, L]) -> `Blanks`. With `key=None`, for evaluation, the draws of a text
      depend on its tokens alone.

    Example:
      >>> make = blanks(tokenizer)  # doctest: +SKIP
      >>> make(jax.random.key(0), ids).places.shape  # doctest: +SKIP
      (32, 19)
    """
    blank = tokenizer.blank
    assert blank is not None
    special = np.zeros(tokenizer.vocabulary, bool)
    special[list(tokenizer.special)] = True
    pieces = np.sort(list(tokenizer.library.get_vocab(with_added_tokens=True).values()))
    pieces = pieces[~special[pieces]].astype(np.int32)

    def of_text(key: jax.Array, ids: jax.Array) -> Blanks:
        most = count(len(ids))
        of_places, of_kinds, of_words = jax.random.split(key, 3)
        drawn = jax.random.uniform(of_places, ids.shape, np.float32)
        usable = ~jnp.asarray(special)[ids]
        _, places = jax.lax.top_k(jnp.where(usable, drawn, -1), most)
        number = usable.sum()
        wanted = jnp.maximum(jnp.floor(SHARE * number + 0.5).astype(jnp.int32), 1)
        counted = jnp.arange(most) < jnp.minimum(wanted, number)
        words = ids[places]
        kind = jax.random.uniform(of_kinds, (most,), np.float32)
        others = jnp.asarray(pieces)[jax.random.randint(of_words, (most,), 0, len(pieces))]
        new = jnp.where(kind < BLANK, blank,
                        jnp.where(kind < BLANK + RANDOM, others, words))  # fmt: skip
        changed = ids.at[places].set(jnp.where(counted, new, words))
        return Blanks(changed, places, words, counted)

    def make(key: jax.Array | None, ids: jax.Array) -> Blanks:
        if key is None:
            factors = (2 * np.arange(ids.shape[1], dtype=np.uint32) + 1) * np.uint32(0x9E3779B1)
            sums = (ids.astype(jnp.uint32) * factors).sum(axis=1, dtype=jnp.uint32)
            keys = jax.vmap(lambda each: jax.random.fold_in(jax.random.key(0), each))(sums)
        else:
            keys = jax.random.split(key, len(ids))
        return jax.vmap(of_text)(keys, ids)

    return make


def first_blanks(ids: jax.Array) -> Blanks:
    """The first tokens of texts to predict, as many as `blanks` draws, to measure the time."""
    places = jnp.broadcast_to(jnp.arange(count(ids.shape[1])), (len(ids), count(ids.shape[1])))
    words = ids[:, : places.shape[1]]
    return Blanks(ids, places, words, jnp.ones(words.shape, bool))


def _files(name: str) -> list[Path]:
    if not name.startswith(WORDS):
        raise InputError(f"{name} is not of texts to predict words of; give mlm:FILE,FILE")
    found: list[Path] = []
    for given in name.removeprefix(WORDS).split(","):
        path = Path(given.strip()).expanduser().absolute()
        if path.is_dir():
            files = sorted(path.glob("*.txt"))
        elif path.is_file():
            files = [path]
        else:
            files = sorted(Path(each) for each in glob.glob(str(path)) if Path(each).is_file())
        if not given.strip() or not files:
            raise InputError(f"{name}: there is no file of texts {given!r}; give .txt files")
        found += [file for file in files if file not in found]
    return found


def _rows(file: Path, tokenizer: Tokenizer, tokens: int) -> np.ndarray:
    """Rows of a file's ids, int32 [N, L]."""
    library = tokenizer.library
    before, after = _marks(tokenizer)
    room = tokens - len(before) - len(after)
    if room < 1:
        raise InputError(
            f"data.tokens is {tokens}, of which {len(before) + len(after)} mark the ends of a row; "
            "give more"
        )
    paragraphs = [line for _, line in text_source.lines(file) if line.strip()]
    pieces: list[np.ndarray] = []
    for start in range(0, len(paragraphs), BATCH):
        signals.obey()
        part = library.encode_batch(paragraphs[start : start + BATCH], add_special_tokens=False)
        pieces += [np.array(each.ids, np.int32) for each in part]
    ids = np.concatenate(pieces) if pieces else np.zeros(0, np.int32)
    # marks that a paragraph spells out would count as such
    ids = ids[~np.isin(ids, [tokenizer.padding, *before, *after])]
    if not len(ids):
        raise InputError(f"{file} has no texts; give a file with a paragraph a line")
    number = -(-len(ids) // room)
    filled = np.full(number * room, tokenizer.padding, np.int32)
    filled[: len(ids)] = ids
    rows = np.full((number, bucket(tokens)), tokenizer.padding, np.int32)
    rows[:, : len(before)] = before
    rows[:, len(before) : len(before) + room] = filled.reshape(number, room)
    lengths = np.minimum(len(ids) - room * np.arange(number), room) + len(before)
    for place, mark in enumerate(after):
        rows[np.arange(number), lengths + place] = mark
    return rows


def _marks(tokenizer: Tokenizer) -> tuple[Sequence[int], Sequence[int]]:
    """The ids before and after a text."""
    found = tokenizer.library.encode("a")
    own = [index for index, mark in enumerate(found.special_tokens_mask) if not mark]
    return found.ids[: own[0]], found.ids[own[-1] + 1 :]
