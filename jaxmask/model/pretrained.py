"""Pretrained weights from PyTorch files into our networks, and back."""

import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util

from jaxmask import files
from jaxmask.errors import InputError
from jaxmask.model import checkpoint, clip_text, registry, torch_names, transformer

# Training checkpoints hold the weights under one of these, among other things.
_NESTED = ("teacher", "state_dict", "model_state_dict", "model")

_TEXTS = 256  # per batch of CLIP's text tower


class Pretrained(NamedTuple):
    """Weights under our names, and what is known about them.

    Attributes:
        variables: {"params", "batch_stats"}, nested dicts of float32 arrays; without `head` if
            the checkpoint has none.
        about: "layout" (see `export`); "classes" (of the head, or None); "mean" and "std" of the
            images' channels, if known; "size" (pixels per side) for transformers.
    """

    variables: dict[str, Any]
    about: dict[str, Any]


def load(
    source: str | Path, name: str, *, width: float = 1.0, stem: str = "", size: int | None = None
) -> Pretrained:
    """Reads PyTorch weights for the network called `name`.

    float16 and bfloat16 become float32. Projection heads of self-supervised training, counters,
    and for CLIP the text tower, are left out. Mean and std are those of a config.json (TIMM) or
    preprocessor_config.json (CLIP) beside the file, else the layout's defaults.

    Args:
        source: a .safetensors, .pth, .pt or .bin file, a folder with such a model file, or
            "hub:owner/name" (see `checkpoint.find`).
        name: one of `model.names()`.
        width: as for `model.create`.
        stem: as for `model.create`; "" for the network's default.
        size: for transformers, the images' pixels per side if different from the checkpoint's:
            the learned positions are then interpolated.

    Raises:
        InputError: the file cannot be fetched or read, or its arrays are not the network's: those
            that are missing, extra or of another shape are listed.

    Example:
        >>> from jaxmask.model import pretrained
        >>> variables, about = pretrained.load("resnet18.safetensors", "resnet18")  # doctest: +SKIP
        >>> about["layout"], about["classes"]  # doctest: +SKIP
        ('torchvision', 1000)
    """
    torch_names.layouts(name)  # raises if no file can be for this network
    file = checkpoint.find(source)
    config = checkpoint.read_json(file.parent, "config.json")
    state = _read(file)
    which, bare = torch_names.recognize(state, name)
    if which == "torchvision" and "timm" in torch_names.layouts(name) and "architecture" in config:
        which = "timm"
    layout = torch_names.layout(name, which)
    state = {key: state[whole] for key, whole in bare.items()}
    head = state.get(torch_names.their_name("params/head/kernel", layout))
    classes = None if head is None or head.ndim == 0 else head.shape[0]
    module = registry.create(
        name, classes=classes or 1, width=width, **({"stem": stem} if stem else {})
    )
    if which == "clip":
        clip_text.check_image_tower(config, module.heads, str(source))
    positions = state.get(torch_names.their_name("params/position", layout))
    made_for = 0 if positions is None else transformer.image_size(positions.shape, module.patch)
    shapes = _shapes(lambda key: registry.initialize(module, key, (made_for or 224,) * 2 + (3,)))
    if head is None:
        shapes = {path: shape for path, shape in shapes.items() if "/head/" not in path}
    _check(state, shapes, layout, f"{source} do not fit {name}")
    flat = torch_names.to_ours(state, shapes, layout)
    about = {"layout": which, "classes": classes}
    moments = checkpoint.moments(file.parent) or layout.moments
    if moments:
        about |= {"mean": list(moments[0]), "std": list(moments[1])}
    if made_for:
        about["size"] = size or made_for
        if size and size != made_for:
            flat["params/position"] = transformer.resized(
                flat["params/position"], size, module.patch
            )
    variables = traverse_util.unflatten_dict(flat, sep="/")
    return Pretrained({"params": {}, "batch_stats": {}, **variables}, about)


def _shapes(initialize: Callable[[jax.Array], Any]) -> dict[str, tuple[int, ...]]:
    flat = traverse_util.flatten_dict(jax.eval_shape(initialize, jax.random.key(0)), sep="/")
    return {path: leaf.shape for path, leaf in flat.items()}


def _check(
    state: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
    layout: torch_names.Layout,
    what: str,
) -> None:
    have = {name: array.shape for name, array in state.items()}
    wrong = torch_names.misfits(have, shapes, layout)
    if wrong:
        raise InputError(f"the weights of {what}: they {'; '.join(wrong)}")


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
    state = _read(file)
    layout = torch_names.layout("clip text", "clip")
    _, bare = torch_names.recognize(state, "clip text")
    arrays = {name: state[key] for name, key in bare.items()}
    tower = clip_text.text_tower(arrays, config, str(source))
    texts = [template.replace("{}", name) for name in classes]
    tokens, ends = clip_text.tokenise(file.parent, texts, tower, config)
    shapes = _shapes(lambda key: tower.init(key, tokens[:1], ends[:1]))
    _check(arrays, shapes, layout, f"{source} do not fit CLIP's text tower")
    if state.get("logit_scale", np.zeros(0)).size != 1:
        raise InputError(f"{source} has no CLIP text head: it lacks the number logit_scale")
    weights = traverse_util.unflatten_dict(torch_names.to_ours(arrays, shapes, layout), sep="/")
    scale = np.exp(np.asarray(state["logit_scale"], np.float32).reshape(()))
    embed = jax.jit(tower.apply)
    embeddings = [
        embed(weights, tokens[start : start + _TEXTS], ends[start : start + _TEXTS])
        for start in range(0, len(texts), _TEXTS)
    ]
    kernel = scale * np.concatenate(embeddings).T
    return {"kernel": kernel, "bias": np.zeros(len(texts), np.float32)}


def export(variables: Mapping[str, Any], name: str, layout: str) -> dict[str, np.ndarray]:
    """Weights in PyTorch's names and layouts: the inverse of what `load` does.

    Args:
        variables: {"params", "batch_stats"} of the network called `name`.
        name: one of `model.names()`.
        layout: "cifar" or "torchvision" for resnet20 to resnet110; "torchvision", "timm", "swav" or
            "dino" for resnet18, 34, 50; "timm" or "dino" for ViTs; "clip" for CLIP's image tower.

    Returns:
        {name: array}, as `load_state_dict` takes them once they are tensors. Batch-norm counters
        are not among them; PyTorch does not need them.

    Raises:
        InputError: the network has no such layout.
    """
    flat = traverse_util.flatten_dict(
        {key: variables.get(key, {}) for key in ("params", "batch_stats")}, sep="/"
    )
    arrays = {path: np.asarray(leaf) for path, leaf in flat.items()}
    return torch_names.to_theirs(arrays, torch_names.layout(name, layout))


def save(path: str | Path, state: Mapping[str, np.ndarray]) -> None:
    """Writes a state dict whole: .safetensors, or .pth and .pt if PyTorch is installed.

    Raises:
        InputError: the name has another suffix, or PyTorch is missing.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent} to write {path.name} to; make it")
    arrays = {name: np.ascontiguousarray(leaf) for name, leaf in state.items()}
    with files.replacing(path) as part:
        if path.suffix in checkpoint.SAFETENSORS:
            from safetensors.numpy import save_file

            save_file(arrays, part, {"format": "pt"})
        elif path.suffix in (".pth", ".pt"):
            torch = _torch(path)
            torch.save(
                {name: torch.from_numpy(np.array(leaf)) for name, leaf in arrays.items()}, part
            )
        else:
            raise InputError(f"{path} ends in neither .safetensors nor .pth; use one of them")


def _torch(path: Path) -> Any:
    try:
        import torch
    except ImportError:
        raise InputError(f"{path} needs PyTorch; install it or use a .safetensors file") from None
    return torch


def _read(path: Path) -> dict[str, np.ndarray]:
    if path.suffix in checkpoint.SAFETENSORS:
        return checkpoint.read_safetensors(path)
    import argparse

    torch = _torch(path)
    try:
        # training scripts store their command line beside the weights, as plain values
        with torch.serialization.safe_globals([argparse.Namespace]):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is not a PyTorch file of weights only ({str(error).splitlines()[0]}); save "
            "the network's state_dict()"
        ) from None
    except Exception as error:  # truncated and foreign files fail in many ways
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} is not a complete PyTorch file ({reason})") from None
    tensors = _state_dict(found, path, torch)
    return {name: _array(tensor, f"{name} in {path}") for name, tensor in tensors.items()}


def _array(tensor: Any, what: str) -> np.ndarray:
    try:
        return (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy()
    except (RuntimeError, TypeError, NotImplementedError) as error:  # sparse, quantized
        raise InputError(f"cannot read the tensor {what} ({str(error).splitlines()[0]})") from None


def _state_dict(found: Any, path: Path, torch: Any) -> dict[str, Any]:
    """The dict of tensors that a checkpoint is or contains."""
    if isinstance(found, dict) and found:
        if all(isinstance(leaf, torch.Tensor) for leaf in found.values()):
            return found
        for key in _NESTED:
            if isinstance(found.get(key), dict):
                return _state_dict(found[key], path, torch)
    kind = type(found).__name__
    what = f"{kind} of {list(found)[:5]}" if isinstance(found, dict) else kind
    raise InputError(f"{path} holds a {what}, not a state dict; save the network's state_dict()")
