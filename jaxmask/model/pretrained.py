"""Pretrained weights from PyTorch files into our networks, and back."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from flax import traverse_util

from jaxmask.errors import InputError
from jaxmask.model import (
    bert_file,
    checkpoint,
    clip_text,
    inside,
    registry,
    torch_file,
    torch_layouts,
    torch_names,
    transformer,
)
from jaxmask.model.torch_file import save

__all__ = ["Pretrained", "export", "is_ours", "load", "save", "text_head"]

_TEXTS = 256  # per batch of CLIP's text tower


class Pretrained(NamedTuple):
    """Weights under our names, and what is known about them.

    Attributes:
        variables: {"params", "batch_stats"}, nested dicts of float32 arrays; without `head` if
            the checkpoint has none.
        about: "layout" (its kind, see `export`); "classes" (of the head, or None); "names"
            ({plain name: its name in the file}); "mean" and "std" of the images' channels, if
            known, and "normalization", who told: "file", "kind" or "unknown"; "unsettled", how
            networks of the kind differ in it, if that must be known; "size" (pixels per side) for
            vision transformers. For networks of texts, in place of what is known of images:
            "options" for `model.create`, with the sizes that are the file's.
    """

    variables: dict[str, Any]
    about: dict[str, Any]


def load(
    source: str | Path,
    name: str,
    *,
    width: float = 1.0,
    stem: str = "",
    size: int | None = None,
    **options: Any,
) -> Pretrained:
    """Reads PyTorch weights for the network called `name`.

    The network may lie anywhere in the file: in a dict of a dict, under any prefix, in wrappers.
    What is taken off its names and what is left out is logged. float16 and bfloat16 become
    float32, pruned weights are multiplied by their masks. Projection heads and decoders of
    self-supervised training, copies such as a momentum encoder, counters, and for CLIP the text
    tower, are left out. Mean and std are those of the file's header, of a config.json (TIMM) or
    preprocessor_config.json beside it, else those that all checkpoints of its kind have.

    Of a network of texts, the numbers of words, positions and token types are the file's, and a
    config.json beside it must describe what `model.bert.Bert` computes. Its pooler and classifier
    are read with `pool="pooler"`, and its head for words, in place of the classifier, with
    `mlm=True`; else they are left out.

    Args:
        source: a .safetensors, .pth, .pt, .ckpt or .bin file, a folder with such a model file, or
            "hub:owner/name" or "package:name" (see `checkpoint.find`).
        name: one of `model.names()`.
        width: as for `model.create`.
        stem: as for `model.create`; "" for the network's default.
        size: for transformers, the images' pixels per side if different from the checkpoint's:
            the learned positions are then interpolated.
        **options: more options of `model.create`.

    Raises:
        InputError: the file cannot be fetched or read, holds several such networks, or one with
            other parts or arrays: the first of those that are missing, extra or of another shape
            are named. Or an array is complex or of integers, or a running variance negative.

    Example:
        >>> from jaxmask.model import pretrained
        >>> variables, about = pretrained.load("resnet18.safetensors", "resnet18")  # doctest: +SKIP
        >>> about["layout"], about["classes"]  # doctest: +SKIP
        ('torchvision', 1000)
    """
    torch_names.layouts(name)  # raises if no file can be for this network
    file = checkpoint.find(source)
    config = checkpoint.read_json(file.parent, "config.json")
    which, state, names = _network(file, name, str(source))
    which, layout = _settled(which, name, config.get("architecture"), str(source))
    options |= {"stem": stem} if stem else {}
    texts = registry.reads_texts(name)
    if texts:
        encoder, options = bert_file.module(name, state, config, str(source), width, options)
        bert_file.check(encoder, config, names.values(), str(source))
        which, state = bert_file.used(name, which, state, encoder, config, str(source))
        names = {plain: key for plain, key in names.items() if plain in state}
        layout = torch_names.layout(name, which)
    of_words = which == torch_layouts.WORDS
    leaf = "params/head/dense/kernel" if of_words else "params/head/kernel"
    head = state.get(torch_names.their_name(leaf, layout))
    classes = None if of_words or head is None or head.ndim == 0 else head.shape[0]
    module = registry.create(name, classes=classes or 1, width=width, **options)
    if which == "clip":
        clip_text.check_image_tower(config, module.heads, str(source))
    made_for = _made_for(state, module, layout)
    shape = (1,) if texts else ((made_for or 224,) * 2 + (3,))
    shapes = _shapes(lambda key: registry.initialize(module, key, shape))
    if head is None:
        shapes = {path: shape for path, shape in shapes.items() if "/head/" not in path}
    _check(state, shapes, layout, str(source), name)
    flat = torch_names.to_ours(state, shapes, layout)
    variables = {"params": {}, "batch_stats": {}, **traverse_util.unflatten_dict(flat, sep="/")}
    if made_for and size:
        variables["params"], done = transformer.fitted(
            variables["params"], (size, size), module.patch
        )
        if done:
            logging.warning("%s: %s", source, done)
    about = {"layout": which, "classes": classes, "names": names}
    about |= {"options": options} if texts else _normalization(file, layout)
    if made_for:
        about["size"] = size or made_for
    return Pretrained(variables, about)


def _network(
    file: Path, name: str, source: str
) -> tuple[str, dict[str, np.ndarray], dict[str, str]]:
    """(kind, {plain name: array}, {plain name: name in the file}) of a network in a file."""
    states = torch_file.read(file)
    place = inside.find(states, torch_layouts.family(name).body, source)
    keys = states[place.state]
    which, bare = torch_names.recognize(keys, name, place.prefix)
    arrays = {
        plain: torch_file.array(keys[key], f"{key} in {source}") for plain, key in bare.items()
    }
    state = inside.merged(arrays, source)
    names = inside.keys_of(state, bare)
    apart = inside.apart(keys, bare.values(), place.prefix)
    told = inside.described(
        place, names, [key for key in apart if not re.fullmatch(torch_layouts.COUNTERS, key)]
    )
    if told:
        logging.warning("%s: %s", source, told)
    return which, state, names


def _settled(
    which: str, name: str, architecture: Any, source: str
) -> tuple[str, torch_names.Layout]:
    """The kind and its layout, where TIMM's config.json lies beside and tells more than names."""
    kinds = torch_names.layouts(name)
    if which == "torchvision" and not kinds[which].own and "timm" in kinds and architecture:
        which = "timm"
    if kinds[which].unlike and re.fullmatch(kinds[which].unlike, str(architecture)):
        raise InputError(
            f"{source} is TIMM's {architecture}, with another padding and epsilon than {name}; "
            f"give tf_{name}"
        )
    return which, kinds[which]


def _made_for(state: Mapping[str, np.ndarray], module: Any, layout: torch_names.Layout) -> int:
    """The side of the images for which a transformer's positions are; 0 if there are none."""
    if not hasattr(module, "patch"):
        return 0
    positions = state.get(torch_names.their_name("params/position", layout))
    return 0 if positions is None else transformer.image_size(positions.shape, module.patch)


def _normalization(file: Path, layout: torch_names.Layout) -> dict[str, Any]:
    found = checkpoint.moments_in(file) or checkpoint.moments(file.parent)
    moments = found or layout.moments
    if moments:
        mean, std = moments
        return {"mean": list(mean), "std": list(std), "normalization": "file" if found else "kind"}
    return {"normalization": "unknown", "unsettled": layout.unsettled}


def _shapes(initialize: Callable[[jax.Array], Any]) -> dict[str, tuple[int, ...]]:
    flat = traverse_util.flatten_dict(jax.eval_shape(initialize, jax.random.key(0)), sep="/")
    return {path: leaf.shape for path, leaf in flat.items()}


def _check(
    state: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
    layout: torch_names.Layout,
    source: str,
    name: str,
) -> None:
    have = {key: array.shape for key, array in state.items()}
    parts = torch_names.unsupported(have, shapes, layout)
    if parts:
        raise InputError(f"{source} has {parts}, which {name} does not support; give other weights")
    wrong = torch_names.misfits(have, shapes, layout)
    if wrong:
        raise InputError(f"the weights of {source} do not fit {name}: they {'; '.join(wrong)}")
    torch_file.check_real(state, source)


def is_ours(source: str | Path) -> bool:
    """Whether `source` is a safetensors file in this package's names, `params/...`.

    Such files (and run directories, which hold one) are not for `load`.
    """
    path = Path(source)
    if path.is_dir():
        path = path / "weights.safetensors"
    if path.suffix not in checkpoint.SAFETENSORS or not path.is_file():
        return False
    found = checkpoint.safetensors_names(path)
    return bool(found) and all(name.split("/")[0] in ("params", "batch_stats") for name in found)


def text_head(
    source: str | Path, classes: Sequence[str], template: str = "a photo of a {}."
) -> dict[str, np.ndarray]:
    """CLIP's own head: cosine similarities with texts, times exp(logit_scale), as a dense layer.

    Args:
        source: a CLIP checkpoint with its text tower (as for `load`), its tokenizer.json beside it.
        classes: C class names.
        template: the text for a class; its name replaces `{}`.

    Returns:
        {"kernel": [F, C], "bias": zeros [C]}, float32, for `head` of the image tower.

    Raises:
        InputError: the checkpoint has no text tower or no tokenizer, or the template no `{}`.
    """
    if "{}" not in template or not classes:
        raise InputError(
            f"the text of a class is {template!r}, for {len(classes)} classes; give a text with "
            "{} for the name, and at least one class"
        )
    file = checkpoint.find(source)
    config = checkpoint.read_json(file.parent, "config.json")
    layout = torch_names.layout("clip text", "clip")
    _, arrays, _ = _network(file, "clip text", str(source))
    torch_file.check_real(arrays, str(source))
    logit_scale = arrays.pop("logit_scale", np.zeros(0))
    tower = clip_text.text_tower(arrays, config, str(source))
    texts = [template.replace("{}", name) for name in classes]
    tokens, ends = clip_text.tokenise(file.parent, texts, tower, config)
    shapes = _shapes(lambda key: tower.init(key, tokens[:1], ends[:1]))
    _check(arrays, shapes, layout, str(source), "CLIP's text tower")
    if logit_scale.size != 1:
        raise InputError(f"{source} has no CLIP text head: it lacks the number logit_scale")
    weights = traverse_util.unflatten_dict(torch_names.to_ours(arrays, shapes, layout), sep="/")
    scale = np.exp(np.asarray(logit_scale, np.float32).reshape(()))
    embed = jax.jit(tower.apply)
    embeddings = [
        embed(weights, tokens[start : start + _TEXTS], ends[start : start + _TEXTS])
        for start in range(0, len(texts), _TEXTS)
    ]
    kernel = scale * np.concatenate(embeddings).T
    return {"kernel": kernel, "bias": np.zeros(len(texts), np.float32)}


def export(
    variables: Mapping[str, Any], name: str, layout: str, names: Mapping[str, str] | None = None
) -> dict[str, np.ndarray]:
    """Weights in PyTorch's names and layouts, as a plain network has them.

    Args:
        variables: {"params", "batch_stats"} of the network called `name`.
        name: one of `model.names()`.
        layout: "cifar" or "torchvision" for resnet20 to resnet110; "torchvision" for resnet18, 34,
            50; "torchvision" or "timm" for mobilenetv2; "lite" (those of efficientnet_lite_pytorch)
            or "timm" for EfficientNet-Lite; "timm" for ViTs; "clip" for CLIP's image tower; "bert",
            "distilbert", "classifier" (the same with Hugging Face's name for the head) or "words"
            (with their head for words, of `mlm=True`) for networks of texts. (The other kinds that
            `load` tells apart have these plain names.)
        names: `about["names"]` of `load`, to have the checkpoint's names, prefix and all; None is
            plain names.

    Returns:
        {name: array}, as `load_state_dict` takes them once they are tensors. Batch norms' counters
        are not among them: PyTorch starts those that are missing at 0, also where it is strict.

    Raises:
        InputError: the network has no such layout.
    """
    flat = traverse_util.flatten_dict(
        {key: variables.get(key, {}) for key in ("params", "batch_stats")}, sep="/"
    )
    arrays = {path: np.asarray(leaf) for path, leaf in flat.items()}
    state = torch_names.to_theirs(arrays, torch_names.layout(name, layout))
    return inside.as_there(state, names) if names else state
