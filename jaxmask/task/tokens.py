"""The tokenizer of a network of texts: where its file lies."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxmask.data import tokenizer as tokenizers
from jaxmask.data.tokenizer import Tokenizer
from jaxmask.errors import InputError
from jaxmask.model import checkpoint

KINDS = "a tokenizer.json or vocab.txt, a folder with one, hub:OWNER/NAME or package:NAME"


def place(source: str) -> Path | None:
    """The tokenizer's file that a source names, or that lies beside its weights; None if none does.

    Args:
      source: the file itself, a folder, a weight file, "hub:owner/name" or "package:name".

    Raises:
      InputError: a checkpoint of the hub or of a package is not available.
    """
    path = Path(source)
    if not checkpoint.is_path(source):
        path = checkpoint.find(source)
    elif path.is_file() and path.suffix in (".json", ".txt"):
        return path
    elif not path.exists():
        return None
    folder = path if path.is_dir() else path.parent
    return next((folder / name for name in tokenizers.NAMES if (folder / name).is_file()), None)


def find(given: str, beside: Iterable[str], about: Mapping[str, Any], field: str) -> Tokenizer:
    """The tokenizer of a network.

    Args:
      given: where the user says it is; "" looks in other places.
      beside: weights beside which it may lie, and other sources, tried in this order.
      about: metadata of the network's file, if it was trained here: its "tokenizer" is the
        fingerprint of the one wanted, and "tokenizer_file" where that was.
      field: how the user gives another one, for errors.

    Raises:
      InputError: there is none, it cannot be read, or it is another one than was trained with.
    """
    wanted, other = about.get("tokenizer"), None
    known = [given] if given else [*beside, about.get("tokenizer_file", "")]
    for source in filter(None, known):
        path = place(source)
        if path is None:
            continue
        found = tokenizers.read(path)
        if wanted in (None, found.fingerprint):
            absolute = str(path.absolute())
            return found._replace(source=absolute if checkpoint.is_path(source) else source)
        other = path
    if other:
        raise InputError(
            f"{other} is another tokenizer than the weights were trained with: the fingerprints "
            f"differ; give that one: {field}=PATH"
        )
    why = f"there is no tokenizer at {given}" if given else "texts need a tokenizer"
    raise InputError(f"{why}: {field}=PATH, {KINDS}")
