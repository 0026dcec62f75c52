"""CLIP's text tower from a checkpoint: its sizes and settings, and tokenization."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxmask.errors import InputError, nearest
from jaxmask.model import clip, torch_names, transformer

# Old configs wrongly give this number for the end mark: there the highest token is the end.
_UNKNOWN_END = 2
_SETTINGS = ("hidden_act", "layer_norm_eps", "num_attention_heads")


def check_image_tower(config: Mapping[str, Any], heads: int, source: str) -> None:
    """Raises InputError if a checkpoint's config.json specifies an image tower unlike ours.

    These settings change the outputs but not the shapes.
    """
    ours = {**_usual(), "num_attention_heads": heads}
    there = config.get("vision_config") or {}
    for key in _SETTINGS:
        if there.get(key, ours[key]) != ours[key]:
            raise InputError(
                f"{source} is a CLIP whose vision_config has {key} {there[key]!r}; only "
                f"{ours[key]!r} is implemented"
            )


def text_tower(
    state: Mapping[str, np.ndarray], config: Mapping[str, Any], source: str
) -> clip.TextTower:
    """The module without weights, sized as the arrays of `state` and with the config's settings."""
    shapes = {name: array.shape for name, array in state.items()}

    def shape(path: str, axes: int = 2) -> tuple[int, ...]:
        name = torch_names.their_name(path, torch_names.layout("clip text", "clip"))
        found = shapes.get(name, ())
        if len(found) != axes:
            raise InputError(f"{source} has no CLIP text tower: it lacks {name}")
        return found

    vocabulary, size = shape("params/token/embedding")
    blocks = {
        match[1]
        for name in shapes
        if (match := re.match(r"text_model\.encoder\.layers\.(\d+)", name))
    }
    there = {**_usual(), **(config.get("text_config") or {})}
    heads = there.get("num_attention_heads", max(1, size // transformer.HEAD))
    if there["layer_norm_eps"] != clip.EPSILON or size % heads:
        raise InputError(
            f"the config.json of {source} specifies a text tower that is not implemented: "
            f"layer_norm_eps {there['layer_norm_eps']}, {heads} heads for {size} units"
        )
    if there["hidden_act"] not in clip.ACTIVATIONS:
        close = nearest(str(there["hidden_act"]), clip.ACTIVATIONS)
        raise InputError(f"{source} has the activation {there['hidden_act']!r}{close}")
    return clip.TextTower(
        vocabulary=vocabulary,
        context=shape("params/position")[0],
        size=size,
        blocks=len(blocks),
        heads=heads,
        projection=shape("params/projection/kernel")[0],
        activation=clip.ACTIVATIONS[there["hidden_act"]],
    )


def _usual() -> dict[str, Any]:
    return {"hidden_act": "quick_gelu", "layer_norm_eps": clip.EPSILON}


def tokenise(
    folder: Path, texts: Sequence[str], tower: clip.TextTower, config: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens int32 [N, T] of texts, padded at the end, and the positions [N] of their end marks.

    A text too long for the tower is truncated, but keeps the end mark.

    Args:
        folder: the one with the checkpoint's tokenizer.json.
        texts: N texts.
        tower: limits the number of tokens, and their vocabulary.
        config: the checkpoint's config.json.

    Raises:
        InputError: there is no such file, or it is not a tokenizer, or one for another tower.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise InputError(f"there is no {path}; put the CLIP checkpoint's tokenizer.json there")
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise InputError(f"{path} needs the package tokenizers; install jaxmask[hub]") from None
    try:
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_padding()
        tokenizer.enable_truncation(tower.context)
        rows = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    except Exception as error:  # the library raises nothing more specific
        raise InputError(f"{path} is not a tokenizer for CLIP ({error})") from None
    end = (config.get("text_config") or {}).get("eos_token_id", _UNKNOWN_END)
    ends = [_end(row, end) for row in rows]
    if -1 in ends:
        raise InputError(
            f"{path} does not end {texts[ends.index(-1)]!r} with token {end}, the end mark in the "
            "checkpoint's config.json; give the checkpoint's own tokenizer.json"
        )
    highest = max(map(max, rows))
    if highest >= tower.vocabulary:
        raise InputError(
            f"{path} gives token {highest}; the checkpoint has {tower.vocabulary} tokens"
        )
    tokens = np.zeros((len(rows), max(map(len, rows))), np.int32)
    for line, row in zip(tokens, rows):
        line[: len(row)] = row
    return tokens, np.array(ends, np.int32)


def _end(row: list[int], end: int) -> int:
    """The first position of the end mark, -1 if there is none."""
    if not row:
        return -1
    if end == _UNKNOWN_END:
        return int(np.argmax(row))
    return row.index(end) if end in row else -1
