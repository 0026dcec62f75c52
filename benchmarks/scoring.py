"""Scores and many-shot pruning on a CPU, against a straightforward loop in PyTorch.

PyTorch has the same networks with the same weights, as modules, and autograd. A shot there scores,
takes `torch.kthvalue` of all scores, and multiplies the masks. SNIP and GraSP are in float32,
SynFlow on both sides in float64. Before timing, all sides are called once, to compile; their
scores must agree, and for many shots their counts. PyTorch comes with the extra `parity`.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import Result, Timing, beside_pytorch, command, interleaved, ratio, table
from jaxmask import mask, model, prune, score, tree
from jaxmask.loss import cross_entropy

DENSITY = 0.01
NAMES = {"snip": "SNIP", "grasp": "GraSP", "synflow": "SynFlow"}
TOLERANCE = {"snip": 1e-4, "grasp": 1e-3, "synflow": 1e-9}  # of the scores, relative
Side = Callable[[], Sequence[Any]]  # returns the scores or masks of the kernels, layer by layer


class Case(NamedTuple):
    """A network, images to score it on, shots of SynFlow; rounds of one shot and of many."""

    title: str
    network: str
    shape: tuple[int, int, int]
    batch: int
    shots: int
    rounds: tuple[int, int]
    width: float = 1.0


CASES = (
    Case("LeNet-300-100", "lenet_300_100", (28, 28, 1), 256, 100, (21, 11)),
    Case("VGG-16", "vgg16", (32, 32, 3), 32, 10, (7, 5)),
)


def run(cases: Sequence[Case] = CASES, threads: tuple[int, ...] = (1, 2)) -> list[Result]:
    """Every case by every criterion, and in many shots; a table for each network."""
    if not beside_pytorch():
        return []
    results = []
    for case in cases:
        rows: list[tuple[str, ...]] = []
        for criterion, shots in (*((name, 0) for name in NAMES), ("synflow", case.shots)):
            more, result = compare(case, criterion, shots, threads)
            rows += more
            results.append(result)
        print(table((case.title, "side", "median", "jaxmask / side", "compilation"), rows))
    return results


def compare(
    case: Case, criterion: str, shots: int, threads: tuple[int, ...]
) -> tuple[list[tuple[str, ...]], Result]:
    """One criterion, once or in `shots` shots: a row per side, the line for PyTorch's best."""
    sides = {"jaxmask": ours(case, criterion, shots)} | {
        f"PyTorch ({number} thread{'s' * (number > 1)})": theirs(case, criterion, shots, number)
        for number in threads
    }
    first, found = {}, {}
    for name, side in sides.items():
        began = time.perf_counter()
        found[name] = [np.asarray(leaf) for leaf in side()]
        first[name] = time.perf_counter() - began
    check(found, criterion, shots)
    timings = {
        name: Timing(first[name], timing.seconds)
        for name, timing in interleaved(sides, case.rounds[shots > 0]).items()
    }
    what = NAMES[criterion] + (f" in {shots} shots to {DENSITY}" if shots else "")
    mine, rows = timings["jaxmask"], []
    for name, timing in timings.items():
        against = "" if timing is mine else ratio(mine.seconds, timing.seconds)
        rows.append((what, name, milliseconds(timing), against, f"{timing.compilation:.1f} s"))
    best = min((name for name in sides if name != "jaxmask"), key=lambda name: timings[name].median)
    on = "float64" if criterion == "synflow" else f"batch {case.batch}"
    text = f"{what}, {case.title}, {on}, against {best}"
    other = timings[best]
    pair = ratio(mine.seconds, other.seconds)
    return rows, Result(text, milliseconds(mine), milliseconds(other), pair)


def check(found: dict[str, list[np.ndarray]], criterion: str, shots: int) -> None:
    """Asserts that the sides found the same scores; for masks, that they keep the same number."""
    mine = [layout(kernel) for kernel in found["jaxmask"]]
    for name, kernels in found.items():
        if shots:
            kept = sum(int(kernel.sum()) for kernel in kernels)
            assert kept == mask.allocate(mine, DENSITY), f"{name} keeps {kept}"
        elif name != "jaxmask":
            for ours, other in zip(mine, kernels, strict=True):
                apart = np.linalg.norm(ours - other) / np.linalg.norm(other)
                assert apart < TOLERANCE[criterion], f"the scores of {name} differ by {apart}"


def images_of(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Random images, standard normal, and labels of ten classes."""
    random = np.random.default_rng(0)
    images = random.standard_normal((case.batch, *case.shape), np.float32)
    return images, random.integers(0, 10, case.batch)


def network_of(case: Case, dtype: str) -> tuple[Any, Callable[..., jax.Array]]:
    """Initial kernels, all that is scored, and (kernels, images) -> logits, in eval mode."""
    module: Any = model.create(case.network, classes=10, width=case.width, dtype=dtype)
    variables = model.initialize(module, jax.random.key(0), case.shape)
    variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), variables)
    labels = tree.label(variables["params"], ((".*/kernel", "mask"),))
    parts = tree.partition(variables["params"], labels)
    # Everything else stays as initialized, and so is already absolute for SynFlow.
    stats = variables["batch_stats"]

    def logits(kernels: Any, images: jax.Array) -> jax.Array:
        parameters = tree.combine(kernels, parts["freeze"])
        return module.apply({"params": parameters, "batch_stats": stats}, images)

    return parts["mask"], logits


def ours(case: Case, criterion: str, shots: int) -> Side:
    """The library's scores; with shots, its masks."""
    double = criterion == "synflow"
    precision = partial(jax.enable_x64, True) if double else nullcontext
    with precision():
        kernels, logits = network_of(case, "float64" if double else "float32")
        ones = jnp.ones((1, *case.shape), jax.tree.leaves(kernels)[0].dtype)
        batch = () if double else tuple(map(jnp.asarray, images_of(case)))

    def loss(kernels: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
        return cross_entropy(logits(kernels, images), labels).mean()

    criteria: dict[str, Callable[[], Any]] = {
        "snip": lambda: score.snip(loss),
        "grasp": lambda: score.grasp(loss),
        "synflow": lambda: score.synflow(lambda kernels: logits(kernels, ones)),
    }
    scorer = criteria[criterion]()
    function = prune.multi_shot(scorer, DENSITY, shots) if shots else scorer

    def side() -> list[jax.Array]:
        with precision():
            return jax.block_until_ready(jax.tree.leaves(function(kernels, *batch)))

    return side


def layout(kernel: np.ndarray) -> np.ndarray:
    """A kernel as PyTorch has it: [out, in, height, width] or [out, in]."""
    return kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T


def torch_network(kernels: Any) -> Any:
    """The same network with the same weights; its paths are in the order of its layers."""
    from torch import from_numpy, nn

    layers: list[Any] = []
    for path, kernel in tree.named_leaves(kernels).items():
        weight = from_numpy(np.ascontiguousarray(layout(np.asarray(kernel))))
        out, into = weight.shape[:2]
        if weight.ndim == 4:
            pool = [nn.MaxPool2d(2)] if layers and "_1/" in path else []
            layer = nn.Conv2d(into, out, 3, padding=1)
            layers += [*pool, layer, nn.BatchNorm2d(out), nn.ReLU()]
        else:
            pool = [nn.AdaptiveAvgPool2d(1)] if "conv1_1" in kernels else []
            layer = nn.Linear(into, out)
            layers += [*pool, nn.Flatten(), layer, nn.ReLU()]
        layer.weight = nn.Parameter(weight)
        nn.init.zeros_(layer.bias)
    network = nn.Sequential(*layers[:-1]).to(weight.dtype).eval()  # the head has no ReLU
    for parameter in network.parameters():
        parameter.requires_grad_(parameter.ndim > 1)
    return network


def theirs(case: Case, criterion: str, shots: int, threads: int) -> Side:
    """The same by hand in PyTorch."""
    import torch

    double = criterion == "synflow"
    with jax.enable_x64(double):
        network = torch_network(network_of(case, "float64" if double else "float32")[0])
    weights = [parameter for parameter in network.parameters() if parameter.requires_grad]
    images, labels = map(torch.from_numpy, images_of(case))
    images = images.permute(0, 3, 1, 2).contiguous()
    ones = torch.ones(1, *images.shape[1:], dtype=weights[0].dtype)
    initial = [weight.detach().clone() for weight in weights]
    gradient = partial(torch.autograd.grad, inputs=weights)

    def loss() -> Any:
        return torch.nn.functional.cross_entropy(network(images), labels)

    def snip() -> list[Any]:
        scores = [(w * g).detach().abs() for w, g in zip(weights, gradient(loss()))]
        total = sum(s.sum() for s in scores)
        return [s / total for s in scores]

    def grasp() -> list[Any]:
        slopes = gradient(loss(), create_graph=True)
        flow = sum((slope.detach() * slope).sum() for slope in slopes)
        return [(w * curved).detach() for w, curved in zip(weights, gradient(flow))]

    def synflow(given: Sequence[Any] = initial) -> list[Any]:
        with torch.no_grad():
            for weight, value in zip(weights, given):
                weight.copy_(value.abs())
        return [(w * g).detach() for w, g in zip(weights, gradient(network(ones).sum()))]

    def many() -> list[Any]:
        masks = [torch.ones_like(weight) for weight in initial]
        for share in prune.densities(DENSITY, shots):
            scores = synflow(list(map(torch.mul, initial, masks)))
            every = torch.cat([s.flatten() for s in scores])
            cut = torch.kthvalue(every, len(every) - int(mask.allocate(initial, share))).values
            masks = [m * (s > cut) for m, s in zip(masks, scores)]
        return masks

    chosen = many if shots else {"snip": snip, "grasp": grasp, "synflow": synflow}[criterion]

    def side() -> list[Any]:
        torch.set_num_threads(threads)
        return chosen()

    return side


def milliseconds(timing: Timing) -> str:
    return f"{1e3 * timing.median:.3g} ms" if timing.median < 1 else f"{timing.median:.3g} s"


if __name__ == "__main__":
    command(run)
