"""How families of networks are named in PyTorch, and what tells kinds of checkpoints apart."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from jaxmask.errors import InputError, nearest
from jaxmask.model import mobile, mobile_names

Moments = tuple[tuple[float, ...], tuple[float, ...]]

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
TENSORFLOW = ((127 / 255,) * 3, (128 / 255,) * 3)  # (x - 127) / 128


class Layout(NamedTuple):
    """A kind of checkpoint: its names in PyTorch, without a prefix.

    Attributes:
        modules: pairs (regex of our module's whole path, theirs); the first that matches wins.
            Where theirs ends in `qkv`, three of our modules are one of theirs.
        dropped: regex of names that are not part of the network.
        moments: mean and std to normalize images with, if they are the same for all of the kind.
        unsettled: who normalizes how, if networks of the kind differ and depend on it.
        leading: for our arrays outside modules, how many leading axes of length 1 theirs have.
        own: regex of a name that the family's other layouts lack; "" where nothing tells them.
        unlike: regex of TIMM's names of networks with the same arrays that compute otherwise.
    """

    modules: tuple[tuple[str, str], ...]
    dropped: str = ""
    moments: Moments | None = None
    unsettled: str = ""
    leading: Mapping[str, int] = {}
    own: str = ""
    unlike: str = ""


class Family(NamedTuple):
    """The layouts of some networks.

    Attributes:
        body: regex of names that are in each of them: what is before is a prefix.
        layouts: by kind; the first is assumed if nothing distinguishes them.
        renamed: pairs (regex, replacement) that make one name of several in use.
    """

    body: str
    layouts: dict[str, Layout]
    renamed: tuple[tuple[str, str], ...] = ()


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


WORDS = "words"  # the kind of a network of texts whose head predicts words
_Pairs = tuple[tuple[str, str], ...]
_BLOCK = r"bert.encoder.layer.\1"
_BERT = (
    ("embeddings/norm", "bert.embeddings.LayerNorm"),
    (r"embeddings/(\w+)", r"bert.embeddings.\1_embeddings"),
    (r"block(\d+)/(query|key|value)", _BLOCK + r".attention.self.\2"),
    (r"block(\d+)/out", _BLOCK + ".attention.output.dense"),
    (r"block(\d+)/norm1", _BLOCK + ".attention.output.LayerNorm"),
    (r"block(\d+)/fc1", _BLOCK + ".intermediate.dense"),
    (r"block(\d+)/fc2", _BLOCK + ".output.dense"),
    (r"block(\d+)/norm2", _BLOCK + ".output.LayerNorm"),
    ("pooler", "bert.pooler.dense"),
)
_BERT_WORDS = (
    ("head", "cls.predictions"),
    ("head/dense", "cls.predictions.transform.dense"),
    ("head/norm", "cls.predictions.transform.LayerNorm"),
)
_SHORT_BLOCK = r"distilbert.transformer.layer.\1"
_DISTILBERT = (
    ("embeddings/norm", "distilbert.embeddings.LayerNorm"),
    (r"embeddings/(\w+)", r"distilbert.embeddings.\1_embeddings"),
    (r"block(\d+)/(q)uery", _SHORT_BLOCK + r".attention.\2_lin"),
    (r"block(\d+)/(k)ey", _SHORT_BLOCK + r".attention.\2_lin"),
    (r"block(\d+)/(v)alue", _SHORT_BLOCK + r".attention.\2_lin"),
    (r"block(\d+)/out", _SHORT_BLOCK + ".attention.out_lin"),
    (r"block(\d+)/norm1", _SHORT_BLOCK + ".sa_layer_norm"),
    (r"block(\d+)/fc(\d)", _SHORT_BLOCK + r".ffn.lin\2"),
    (r"block(\d+)/norm2", _SHORT_BLOCK + ".output_layer_norm"),
    ("pooler", "pre_classifier"),
)
_DISTILBERT_WORDS = (
    ("head", "vocab_projector"),
    ("head/dense", "vocab_transform"),
    ("head/norm", "vocab_layer_norm"),
)
_GAMMA = ((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias"))


def _texts(kind: str, modules: _Pairs, words: _Pairs, *parts: str) -> dict[str, Layout]:
    """An encoder, whose `head` is one that a task learned, one with a classifier of its own, and
    one with a head for words.

    Of what is beside the encoder, only `parts` belong to the network.
    """
    beside = rf"(?!({'|'.join((kind, *parts, 'classifier', 'head'))})\.).*"
    heads = {kind: (("head", "head"),), "classifier": (("head", "classifier"),), WORDS: words}
    return {each: Layout((*modules, *head), beside) for each, head in heads.items()}


def _resnet(dropped: str = "") -> Layout:
    return Layout(_residual("fc"), dropped, IMAGENET)


def _vit(dropped: str = "", moments: Moments | None = None, unsettled: str = "") -> Layout:
    leading = {"class_token": 2, "position": 1}
    return Layout(_TIMM_VIT, f"mask_token|masked_embed|{dropped}", moments, unsettled, leading)


_MOBILENET = Family(
    mobile_names.BODY,
    {
        "torchvision": Layout(
            mobile_names.torchvision(mobile.MOBILENET_V2),
            moments=IMAGENET,
            own=r"features\.0\.1\.bias",
        ),
        "timm": Layout(mobile_names.timm(mobile.MOBILENET_V2), moments=IMAGENET, own=r"bn1\.bias"),
    },
)


def _efficientnet_lite(wider: float, deeper: float) -> Family:
    stages = mobile.efficientnet_lite(wider, deeper)
    # TIMM's own have PyTorch's padding and epsilon
    timm = Layout(
        mobile_names.timm(stages),
        unsettled="0.5 in TIMM's tf_efficientnet_lite; its efficientnet_lite compute otherwise",
        own=r"bn1\.bias",
        unlike=r"efficientnet_lite\d.*",
    )
    lite = Layout(mobile_names.lite(stages), moments=TENSORFLOW, own=r"_bn0\.bias")
    return Family(mobile_names.BODY, {"lite": lite, "timm": timm})


FAMILIES: dict[str, Family] = {
    r"resnet(20|32|44|56|110)": Family(
        r"(layer\d+\.\d+\.)?conv\d\.weight",
        {
            "cifar": Layout(_residual("linear")),
            "torchvision": Layout(_residual("fc"), own=r"fc\.weight(_orig)?"),
        },
    ),
    r"resnet(18|34|50)": Family(
        r"(layer\d+\.\d+\.)?conv\d\.weight",
        {
            "torchvision": _resnet(),
            "timm": _resnet(),
            "swav": _resnet(r"(projection_head|prototypes|fc)\..*"),
            "dino": _resnet(r"(head|fc)\..*"),
            "moco": _resnet(r"fc\..*"),
        },
    ),
    "mobilenetv2": _MOBILENET,
    **{f"efficientnet_lite{i}": _efficientnet_lite(*by) for i, by in enumerate(mobile.LITE)},
    r"vit_\w+": Family(
        r"cls_token|blocks\.\d+\.attn\.qkv\.weight",
        {
            "timm": _vit(unsettled="0.5 in Google's, ImageNet's mean and std in DeiT's and others"),
            "dino": _vit(r"(head|fc)\..*", IMAGENET),
            "moco": _vit(r"head\..*", IMAGENET),
            "mae": _vit("decoder_.*", IMAGENET),
        },
    ),
    r"clip_vit_\w+": Family(
        r"vision_model\.encoder\.layers\.\d+\.mlp\.fc1\.weight",
        {
            "clip": Layout(
                _IMAGE_TOWER, r"(text_model|text_projection)\..*|logit_scale", moments=CLIP
            )
        },
    ),
    r"bert_\w+|minilm_\w+": Family(
        r"(bert\.)?encoder\.layer\.\d+\.attention\.self\.query\.weight",
        _texts("bert", _BERT, _BERT_WORDS, r"cls\.predictions"),
        ((r"^(?=(embeddings|encoder|pooler)[._])", "bert."), *_GAMMA),
    ),
    "distilbert": Family(
        r"(distilbert\.)?transformer\.layer\.\d+\.attention\.q_lin\.weight",
        _texts("distilbert", _DISTILBERT, _DISTILBERT_WORDS, "pre_classifier", r"vocab_\w+"),
        ((r"^(?=(embeddings|transformer)\.)", "distilbert."), *_GAMMA),
    ),
    "clip text": Family(
        r"text_model\.encoder\.layers\.\d+\.mlp\.fc1\.weight",
        {"clip": Layout(_TEXT_TOWER, r"(vision_model|visual_projection)\..*")},
    ),
}

# Names that only one kind's training writes, anywhere in a file.
KINDS = {
    "swav": r"(.*\.)?prototypes\..*",
    "dino": r"(.*\.)?head\.(mlp|last_layer)\..*",
    "moco": r"(.*\.)?(encoder_[qk]|momentum_encoder)\..*",
    "mae": r"(.*\.)?decoder_(embed|pred)\..*",
    "classifier": r"(.*\.)?classifier\.weight",
}

# Not weights, in any network.
COUNTERS = r"(.*\.)?(num_batches_tracked|position_ids|n_averaged)"
# Heads of pretraining: some are named as the network's own, but are deeper than one layer.
PROJECTION = r"((fc|linear|head)\.\w+|projection_head|projector|predictor)\..*"

# Parts of networks that otherwise are ours: regex of their names -> what they are.
UNSUPPORTED = {
    r"reg_token|register_tokens": "register tokens",
    r"dist_token|head_dist\..*": "a distillation token",
    r"blocks\.\d+\.(ls\d|gamma_\d|lambda\d).*": "layer scale",
    r"blocks\.\d+\.attn\.(q|k)_norm\..*": "norms of queries and keys",
    r"blocks\.\d+\.attn\.(q|v)_bias": "biases of queries and values alone",
    r".*(relative_position|rel_pos|distance_embedding).*": "relative positions",
    r".*embeddings_project\..*": "embeddings of another size",
    r".*\.crossattention\..*": "attention to another text",
    r".*\.(freqs|rope).*": "rotary positions",
    r"fc_norm\..*": "pooling over all patches",
    r"norm_pre\..*": "a norm before the blocks",
    r".*\.mlp\.(w\d+|fc1_[gx])\..*": "gated MLPs",
    r".*\.se\..*|.*\.se_module\..*|.*\._se_(reduce|expand)\..*": "squeeze-and-excitation",
    r"conv1\.\d+\..*": "a stem of several convolutions",
    r"layer\d+\.\d+\.(downsample|shortcut)\..*": "other shortcuts",
    r".*parametrizations\..*|.*\.weight_[guv]": "reparametrized weights",
    r".*lora_.*|.*\.base_layer\..*": "low-rank updates that are not merged",
    r".*(zero_point|_packed_params|weight_scale|SCB).*": "quantized weights",
}


def family(name: str) -> Family:
    """The family of the network called `name`.

    Raises:
        InputError: it has no names in PyTorch.
    """
    for pattern, found in FAMILIES.items():
        if re.fullmatch(pattern, name):
            return found
    raise InputError(f"{name} has no known names in PyTorch; use jaxmask's own")


def layouts(name: str) -> dict[str, Layout]:
    """The layouts of the network called `name` in PyTorch."""
    return family(name).layouts


def layout(name: str, which: str) -> Layout:
    """The layout `which` of the network called `name`."""
    known = layouts(name)
    if which not in known:
        raise InputError(f"{name} has no layout {which!r}{nearest(str(which), known)}")
    return known[which]
