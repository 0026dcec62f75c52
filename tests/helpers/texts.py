"""A small tokenizer and small folders of texts, for tests."""

import json

import numpy as np

MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ANIMALS, TOOLS = ("cat", "dog", "owl", "fox"), ("saw", "axe", "drill", "file")
FILLING = ("the", "a", "is", "was", "old", "new", "big", "##s", "##ing", "very", "?", "!", "'", ".",
           "caf", "##e", "naive", "u", "##ber", "x", "##x")  # fmt: skip
WORDS = (*MARKS, *ANIMALS, *TOOLS, *FILLING)


def vocabulary(folder, words=WORDS, **settings):
    """Writes a vocab.txt, and settings beside it if there are any; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    if settings:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder / "vocab.txt"


def sentences(count, seed=0, pair=False):
    """(labels, texts): what is named in them is an animal or a tool, or in a pair the same kind."""
    rng = np.random.default_rng(seed)
    filling = [word for word in FILLING if word.isalpha()]

    def one(kind):
        words = [str(rng.choice(filling)) for _ in range(rng.integers(3, 9))]
        words[rng.integers(len(words))] = str(rng.choice((ANIMALS, TOOLS)[kind]))
        return " ".join(words)

    first, second = rng.integers(0, 2, (2, count))
    if pair:
        labels = np.where(first == second, "same", "other")
        return labels, [(one(a), one(b)) for a, b in zip(first, second)]
    return np.where(first == 0, "animal", "tool"), [one(kind) for kind in first]


def written(path, labels, texts, header=None):
    """Writes a .tsv."""
    rows = [(label, *([text] if isinstance(text, str) else text))
            for label, text in zip(labels, texts)]  # fmt: skip
    header = header or ("label", "text", "text2")[: len(rows[0])]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row) + "\n" for row in (header, *rows)), encoding="utf-8")


def folder(path, train=160, test=60, pair=False):
    """Writes a folder of texts with a tokenizer; returns the folder."""
    for seed, (name, count) in enumerate({"train": train, "test": test}.items()):
        written(path / f"{name}.tsv", *sentences(count, seed, pair))
    vocabulary(path)
    return path


def paragraphs(path, count=60, tokens=30, seed=0):
    """Writes a file of paragraphs that each repeat one word."""
    words = np.random.default_rng(seed).choice([*ANIMALS, *TOOLS], count)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(" ".join([word] * tokens) for word in words))
    return path
