"""Datasets over the device's memory: the same batches, read on the host ahead of the device."""

from collections.abc import Iterator, Sequence

import numpy as np

from jaxmask.errors import InputError


def stream(
    split, order, lengths: Sequence[int], threads: int = 2
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Chunks of training steps in the given order, through a Grain pipeline.

    Threads gather the next steps (up to one chunk ahead) while the caller computes on this one.
    The batches are exactly `split.images[order]`, whatever the threads.

    Args:
      split: a `Split`: uint8 [N, H, W, C] images, mostly memory-mapped, and int32 [N] labels.
      order: int [steps, B], which example stands where.
      lengths: how many steps each chunk holds; sums to `steps`.
      threads: how many read at once.

    Yields:
      (images uint8 [L, B, H, W, C], labels int32 [L, B]) for each L of `lengths`. The arrays are
      the caller's to keep.

    Raises:
      InputError: `lengths` that do not add up to the steps, `order` outside the dataset.
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
    # np.take releases the interpreter lock, also while it waits for the pages of a mapped file.
    images, labels = np.asarray(split.images), np.asarray(split.labels)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(threads, *lengths))
    steps = iter(
        grain.MapDataset.source(order)
        .map(lambda row: (np.take(images, row, axis=0), np.take(labels, row)))
        .to_iter_dataset(options)
    )
    for length in lengths:
        shape = (length, order.shape[1])
        chunk = np.empty(shape + images.shape[1:], np.uint8), np.empty(shape, np.int32)
        for i in range(length):
            chunk[0][i], chunk[1][i] = next(steps)
        yield chunk
