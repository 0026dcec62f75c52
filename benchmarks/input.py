"""JPEGs decoded to 224 pixels during training: how fast, and how long the device waits.

Three things: the pipeline with 1 to n workers against a plain loop over Pillow; a simulated
accelerator that needs no core and sleeps for a set time per chunk; and a real training run, which
on a CPU competes with the decoding for the cores.
"""

import math
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Result, command, interleaved, ratio, table
from jaxmask import data
from jaxmask.data.parallel import cores
from jaxmask.recipe import dense
from jaxmask.run import defaults
from jaxmask.train import feed, loop

SIZE = 224
SLOWER = 1.25  # the accelerator's time per chunk, relative to decoding it on all cores
BATCH = 16


def run(rounds: int = 5, count: int = 192, shape: tuple[int, int] = (375, 500)) -> list[Result]:
    """All three, on `count` photographs of this height and width."""
    with tempfile.TemporaryDirectory() as folder:
        files = photographs(Path(folder) / "images", count, shape)
        with redirect_stderr(StringIO()):
            dataset = data.load(
                f"folder:{folder}/images", size=SIZE, validation=0, cache_dir=folder, cache_gib=0
            )
        results = decoding(files, dataset.train, rounds)
        results.append(accelerator(dataset.train, min(rounds, 3)))
        results.append(training(Path(folder), rounds=1))
    return results


def photographs(folder: Path, count: int, shape: tuple[int, int]) -> list[Path]:
    """JPEGs of waves and noise, with about as many bytes as photographs; four classes."""
    from PIL import Image

    random = np.random.default_rng(0)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    noise = random.normal(0, 12, (*shape, 3))
    files = []
    for index in range(count):
        pixels = np.stack([np.sin(x / (9 + c) + y / (11 - c) + index) for c in range(3)], -1)
        path = folder / f"class_{index % 4}" / f"{index:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = np.roll(noise, index, axis=1) + 127 + 100 * pixels
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path, quality=90)
        files.append(path)
    return files


def decoding(files: list[Path], train: data.Split, rounds: int) -> list[Result]:
    """The pipeline's images per second, with each number of workers, and a loop's."""

    def by_hand() -> None:
        from PIL import Image, ImageOps

        for path in files[: len(order) * BATCH]:
            with Image.open(path) as image:
                np.asarray(ImageOps.fit(image.convert("RGB"), (SIZE, SIZE)))

    order = _order(train)
    sides: dict[str, Callable[[], Any]] = {"Pillow in a loop": by_hand}
    workers = sorted({*(2**k for k in range(int(math.log2(cores())) + 1)), cores()})
    for threads in workers:
        sides[_workers(threads)] = partial(_drain, train, order, threads)
    timings = interleaved(sides, rounds)
    bare = timings["Pillow in a loop"]
    rates = {name: f"{order.size / timing.median:,.0f}" for name, timing in timings.items()}
    rows, results = [], []
    for name, timing in timings.items():
        times = ratio(bare.seconds, timing.seconds)
        rows.append((name, rates[name], times))
        if timing is not bare:
            text = (
                f"JPEGs per second at {SIZE} px, {name}, against Pillow in a loop (more is better)"
            )
            results.append(Result(text, rates[name], rates["Pillow in a loop"], times))
    print(table(("decoding", "images/s", "against a loop"), rows))
    return results


def accelerator(train: data.Split, rounds: int) -> Result:
    """An accelerator that takes `SLOWER` times as long per chunk as decoding it on all cores."""
    order = _order(train)
    lengths = feed.cut(len(order), max(len(order) // 6, 1))
    shares = []
    for _ in range(rounds):
        began = time.monotonic()
        _drain(train, order, 0)
        each = SLOWER * (time.monotonic() - began) / len(lengths)
        waits: list[float] = []
        began = time.monotonic()
        for _ in feed.ahead(data.stream(train, order, lengths), waits.append):
            time.sleep(each)
        total = time.monotonic() - began
        # Waiting for the first chunk is unavoidable.
        shares.append(sum(waits[1:]) / (total - waits[0]))
    share = f"{np.median(shares):.1%}"
    print(f"\nan accelerator {SLOWER} times slower than decoding waits {share} of the time")
    return Result(
        f"time that an accelerator {SLOWER} times slower than decoding waits", share, "0", ""
    )


def training(folder: Path, rounds: int) -> Result:
    """A real run of a few epochs, with images decoded in each of them."""
    config = defaults.dense(f"folder:{folder}/images", epochs=3)
    config.data.update(decode_size=SIZE, size=64, cache=str(folder), cache_gib=0.0, flip=True)
    config.data.update(mean=(0.5,) * 3, std=(0.25,) * 3)
    config.network.update(name="resnet20", width=0.5)
    config.train.update(batch_size=BATCH, scan_steps=3)
    shares, seconds = [], []
    for index in range(rounds):
        with redirect_stderr(StringIO()):
            run = next(dense.prepare(config)(folder / f"run{index}", None))
            fit = loop.fit(run.programs, run.job)
        shares.append(fit.waited)
        seconds.append(fit.seconds)
    share = f"{np.median(shares):.1%}"
    print(f"a run of resnet20 at 64 px on this machine: {np.median(seconds):.1f} s, waited {share}")
    return Result("time that a run of resnet20 at 64 px waits for images", share, "0", "")


def _order(train: data.Split) -> np.ndarray:
    steps = len(train.labels) // BATCH
    return np.arange(steps * BATCH, dtype=np.int32).reshape(steps, BATCH)


def _drain(train: data.Split, order: np.ndarray, threads: int) -> None:
    for _ in data.stream(train, order, feed.cut(len(order), max(len(order) // 6, 1)), threads):
        pass


def _workers(threads: int) -> str:
    return "1 worker" if threads == 1 else f"{threads} workers"


if __name__ == "__main__":
    command(run)
