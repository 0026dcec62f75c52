"""Datasets larger than device memory: the same batches, read on the host ahead of the device."""

from collections.abc import Iterator, Sequence

import numpy as np

from jaxmask.data.lazy import Lazy
from jaxmask.data.parallel import cores
from jaxmask.errors import InputError

THREADS = 2  # to gather images already decoded; more are not faster


def stream(
    split, order, lengths: Sequence[int], threads: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Chunks of training steps in the given order, through a Grain pipeline.

    Threads gather or decode the next steps (up to one chunk ahead) while the caller computes on
    this one. Threads suffice, because decoders release the interpreter lock.
    The batches are exactly `split.images[order]`, whatever the number of threads.

    Args:
      split: a `Split`: uint8 [N, H, W, C] images, usually memory-mapped or `Lazy` (or token ids
        int32 [N, L]), and int32 [N] labels.
      order: int [steps, B], the index of each example.
      lengths: how many steps each chunk holds; sums to `steps`.
      threads: how many read at once; 0 is one per core if images have to be decoded, and two if
        they are only gathered.

    Yields:
      (images uint8 [L, B, H, W, C], labels int32 [L, B]) for each L of `lengths`. The arrays are
      the caller's to keep.

    Raises:
      InputError: `lengths` that do not add up to the steps, `order` outside the dataset;
        during iteration, an image that cannot be decoded.
    """
    order = np.asarray(order)
    lengths = [int(length) for length in lengths]
    if order.ndim != 2 or sum(lengths) != len(order) or min(lengths, default=1) < 1:
        raise InputError(
            f"order {list(order.shape)} must be [steps, batch] and lengths {lengths} whole "
            "numbers above 0 that sum to the steps"
        )
    if order.size and (order.min() < 0 or order.max() >= len(split.labels)):
        raise InputError(f"order names examples outside 0..{len(split.labels) - 1}")
    return _chunks(split, order, lengths, threads)


def _chunks(split, order, lengths, threads):
    import grain

    if not lengths:
        return
    images, labels = split.images, np.asarray(split.labels)
    lazy = isinstance(images, Lazy)
    threads = threads or (cores() if lazy else THREADS)

    def batch(row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # np.take releases the interpreter lock, even while it waits for a mapped file's pages.
        read = images.read(row) if lazy else np.take(images, row, axis=0)
        return read, np.take(labels, row)

    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(threads, *lengths))
    steps = iter(grain.MapDataset.source(order).map(batch).to_iter_dataset(options))
    for length in lengths:
        shape = (length, order.shape[1])
        chunk = np.empty(shape + images.shape[1:], images.dtype), np.empty(shape, np.int32)
        for i in range(length):
            chunk[0][i], chunk[1][i] = next(steps)
        yield chunk
