"""Ordered work in threads. Decoding releases the interpreter lock, so threads suffice."""

import os
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def cores() -> int:
    """The number of processor cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def in_order(work: Callable[[Any], Any], items: Iterable[Any]) -> Generator[Any]:
    """`map` over all cores, in order, with few results waiting at any time."""
    workers = cores()
    with ThreadPoolExecutor(workers) as pool:
        waiting: list[Any] = []
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > workers + 1:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()


def with_progress(chunks: Iterable[Any], total: int, title: str) -> Generator[Any]:
    """(images, labels) as they come, with a progress bar on stderr that counts the labels."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total)
        for images, labels in chunks:
            yield images, labels
            bar.advance(task, len(labels))
