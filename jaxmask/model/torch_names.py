"""Names and layouts of weights in PyTorch and here: tables, and translation both ways."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from jaxmask.errors import InputError, nearest

Flat = dict[str, np.ndarray]

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "embedding": "weight",
    "mean": "running_mean",
    "var": "running_var",
}
_FUSED = ("query", "key", "value")  # stacked in this order

_LISTED = 20  # most names of each kind in a message: another network differs in hundreds


class Layout(NamedTuple):
    """How a family's weights are named in PyTorch.

    Attributes:
        modules: pairs (regex of our module's whole path, theirs); the first that matches wins.
            Where theirs ends in `qkv`, three of our modules are one of theirs.
        dropped: regex of their names that are not part of the network.
        prefix: of every name.
        moments: mean and std to normalize images with, if they are always the same.
        leading: for our arrays outside modules, how many leading axes of length 1 theirs have.
    """

    modules: tuple[tuple[str, str], ...]
    dropped: str = ""
    prefix: str = ""
    moments: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    leading: Mapping[str, int] = {}


def _residual(head: str) -> tuple[tuple[str, str], ...]:
    return (
        ("head", head),
        (r"layer(\d+)_(\d+)/downsample_conv", r"layer\1.\2.downsample.0"),
        (r"layer(\d+)_(\d+)/downsample_bn", r"layer\1.\2.downsample.1"),
        (r"layer(\d+)_(\d+)/(\w+)", r"layer\1.\2.\3"),
        (r"(\w+)", r"\1"),
    )


def _clip(tower: str, *modules: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    block = rf"{tower}.encoder.layers.\1"
    return (
        *modules,
        ("position", f"{tower}.embeddings.position_embedding.weight"),
        (r"block(\d+)/norm(\d)", block + r".layer_norm\2"),
        (r"block(\d+)/query", block + ".self_attn.q_proj"),
        (r"block(\d+)/key", block + ".self_attn.k_proj"),
        (r"block(\d+)/value", block + ".self_attn.v_proj"),
        (r"block(\d+)/out", block + ".self_attn.out_proj"),
        (r"block(\d+)/(fc\d)", block + r".mlp.\2"),
    )


_TIMM_VIT = (
    ("patch", "patch_embed.proj"),
    ("class_token", "cls_token"),
    ("position", "pos_embed"),
    (r"block(\d+)/(?:query|key|value)", r"blocks.\1.attn.qkv"),
    (r"block(\d+)/out", r"blocks.\1.attn.proj"),
    (r"block(\d+)/norm(\d)", r"blocks.\1.norm\2"),
    (r"block(\d+)/(fc\d)", r"blocks.\1.mlp.\2"),
    ("(norm|head)", r"\1"),
)
_TIMM_LEADING = {"class_token": 2, "position": 1}
_IMAGE_TOWER = _clip(
    "vision_model",
    ("patch", "vision_model.embeddings.patch_embedding"),
    ("class_token", "vision_model.embeddings.class_embedding"),
    ("pre_norm", "vision_model.pre_layrnorm"),  # CLIP's spelling
    ("norm", "vision_model.post_layernorm"),
    ("projection", "visual_projection"),
    ("head", "head"),  # not part of CLIP: one that a task learned
)
_TEXT_TOWER = _clip(
    "text_model",
    ("token", "text_model.embeddings.token_embedding"),
    ("norm", "text_model.final_layer_norm"),
    ("projection", "text_projection"),
)
_DINO = r"(head|fc)\..*"

# The first layout is assumed if nothing distinguishes them.
LAYOUTS: dict[str, dict[str, Layout]] = {
    r"resnet(20|32|44|56|110)": {
        "cifar": Layout(_residual("linear")),
        "torchvision": Layout(_residual("fc")),
    },
    r"resnet(18|34|50)": {
        "torchvision": Layout(_residual("fc"), moments=IMAGENET),
        "timm": Layout(_residual("fc"), moments=IMAGENET),
        "swav": Layout(
            _residual("fc"), r"(projection_head|prototypes|fc)\..*", "module.", IMAGENET
        ),
        "dino": Layout(_residual("fc"), _DINO, "backbone.", IMAGENET),
    },
    r"vit_\w+": {
        "timm": Layout(_TIMM_VIT, moments=_HALF, leading=_TIMM_LEADING),
        "dino": Layout(_TIMM_VIT, _DINO, "backbone.", IMAGENET, _TIMM_LEADING),
    },
    r"clip_vit_\w+": {
        "clip": Layout(_IMAGE_TOWER, r"(text_model|text_projection)\..*|logit_scale", moments=CLIP),
    },
    "clip text": {
        "clip": Layout(_TEXT_TOWER, r"(vision_model|visual_projection)\..*|logit_scale"),
    },
}


def layouts(name: str) -> dict[str, Layout]:
    """The layouts of the network called `name` in PyTorch."""
    for pattern, found in LAYOUTS.items():
        if re.fullmatch(pattern, name):
            return found
    raise InputError(f"{name} has no known names in PyTorch; use jaxmask's own")


def layout(name: str, which: str) -> Layout:
    """The layout `which` of the network called `name`."""
    known = layouts(name)
    if which not in known:
        raise InputError(f"{name} has no layout {which!r}{nearest(str(which), known)}")
    return known[which]


def recognize(keys: Iterable[str], name: str) -> tuple[str, dict[str, str]]:
    """The layout that a checkpoint for network `name` is in, and {name without prefixes: key}.

    Counters and names that match `Layout.dropped` are left out.
    """
    known = layouts(name)
    bare = {key: key for key in keys}
    while bare and all(key.startswith("module.") for key in bare):
        bare = {key.removeprefix("module."): whole for key, whole in bare.items()}
    which = next(iter(known))
    if "dino" in known and any(key.startswith("backbone.") for key in bare):
        which = "dino"
        bare = {key.removeprefix("backbone."): whole for key, whole in bare.items()}
    elif "swav" in known and any(re.match(r"(projection_head|prototypes)\.", key) for key in bare):
        which = "swav"
    elif which == "cifar" and "fc.weight" in bare:
        which = "torchvision"
    dropped = rf"(.*\.)?(num_batches_tracked|position_ids)|{known[which].dropped}"
    return which, {key: whole for key, whole in bare.items() if not re.fullmatch(dropped, key)}


def their_name(path: str, layout: Layout) -> str:
    """PyTorch's name, without the prefix, of our leaf `params/...` or `batch_stats/...`."""
    module, _, leaf = path.partition("/")[2].rpartition("/")
    if not module:
        return _renamed(leaf, layout)
    return f"{_renamed(module, layout)}.{_LEAVES.get(leaf, leaf)}"


def _renamed(module: str, layout: Layout) -> str:
    for pattern, theirs in layout.modules:
        match = re.fullmatch(pattern, module)
        if match:
            return match.expand(theirs)
    raise InputError(f"{module} has no name in PyTorch")


def _parts(paths: Iterable[str], layout: Layout) -> dict[str, list[str]]:
    """{PyTorch's name: our leaves in it, in their order there}."""
    parts: dict[str, list[str]] = {}
    for path in paths:
        parts.setdefault(their_name(path, layout), []).append(path)
    for name, ours in parts.items():
        if ".qkv." in name:
            ours.sort(key=lambda path: _FUSED.index(path.split("/")[-2]))
            if len(ours) != len(_FUSED):
                raise InputError(f"{name} needs query, key and value; there is only {ours}")
    return parts


def to_theirs(flat: Mapping[str, np.ndarray], layout: Layout) -> Flat:
    """Our leaves by their paths -> PyTorch's arrays by their names, prefix included."""
    state = {}
    for name, paths in sorted(_parts(flat, layout).items()):
        arrays = [_transposed(path, flat[path], layout) for path in paths]
        joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        # safetensors ignores the order of a view that is not contiguous
        state[layout.prefix + name] = np.ascontiguousarray(joined)
    return state


def _transposed(path: str, array: np.ndarray, layout: Layout) -> np.ndarray:
    leaf = path.rpartition("/")[2]
    if leaf == "kernel":  # [.., in, out] -> [out, in, ..]
        return np.transpose(array, (3, 2, 0, 1) if array.ndim == 4 else (1, 0))
    return array.reshape((1,) * layout.leading.get(leaf, 0) + array.shape)


def to_ours(
    state: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], layout: Layout
) -> Flat:
    """PyTorch's arrays by their names without prefix -> ours in float32, of the given shapes."""
    flat = {}
    for name, paths in _parts(shapes, layout).items():
        for path, array in zip(paths, np.split(state[name], len(paths)), strict=True):
            if path.endswith("/kernel"):
                array = np.transpose(array, (2, 3, 1, 0) if array.ndim == 4 else (1, 0))
            flat[path] = np.ascontiguousarray(array.reshape(shapes[path]), np.float32)
    return flat


def misfits(
    have: Mapping[str, tuple[int, ...]], shapes: Mapping[str, tuple[int, ...]], layout: Layout
) -> list[str]:
    """How arrays of shapes `have` (their names) differ from ours of `shapes`: one line per kind.

    Missing names, extra names, and names of another shape, the first of each listed.
    """
    # an array of one broadcast zero takes no memory
    zeros = {path: np.broadcast_to(np.int8(0), shape) for path, shape in shapes.items()}
    want = {
        name: _fused_shape([_transposed(path, zeros[path], layout).shape for path in paths])
        for name, paths in _parts(shapes, layout).items()
    }
    other = [
        f"{name} {have[name]} instead of {want[name]}"
        for name in sorted(want.keys() & have.keys())
        if have[name] != want[name]
    ]
    found = []
    for what, names in (
        ("lack", sorted(want.keys() - have.keys())),
        ("also have", sorted(have.keys() - want.keys())),
        ("have", other),
    ):
        if names:
            rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            found.append(f"{what} {', '.join(names[:_LISTED])}{rest}")
    return found


def _fused_shape(shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    return (len(shapes) * shapes[0][0], *shapes[0][1:]) if shapes[0] else ()
