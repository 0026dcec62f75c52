"""How networks of inverted residual blocks are named in PyTorch: three ways."""

from collections.abc import Callable

from jaxmask.model.mobile import Stages

Pairs = tuple[tuple[str, str], ...]  # (regex of our module, theirs)

_PARTS = ("expand", "depthwise", "project")

# names that are in each of these networks
BODY = (
    r"features\.\d+\.conv\.\d(\.\d)?\.weight|blocks\.\d+\.\d+\.conv_\w+\.weight"
    r"|_blocks\.\d+\._\w+_conv\.weight"
)


def torchvision(stages: Stages) -> Pairs:
    """Sequences in sequences, such as `features.2.conv.0.0.weight`."""

    def block(stage: int, i: int, number: int, parts: int) -> list[tuple[str, str]]:
        # a convolution and a batch norm together, but for the last ones
        chain = f"features.{number + 1}.conv"
        pairs = [(f"{chain}.{j}.0", f"{chain}.{j}.1") for j in range(parts - 1)]
        return [*pairs, (f"{chain}.{parts - 1}", f"{chain}.{parts}")]

    last = sum(stage.blocks for stage in stages) + 1
    ends = ("features.0.0", "features.0.1", f"features.{last}.0", f"features.{last}.1")
    return _pairs(stages, (*ends, "classifier.1"), block)


def timm(stages: Stages) -> Pairs:
    """Blocks in stages, such as `blocks.1.0.conv_pw.weight`; also those of others' ports."""

    def block(stage: int, i: int, number: int, parts: int) -> list[tuple[str, str]]:
        convolutions = ("dw", "pw") if parts == 2 else ("pw", "dw", "pwl")
        place = f"blocks.{stage}.{i}"
        return [
            (f"{place}.conv_{each}", f"{place}.bn{j}") for j, each in enumerate(convolutions, 1)
        ]

    return _pairs(stages, ("conv_stem", "bn1", "conv_head", "bn2", "classifier"), block)


def lite(stages: Stages) -> Pairs:
    """Those of efficientnet_lite_pytorch, such as `_blocks.1._expand_conv.weight`."""

    def block(stage: int, i: int, number: int, parts: int) -> list[tuple[str, str]]:
        names = [(f"_{part}_conv", f"_bn{j}") for j, part in enumerate(_PARTS)]
        return [
            (f"_blocks.{number}.{conv}", f"_blocks.{number}.{norm}")
            for conv, norm in names[-parts:]
        ]

    return _pairs(stages, ("_conv_stem", "_bn0", "_conv_head", "_bn1", "_fc"), block)


def _pairs(
    stages: Stages,
    ends: tuple[str, ...],
    block: Callable[[int, int, int, int], list[tuple[str, str]]],
) -> Pairs:
    """All modules.

    Args:
        stages: of the network.
        ends: their names of stem_conv, stem_bn, last_conv, last_bn and head.
        block: (stage, block in the stage, block in the network, all from 0; number of
            convolutions) -> their names of each convolution and its batch norm.
    """
    pairs = list(zip(("stem_conv", "stem_bn", "last_conv", "last_bn", "head"), ends, strict=True))
    places = [(stage, i) for stage in range(len(stages)) for i in range(stages[stage].blocks)]
    for number, (stage, i) in enumerate(places):
        parts = _PARTS if stages[stage].expansion > 1 else _PARTS[1:]
        for part, (conv, norm) in zip(parts, block(stage, i, number, len(parts)), strict=True):
            ours = f"block{stage + 1}_{i}/{part}"
            pairs += [(f"{ours}_conv", conv), (f"{ours}_bn", norm)]
    return tuple(pairs)
