import jax
import jax.numpy as jnp
import numpy as np
import pytest
import texts
from scipy.stats import binomtest

from jaxmask import data
from jaxmask.data import tokenizer, words
from jaxmask.errors import InputError


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    return tokenizer.read(texts.vocabulary(tmp_path_factory.mktemp("words")))


@pytest.fixture(scope="module")
def make(mine):
    return jax.jit(data.blanks(mine))


def rows(count, length, seed=0):
    """Rows of pieces with marks, some of them filled up."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(5, len(texts.WORDS), (count, length)).astype(np.int32)
    ends = rng.integers(2, length, count)
    ids[:, 0] = 2
    ids[np.arange(count), ends] = 3
    return np.where(np.arange(length) > ends[:, None], 0, ids)


IDS = rows(400, 64)


@pytest.mark.parametrize("key", [None, 0, 1])
def test_how_many_are_drawn_and_where(key, make):
    found = make(None if key is None else jax.random.key(key), IDS)
    assert found.places.shape == found.words.shape == found.counted.shape == (400, 10)
    pieces = (IDS >= 5).sum(axis=1)
    wanted = np.where(pieces, np.maximum(np.floor(0.15 * pieces + 0.5), 1), 0)
    np.testing.assert_array_equal(found.counted.sum(axis=1), wanted)
    original = np.take_along_axis(IDS, np.asarray(found.places), 1)
    np.testing.assert_array_equal(found.words, original)
    assert (original[np.asarray(found.counted)] >= 5).all()  # no mark, no padding
    for places, counted in zip(np.asarray(found.places), np.asarray(found.counted)):
        assert len(set(places[counted])) == counted.sum()
    # nothing else is changed
    changed = np.asarray(found.ids) != IDS
    counted = np.zeros_like(changed)
    np.put_along_axis(counted, np.asarray(found.places), np.asarray(found.counted), 1)
    assert not (changed & ~counted).any()


def likely(count, total, share):
    return binomtest(int(count), int(total), share).pvalue > 1e-4


def test_shares_of_the_rule(make, mine):
    """Of 1,000,000 tokens, within what chance allows; every place is as likely."""
    ids = np.full((4000, 250), 7, np.int32)
    found = make(jax.random.key(3), ids)
    new = np.take_along_axis(np.asarray(found.ids), np.asarray(found.places), 1)
    total = new.size
    assert total == 4000 * 38  # 37.5 rounded
    pieces = len(texts.WORDS) - 5
    assert likely((new == 4).sum(), total, 0.8)
    assert likely((new == 7).sum(), total, 0.1 + 0.1 / pieces)
    others = np.bincount(new[(new != 4) & (new != 7)], minlength=len(texts.WORDS))
    assert (others[:5] == 0).all()
    assert all(likely(count, total, 0.1 / pieces) for i, count in enumerate(others[5:]) if i != 2)
    drawn = np.bincount(np.asarray(found.places).ravel(), minlength=250)
    assert all(likely(count, 4000, 38 / 250) for count in drawn)


def test_draws_of_an_evaluation_depend_on_the_text_alone(make):
    found = make(None, IDS)
    order = np.random.default_rng(1).permutation(400)
    again = make(None, IDS[order])
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[order], b), found, again)
    other = IDS.copy()
    other[:, 1] = np.where(IDS[:, 1] == 6, 7, 6)
    # of those with many places, no two texts have the same
    many = (IDS >= 5).sum(axis=1) > 30
    different = (np.asarray(make(None, other).places) != np.asarray(found.places)).any(axis=1)
    assert different[many].all()


def test_a_training_draws_anew_at_each_step(make):
    first, second = (np.asarray(make(jax.random.key(i), IDS).places) for i in range(2))
    assert (first != second).any(axis=1).mean() > 0.9
    same = np.asarray(make(jax.random.key(0), np.repeat(IDS[:1], 400, 0)).places)
    assert len({tuple(row) for row in same}) > 300  # and for each text of a batch


def test_a_row_without_pieces(make):
    found = make(None, jnp.array([[2, 3] + [0] * 14], jnp.int32))
    assert not np.asarray(found.counted).any()
    assert found.ids.tolist() == [[2, 3] + [0] * 14]


@pytest.mark.parametrize(("length", "count"), [(1, 1), (10, 2), (16, 2), (128, 19), (512, 77)])
def test_count(length, count):
    assert words.count(length) == count


def written(folder, **contents):
    for name, content in contents.items():
        (folder / f"{name}.txt").write_text(content)


def test_rows_of_files(mine, tmp_path):
    written(tmp_path, a="the cat saw\n\n  \na dog\n", b="owl " * 30, heldout="the fox")
    found = data.load_words(f"mlm:{tmp_path}", mine, tokens=6, validation=0)
    a = [texts.WORDS.index(word) for word in ("the", "cat", "saw", "a", "dog")]
    owl = texts.WORDS.index("owl")
    expected = [[2, *a[:4], 3], [2, a[4], 3, 0, 0, 0], *[[2, *[owl] * 4, 3]] * 7,
                [2, owl, owl, 3, 0, 0]]  # fmt: skip
    assert found.train.images[:, :6].tolist() == expected
    assert found.train.images.shape == (10, 16)
    assert not found.train.images[:, 6:].any()
    fox = texts.WORDS.index("fox")
    assert found.test.images.tolist() == [[2, a[0], fox, 3] + [0] * 12]
    assert found.classes == ("word",)
    assert not found.train.labels.any()
    held = data.load_words(f"mlm:{tmp_path}", mine, tokens=6, validation=0.3, share=0.5)
    assert [len(split.labels) for split in held[1:4]] == [3, 2, 1]


def test_the_last_tenth_is_tested_on(mine, tmp_path):
    written(tmp_path, a="cat " * 80 + "dog " * 20, b="owl " * 10)
    for name in (f"mlm:{tmp_path}/a.txt, {tmp_path}/b.txt", f"mlm:{tmp_path}/?.txt"):
        found = data.load_words(name, mine, tokens=7, validation=0)
        dog, owl = texts.WORDS.index("dog"), texts.WORDS.index("owl")
        assert found.test.images[:, 1:6].tolist() == [[dog] * 5, [dog] * 5, [owl] * 5]
        assert len(found.train.labels) == 19


def test_marks_that_a_text_spells_out_are_left_out(mine, tmp_path):
    written(tmp_path, a="cat [SEP] dog [PAD] [CLS] owl [MASK] " * 4)
    found = data.load_words(f"mlm:{tmp_path}", mine, tokens=16, validation=0)
    ids = np.concatenate([found.train.images, found.test.images])
    assert ((ids == 3).sum(axis=1) == 1).all()
    assert (ids == 4).sum() == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mlm:", "there is no file of texts ''"),
        ("mlm:{}/none.txt", "there is no file of texts"),
        ("mlm:{}/a.txt,", "there is no file of texts ''"),
        ("mlm:{}/empty.txt", "empty.txt has no texts"),
        ("mlm:{}/test.txt", "all files are named as to be tested on"),
        ("mlm:{}/short.txt", "is too short to test on a part of it"),
        ("mlm:{}/bad.txt", "bad.txt line 2 is not UTF-8"),
        ("text:{}", "is not of texts to predict words of"),
    ],
)
def test_refusals(name, message, mine, tmp_path):
    written(tmp_path, a="cat " * 40, empty="\n", test="cat", short="cat")
    (tmp_path / "bad.txt").write_bytes(b"a\n\xff")
    with pytest.raises(InputError, match=message) as error:
        data.load_words(name.format(tmp_path), mine)
    assert "\n" not in str(error.value)


def test_what_a_tokenizer_needs(mine, tmp_path):
    written(tmp_path, a="cat " * 40)
    with pytest.raises(InputError, match="has no mask token"):
        data.load_words(f"mlm:{tmp_path}", mine._replace(blank=None))
    with pytest.raises(InputError, match=r"data\.tokens is 2, of which 2 mark the ends"):
        data.load_words(f"mlm:{tmp_path}", mine, tokens=2)
