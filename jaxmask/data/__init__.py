"""Datasets of images and texts, splits and label subsets; augmentation and random views on the
device."""

from jaxmask.data.augment import augmentation
from jaxmask.data.dataset import Dataset, Split, load, load_split
from jaxmask.data.lazy import Lazy
from jaxmask.data.moments import statistics
from jaxmask.data.stream import stream
from jaxmask.data.texts import load_texts, load_texts_split
from jaxmask.data.tokenizer import Tokenizer
from jaxmask.data.tokenizer import read as read_tokenizer
from jaxmask.data.views import view_sizes, views
from jaxmask.data.words import Blanks, blanks, load_words

__all__ = [
    "Blanks",
    "Dataset",
    "Lazy",
    "Split",
    "Tokenizer",
    "augmentation",
    "blanks",
    "load",
    "load_split",
    "load_texts",
    "load_texts_split",
    "load_words",
    "read_tokenizer",
    "statistics",
    "stream",
    "view_sizes",
    "views",
]
