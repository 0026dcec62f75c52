"""How batches reach the device: from a dataset stored there, or as a stream of chunks."""

import time
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxmask import hosts
from jaxmask import tree as trees
from jaxmask.errors import InputError
from jaxmask.train import placement

Stream = Callable[[Any, np.ndarray, Sequence[int]], Iterator[tuple[np.ndarray, np.ndarray]]]


class Feed(NamedTuple):
    """A split of a dataset as the compiled scans take it.

    Attributes:
      examples: the number of examples.
      resident: arrays that stay on the device; an argument of every scan, never a copy.
      fetch: (resident, x) -> (images uint8 [B, H, W, C], labels [B]), inside the scan.
      chunks: (order [steps, B], lengths) -> what to scan over, once for each length.
      longest: (batch size) -> the most batches that may be on the device at a time.
      members: the indices of the examples to train on; None for all. Epochs stay as long as over
        all examples, so that trainings on parts of a split take equally many steps.
    """

    examples: int
    resident: Any
    fetch: Callable[[Any, Any], tuple[jax.Array, jax.Array]]
    chunks: Callable[[np.ndarray, Sequence[int]], Iterator[Any]]
    longest: Callable[[int], int]
    members: np.ndarray | None = None


def make_mesh(model: int = 1) -> Mesh:
    """All devices, `model` at a time along the axis `model`, the others along `data`.

    Batches are split along `data`; along `model`, large weights and all that is like them.

    Raises:
      InputError: `model` does not divide the devices of a host.
    """
    if model < 1 or jax.local_device_count() % model:
        raise InputError(
            f"network.devices is {model}; give a divisor of the {jax.local_device_count()} devices "
            "of this host"
        )
    shape, both = (jax.device_count() // model, model), (AxisType.Auto, AxisType.Auto)
    mesh = jax.make_mesh(shape, ("data", "model"), axis_types=both)
    if any(len({device.process_index for device in row}) > 1 for row in mesh.devices):
        raise InputError(f"network.devices is {model}, which here are not of one host; give fewer")
    return mesh


def replicate(tree: Any, mesh: Mesh) -> Any:
    """The tree on the mesh: large leaves in parts along `model`, the others whole on every device.

    With many hosts, as the leader has it.
    """
    layout = trees.shardings(tree, mesh)
    if hosts.count() == 1:
        return jax.device_put(tree, layout)
    return placement.device_copy(hosts.agreed(placement.host_copy(tree)), tree, layout)


def spread(tree: Any, mesh: Mesh) -> Any:
    """The tree with its large leaves in parts along `model`, if that has several devices.

    With many hosts, it stays as it is: each computes with all of it.
    """
    if hosts.count() > 1 or mesh.shape["model"] == 1:
        return tree
    return jax.device_put(tree, trees.shardings(tree, mesh))


def check_batch(batch_size: int, examples: int, mesh: Mesh) -> None:
    """Raises InputError if a batch does not fit the devices or the dataset."""
    if batch_size < 1 or batch_size % mesh.shape["data"]:
        raise InputError(
            f"batch_size {batch_size} must be a positive multiple of the {mesh.shape['data']} "
            "devices that share each batch"
        )
    if examples < batch_size:
        raise InputError(
            f"a batch of {batch_size} is more than the {examples} training examples; "
            "set a smaller train.batch_size"
        )


def resident(images: np.ndarray, labels: np.ndarray, mesh: Mesh) -> Feed:
    """A split stored on every device as uint8; a scan takes the indices of its batches."""
    arrays = _resident((np.asarray(images), np.asarray(labels, np.int32)), mesh)
    across = NamedSharding(mesh, PartitionSpec(None, "data"))

    def fetch(arrays: Any, index: jax.Array) -> tuple[jax.Array, jax.Array]:
        return arrays[0][index], arrays[1][index]

    def chunks(order: np.ndarray, lengths: Sequence[int]) -> Iterator[jax.Array]:
        for piece in np.split(order, np.cumsum(lengths)[:-1]):
            if across.is_fully_addressable:
                yield jax.device_put(piece, across)
            else:
                yield placement.put(piece, across)

    return Feed(len(labels), arrays, fetch, chunks, lambda _: len(labels))


def _resident(arrays: Any, mesh: Mesh) -> Any:
    """Arrays of a dataset on every device; each host has read them by itself.

    Raises:
      InputError: the hosts have read different data.
    """
    everywhere = NamedSharding(mesh, PartitionSpec())
    if everywhere.is_fully_addressable:
        return jax.device_put(arrays, everywhere)
    digest = np.array([zlib.crc32(x.tobytes()) for x in jax.tree.leaves(arrays)], np.uint32)
    if not np.array_equal(digest, hosts.agreed(digest)):
        raise InputError("this host has read other data than the first; give all the same files")
    return jax.tree.map(lambda x: placement.put(x, everywhere), arrays)


def streamed(split: Any, stream: Stream, mesh: Mesh, chunk_bytes: int = 2**28) -> Feed:
    """A split that stays on the host; a scan takes the batches themselves.

    With many hosts, each reads its share of every batch.

    Args:
      chunk_bytes: about the bytes of images to send to the device at a time.
    """
    across = NamedSharding(mesh, PartitionSpec(None, "data"))

    def fetch(_: Any, batch: Any) -> tuple[jax.Array, jax.Array]:
        return batch

    def chunks(order: np.ndarray, lengths: Sequence[int]) -> Iterator[Any]:
        if across.is_fully_addressable:
            yield from (jax.device_put(batch, across) for batch in stream(split, order, lengths))
            return
        mine = placement.own_columns(across, order.shape)
        for batch in stream(split, np.ascontiguousarray(order[:, mine]), lengths):
            yield jax.tree.map(
                lambda x: jax.make_array_from_process_local_data(
                    across, x, (len(x), order.shape[1], *x.shape[2:])
                ),
                batch,
            )

    def longest(batch_size: int) -> int:
        each = split.images.nbytes // max(len(split.labels), 1)
        return max(chunk_bytes // max(batch_size * each, 1), 1)

    return Feed(len(split.labels), (), fetch, chunks, longest)


def ahead(chunks: Iterable[Any], wait: Callable[[float], None]) -> Generator[Any]:
    """The chunks, each made and sent by a thread while the caller computes on the one before.

    Two chunks exist at a time, if the caller is done with one before it takes the next.

    Args:
      wait: called with the seconds that the caller waited for each chunk; so did the device, if
        the caller left it nothing to do.
    """
    source = iter(chunks)
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, source, None)
        while True:
            began = time.monotonic()
            chunk = coming.result()
            wait(time.monotonic() - began)
            if chunk is None:
                return
            coming = thread.submit(next, source, None)
            yield chunk


def shuffled_order(seed: int, epoch: int, examples: int, batch_size: int) -> np.ndarray:
    """The epoch's batches, int32 [steps, batch_size]: a function of only seed and epoch.

    Every example at most once; a partial last batch is dropped.
    """
    steps = examples // batch_size
    order = np.random.default_rng([seed, epoch]).permutation(examples)
    return order[: steps * batch_size].reshape(steps, batch_size).astype(np.int32)


def training_order(feed: Feed, seed: int, epoch: int, batch_size: int) -> np.ndarray:
    """The epoch's batches of a feed, int32 [steps, batch_size]: `shuffled_order`, or its members'.

    Members are passed over in ever new orders, cut into batches; a pass may begin in the middle of
    a batch, and of an epoch, and all members are seen equally often (but for one pass).
    """
    if feed.members is None:
        return shuffled_order(seed, epoch, feed.examples, batch_size)
    count, steps = len(feed.members), feed.examples // batch_size
    first, last = epoch * steps * batch_size, (epoch + 1) * steps * batch_size
    passes = range(first // count, -(-last // count))
    orders = [np.random.default_rng([seed, each]).permutation(count) for each in passes]
    begin = first - first // count * count
    places = np.ravel(orders).astype(np.int64)[begin : begin + last - first]
    return np.asarray(feed.members)[places].reshape(steps, batch_size).astype(np.int32)


def complete_order(examples: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Every example once: indices int32 [batches, batch_size] and which of them count, bool.

    The last batch is padded with example 0, which does not count there.
    """
    batches = -(-examples // batch_size)
    order = np.arange(batches * batch_size, dtype=np.int32)
    valid = order < examples
    shape = (batches, batch_size)
    return np.where(valid, order, 0).reshape(shape), valid.reshape(shape)


def cut(steps: int, about: int) -> list[int]:
    """Lengths of equal scans of about `about` steps (half to twice) that add up to `steps`.

    Each distinct length is a program to compile; so only if `steps` has no fitting divisor, there
    are two lengths, which differ by one.
    """
    pieces = -(-steps // max(about, 1))
    fitting = [n for n in range(-(-pieces // 2), 2 * pieces + 1) if steps % n == 0]
    if fitting:
        pieces = min(fitting, key=lambda n: (abs(n - pieces), n))
        return [steps // pieces] * pieces
    return [len(piece) for piece in np.array_split(np.arange(steps), pieces)]
