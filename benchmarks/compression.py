"""Mask files: the size of masks and float32 weights under each codec, and the time it takes.

    python -m benchmarks.compression [PATH ...] [--full FILE] [--weights FILE] [--results FILE]

Without paths: random masks of ResNet-50's shapes, whose channels differ and whose filters have
similar bits. With paths, of mask files or run directories: tables of their masks. `--full`:
a mask file or safetensors with fine-tuned weights; a run directory's own is found. `--weights`:
a checkpoint with the frozen weights, to see what the codec would gain from them.

How many times smaller a mask is than fine-tuned weights: by lzma on both, the weights at 32 bits
(published for a ResNet-50: 153 on CIFAR-100, 177 on SUN397) and at 16 bits (77, 88.5); and by
`entropy` on the mask. The published 79 is gzip on masks against lzma on 16-bit weights, on SUN397.
The factor depends on the density: compare bits per weight (published, by lzma: 0.193, 0.167).
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Result, machine, table
from jaxmask import mask
from jaxmask.maskfile import codec, contexts, entropy, fit
from jaxmask.model import pretrained
from jaxmask.tree import named_leaves

Leaves = dict[str, np.ndarray]
CONTEXTS = {
    "output channel": ("output",),
    "input channel": ("input",),
    "four neighbors": ("up", "left", "up_left", "up_right"),
    "count in the filter": ("count",),
    "position in the kernel": ("has_up", "has_left"),
    "all of the filter": contexts.FILTER,
    "all but leaf and plane": (*contexts.CHANNELS, *contexts.FILTER),
}


def run(rounds: int = 3, width: float = 1.0) -> list[Result]:
    """Encodes and decodes random masks, and prints their tables."""
    leaves = drawn(width)
    masks = list(leaves.values())
    shapes = [leaf.shape for leaf in masks]
    packed = _packed(leaves)
    stored = entropy.compress(masks)
    sides = {
        "encode": lambda: entropy.compress(masks),
        "decode": lambda: entropy.decompress(stored, shapes),
        "lzma encode": lambda: codec.compress("lzma", packed),
    }
    for side in sides.values():
        side()  # imports, tables
    seconds = {name: _seconds(side, rounds) for name, side in sides.items()}
    bits = sum(leaf.size for leaf in masks)
    print(_tables("random masks", leaves))
    lzma_bytes = len(codec.compress("lzma", packed))
    ideal, side_bits, _ = _entropy(leaves)
    what = f"masks of {bits / 1e6:.1f} million bits"
    texts = {
        name: f"{cpu:.2f} s ({wall:.2f} s wall-clock)" for name, (cpu, wall) in seconds.items()
    }
    results = [
        Result(f"{what}, encoded", texts["encode"], f"lzma {texts['lzma encode']}", "", "2 s"),
        Result(f"{what}, decoded", texts["decode"], "", "", "2 s"),
        Result(
            f"{what}, bytes", f"{len(stored):,}", f"lzma {lzma_bytes:,}",
            f"{len(stored) / lzma_bytes:.3f}", "1",
        ),
        Result(
            f"{what}, code without model", f"{len(stored) - side_bits / 8:,.0f}",
            f"model's entropy {ideal / 8:,.0f}",
            f"{(8 * len(stored) - side_bits) / ideal:.4f}", "1.02",
        ),
    ]  # fmt: skip
    print(table(("measured", "jaxmask", "against", "ratio", "aim"), results))
    return results


def _seconds(side: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Medians of CPU time, which other programs do not affect, and of wall-clock time."""
    times = []
    for _ in range(rounds):
        began = time.process_time(), time.perf_counter()
        side()
        times.append((time.process_time() - began[0], time.perf_counter() - began[1]))
    cpu, wall = zip(*times)
    return statistics.median(cpu), statistics.median(wall)


def drawn(width: float = 1.0, seed: int = 0) -> Leaves:
    """Masks with the shapes of ResNet-50's convolutions (times `width`), 97 % of the bits on."""
    random = np.random.default_rng(seed)
    shapes, inputs = [(7, 7, 3, 64)], 64
    for channels, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            shapes += [(1, 1, inputs, channels), (3, 3, channels, channels)]
            shapes += [(1, 1, channels, 4 * channels)]
            if block == 0:
                shapes += [(1, 1, inputs, 4 * channels)]
            inputs = 4 * channels
    leaves = {}
    for index, shape in enumerate([*shapes, (2048, 768)]):
        *kernel, rows, columns = shape
        rows, columns = max(int(rows * width), 1), max(int(columns * width), 1)
        alike = 0.6 * random.normal(size=(rows, 1)) + 0.6 * random.normal(size=columns)
        alike = alike + 0.8 * random.standard_normal((rows, columns), dtype=np.float32)
        noise = random.standard_normal((*kernel, rows, columns), dtype=np.float32)
        leaves[f"{index:02}/kernel"] = alike.astype(np.float32) + noise < 2.9
    return leaves


def describe(path: Path, full: Path | None, weights: Path | None) -> str:
    """The tables of the masks of a file, or of all files of a run directory."""
    if path.is_file():
        files = [path]
    else:
        files = [f for f in sorted(path.rglob("masks/*.mask")) if "choices" not in f.parts]
        own = path / "full" / "masks" / "task.mask"
        full = full or (own if own.exists() else None)
    tuned = _weights(full) if full else {}
    texts = []
    for file in files:
        frozen = _frozen(weights, file) if weights else {}
        leaves = {name: np.asarray(leaf) > 0 for name, leaf in _masks(file).items()}
        if leaves:
            texts.append(_tables(str(file), leaves, tuned, frozen))
    return "\n".join(texts)


def _masks(file: Path) -> Leaves:
    return named_leaves(mask.file.load(file))


def _frozen(weights: Path, file: Path) -> Leaves:
    """The base network's weights, in this package's names or in PyTorch's."""
    base = mask.file.read_header(file)["base"]
    if base is None or pretrained.is_ours(weights):
        return _weights(weights)
    return named_leaves(pretrained.load(weights, base.name).variables["params"])


def _weights(file: Path) -> Leaves:
    """By path, without the leading `params/`."""
    if file.suffix == ".safetensors":
        from safetensors.numpy import load_file

        leaves = load_file(file)
    else:
        leaves = named_leaves(mask.file.read(file).arrays)
    return {name.removeprefix("params/"): leaf for name, leaf in leaves.items()}


def _packed(leaves: Leaves) -> bytes:
    return np.packbits(np.concatenate([leaf.reshape(-1) for leaf in leaves.values()])).tobytes()


def _entropy(
    leaves: Leaves, without: Sequence[str] = (), weights: Leaves | None = None
) -> tuple[float, float, int]:
    """The bits of masks under the fitted model, the model's bits, the bytes of both as encoded."""
    from constriction import stream

    layouts = [contexts.layout(leaf.shape) for leaf in leaves.values()]
    offs = [
        np.logical_not(leaf).reshape(place.planes).view(np.uint8)
        for leaf, place in zip(leaves.values(), layouts)
    ]
    given = [
        contexts.frozen(weights[name], place) if weights else None
        for name, place in zip(leaves, layouts)
    ]
    model = fit.fit(offs, layouts, given, without)
    bits = 0.0
    for index, (off, place) in enumerate(zip(offs, layouts)):
        bound = fit.bind(model, index, place)
        for plane, rows in contexts.chunks(place):
            score = contexts.scores(bound, off, plane, rows, given[index])
            share = contexts.probabilities(score).astype(np.float64)
            bits -= np.log2(np.abs(1 - off[plane, rows].reshape(-1) - share)).sum()
    coder = stream.stack.AnsCoder()
    entropy.push_levels(coder, model)
    side = coder.num_valid_bits() + 8 * len(leaves)
    side += 16 * sum(map(len, [*model.weights.values(), *model.offsets]))
    return bits, side, len(entropy.encode(model, offs, layouts, given))


def _tables(
    title: str, leaves: Leaves, tuned: Leaves | None = None, frozen: Leaves | None = None
) -> str:
    packed, size = _packed(leaves), sum(leaf.size for leaf in leaves.values())
    tuned = {name: tuned[name] for name in leaves if tuned and name in tuned}
    floats = b"".join(np.asarray(leaf, "<f4").tobytes() for leaf in tuned.values())
    on = [int(np.count_nonzero(leaf)) for leaf in leaves.values()]
    by_leaf = sum(
        _binary(count / leaf.size) * leaf.size for count, leaf in zip(on, leaves.values())
    )
    ideal, side, coded = _entropy(leaves)
    stored = {name: len(codec.compress(name, packed)) for name in codec.GENERAL}
    stored["entropy"] = coded
    rows = []
    for name, count in stored.items():
        floating = ""
        if floats and name != "entropy":
            floating = _reduction(len(codec.compress(name, floats)), len(floats))
        rows.append(
            (
                name,
                f"{count:,}",
                f"{8 * count / size:.4f}",
                _reduction(count, len(packed)),
                floating,
            )
        )
    lines = [
        f"\n{title}: {size:,} bits, density {sum(on) / size:.4f}",
        table(
            ("codec", "bytes", "bits per weight", "masks: reduction %", "float32: reduction %"),
            rows,
        ),
        f"entropy given the density {_binary(sum(on) / size):.4f}, given each leaf's "
        f"{by_leaf / size:.4f}, of the model {ideal / size:.4f} bits per weight; the code takes "
        f"{(8 * coded - side) / ideal:.4f} of the last, {8 * coded / ideal:.4f} with the model and "
        f"the channels' levels; {coded / stored['lzma']:.3f} of lzma",
        table(("without", "bytes", "more"), _ablation(leaves, coded)),
    ]
    if frozen and not leaves.keys() <= frozen.keys():
        lines.append("the frozen weights given lack some of the masks' paths")
    elif frozen:
        _, _, known = _entropy(leaves, weights=frozen)
        lines.append(f"given the frozen weights: {known:,} bytes, {1 - known / coded:.1%} fewer")
    if floats and len(tuned) == len(leaves):
        weights = len(codec.compress("lzma", floats))
        for bits, share in ((32, 1), (16, 2)):  # at 16 bits, half as many bytes are counted
            lines.append(
                f"fine-tuned copy at {bits} bits a weight under lzma / mask under lzma: "
                f"{weights / share / stored['lzma']:.1f}; "
                f"/ mask under entropy: {weights / share / coded:.1f}"
            )
    return "\n".join(lines)


def _ablation(leaves: Leaves, coded: int) -> list[tuple[str, str, str]]:
    rows = []
    for name, without in CONTEXTS.items():
        _, _, other = _entropy(leaves, without)
        rows.append((name, f"{other:,}", f"{other / coded - 1:+.2%}"))
    return rows


def _binary(share: float) -> float:
    if share in (0, 1):
        return 0.0
    return -(share * math.log2(share) + (1 - share) * math.log2(1 - share))


def _reduction(stored: int, size: int) -> str:
    return f"{100 * (1 - stored / size):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", type=Path, help="mask files or run directories")
    parser.add_argument("--full", type=Path, help="fine-tuned weights: .mask or .safetensors")
    parser.add_argument("--weights", type=Path, help="frozen weights: .safetensors")
    parser.add_argument("--results", type=Path, help="JSON file for the lines of the summary")
    arguments = parser.parse_args()
    for path in arguments.paths:
        print(describe(path, arguments.full, arguments.weights))
    results = [] if arguments.paths else run()
    if arguments.results:
        arguments.results.write_text(json.dumps(results))
    else:
        print(machine())


if __name__ == "__main__":
    main()
