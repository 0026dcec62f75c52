"""Training steps and forwards of whole networks on a CPU, against PyTorch on two threads.

EfficientNet-Lite0 with TensorFlow's padding and He et al.'s ResNet-20, written as modules in
PyTorch; jaxmask runs its own programs, many steps in one scan. A step takes uint8 images to
normalized ones, the gradient of cross entropy and SGD with momentum; there are no augmentations.
PyTorch computes with channels last, or first where that is faster. Before timing, both sides run
once. Where the cores do other work as well, PyTorch's threads lose time waiting for each other:
set OMP_WAIT_POLICY=PASSIVE and GOMP_SPINCOUNT=0. PyTorch comes with the extra `parity`.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.measure import Result, beside_pytorch, command, interleaved, ratio, table
from benchmarks.training import random_images, training
from jaxmask.model import mobile

THREADS, SCANNED = 2, 4
Side = Callable[[], Any]


class Case(NamedTuple):
    """A network, the pixels of its images, their number in a step, and the aim of the ratio."""

    network: str
    pixels: int
    batch: int
    aim: str = "1.20"


CASES = (
    Case("efficientnet_lite0", 96, 32),
    Case("efficientnet_lite0", 160, 16),
    Case("resnet20", 32, 64),
)


def run(cases: Sequence[Case] = CASES, rounds: int = 7) -> list[Result]:
    """A training step and a frozen forward of every case; one table."""
    if not beside_pytorch():
        return []
    import torch

    torch.set_num_threads(THREADS)
    results = []
    for case in cases:
        images, labels = random_images(case.batch, (case.pixels, case.pixels, 3))
        mine, other = ours(case, images, labels), theirs(case, images, labels)
        for what in ("a training step", "a frozen forward"):
            sides = {"jaxmask": mine[what]} | {name: side[what] for name, side in other.items()}
            timings = interleaved(sides, rounds)
            best = min(other, key=lambda name: timings[name].median)
            times = [timings["jaxmask"].seconds, timings[best].seconds]
            medians = [f"{1e3 * np.median(each) / SCANNED:.3g} ms" for each in times]
            text = f"{what} of {case.network}, {case.batch} images of {case.pixels} px"
            text += f", against PyTorch, {THREADS} threads, {best}"
            results.append(Result(text, *medians, ratio(*times), case.aim))
    print(table(("measured", "jaxmask", "PyTorch", "ratio"), [each[:4] for each in results]))
    return results


def ours(case: Case, images: np.ndarray, labels: np.ndarray) -> dict[str, Side]:
    """What jaxmask runs for `SCANNED` batches: its compiled scans."""
    made = training(case.network, images, labels, masked=False)
    xs = made.batches(SCANNED, case.batch)
    valid = np.ones((SCANNED, case.batch), bool)
    state = made.state

    def step() -> None:
        nonlocal state
        state = jax.block_until_ready(
            made.programs.train(state, made.frozen, made.feed.resident, xs)
        )

    def forward() -> None:
        sums = made.programs.evaluate(
            state.learned, state.batch_stats, made.frozen, made.feed.resident, (xs, valid)
        )
        jax.block_until_ready(sums)

    return {"a training step": step, "a frozen forward": forward}


def theirs(case: Case, images: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, Side]]:
    """The same by hand in PyTorch, by memory format."""
    import torch
    from torch.nn.functional import cross_entropy

    made = {"efficientnet_lite0": efficientnet_lite0, "resnet20": resnet20}[case.network]

    def sides(memory: Any) -> dict[str, Side]:
        network = made(10).to(memory_format=memory)
        optimizer = torch.optim.SGD(network.parameters(), 0.01, 0.9)
        resident, targets = torch.from_numpy(images), torch.from_numpy(labels).long()

        def logits() -> Any:
            x = (resident.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
            return network(x.contiguous(memory_format=memory))

        def step() -> None:
            network.train()
            for _ in range(SCANNED):
                optimizer.zero_grad()
                cross_entropy(logits(), targets).backward()
                optimizer.step()

        def forward() -> None:
            network.eval()
            with torch.no_grad():
                for _ in range(SCANNED):
                    found = logits()
                    (cross_entropy(found, targets), (found.argmax(1) == targets).sum())

        return {"a training step": step, "a frozen forward": forward}

    return {
        "channels first": sides(torch.contiguous_format),
        "channels last": sides(torch.channels_last),
    }


def efficientnet_lite0(classes: int) -> Any:
    """EfficientNet-Lite0 in PyTorch, padded as TensorFlow does."""
    from torch import nn

    class Same(nn.Conv2d):
        def forward(self, x: Any) -> Any:
            size, stride = self.kernel_size[0], self.stride[0]
            pads = [max((-(-n // stride) - 1) * stride + size - n, 0) for n in x.shape[2:]]
            if all(pad % 2 == 0 for pad in pads):
                padding: tuple[int, ...] = tuple(pad // 2 for pad in pads)
            else:
                edges = [(pad // 2, pad - pad // 2) for pad in reversed(pads)]
                x = nn.functional.pad(x, [side for edge in edges for side in edge])
                padding = (0, 0)
            return nn.functional.conv2d(x, self.weight, None, stride, padding, 1, self.groups)

    def normed(into: int, out: int, size: int, stride: int = 1, groups: int = 1) -> list[Any]:
        conv = Same(into, out, size, stride, groups=groups, bias=False)
        return [conv, nn.BatchNorm2d(out, 1e-3)]

    class Block(nn.Module):
        def __init__(self, into: int, stage: mobile.Stage, first: bool) -> None:
            super().__init__()
            hidden, stride = into * stage.expansion, stage.stride if first else 1
            expand = [*normed(into, hidden, 1), nn.ReLU6()] if stage.expansion > 1 else []
            self.first, self.body = first, nn.Sequential(
                *expand, *normed(hidden, hidden, stage.size, stride, hidden), nn.ReLU6(),
                *normed(hidden, stage.channels, 1),
            )  # fmt: skip

        def forward(self, x: Any) -> Any:
            return self.body(x) if self.first else x + self.body(x)

    layers, into = [*normed(3, mobile.STEM, 3, 2), nn.ReLU6()], mobile.STEM
    for stage in mobile.efficientnet_lite(1.0, 1.0):
        for i in range(stage.blocks):
            layers.append(Block(into, stage, i == 0))
            into = stage.channels
    layers += [*normed(into, mobile.LAST, 1), nn.ReLU6()]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(mobile.LAST, classes)
    )


def resnet20(classes: int) -> Any:
    """He et al.'s ResNet-20 in PyTorch."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self, into: int, out: int) -> None:
            super().__init__()
            self.stride = 1 if into == out else 2
            self.body = nn.Sequential(
                nn.Conv2d(into, out, 3, self.stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(),
                nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out),
            )  # fmt: skip
            self.pad = (0, 0, 0, 0, (out - into) // 2, (out - into) // 2)

        def forward(self, x: Any) -> Any:
            kept = nn.functional.pad(x[:, :, :: self.stride, :: self.stride], self.pad)
            return (self.body(x) + kept).relu()

    widths = [16, *[16] * 3, *[32] * 3, *[64] * 3]
    blocks = [Block(into, out) for into, out in pairwise(widths)]
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(
        *stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes)
    )


if __name__ == "__main__":
    command(run)
