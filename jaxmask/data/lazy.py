"""Images made on demand, for when an array of all of them would be too large."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from jaxmask.data.parallel import cores, in_order

PIECE = 32  # most images that a thread makes at a time


class Lazy:
    """Reads like a uint8 array [N, H, W, C], indexed along its first axis only.

    `lazy[i]`, `lazy[a:b]`, `lazy[indices]` and `np.asarray(lazy)` are arrays, made on all cores;
    `len`, `shape`, `size`, `dtype`, `ndim` and `nbytes` are those of the whole array.

    Args:
      make: (indices int [n]) -> uint8 [n, H, W, C]; called from several threads at once.
      shape: (H, W, C).
      indices: int [N], the index for `make` of the image at each position.

    Example:
      >>> squares = Lazy(lambda i: np.uint8(i * i)[:, None, None, None], (1, 1, 1), np.arange(9))
      >>> squares[2:4].ravel(), squares.take([8]).shape
      (array([4, 9], dtype=uint8), (1, 1, 1, 1))
    """

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(
        self,
        make: Callable[[np.ndarray], np.ndarray],
        shape: tuple[int, ...],
        indices: np.ndarray,
    ) -> None:
        self._make = make
        self._indices = indices
        self.shape = (len(indices), *shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    nbytes = size  # one byte each

    def __len__(self) -> int:
        return len(self._indices)

    def take(self, positions: Sequence[int] | np.ndarray) -> "Lazy":
        """The images at the given positions, still lazy."""
        return Lazy(self._make, self.shape[1:], self._indices[positions])

    def read(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint8 [n, H, W, C], made in the calling thread."""
        return self._made(self._indices[positions])

    def __getitem__(self, index: Any) -> np.ndarray:
        if isinstance(index, tuple):
            raise IndexError("images decoded on demand take one index, that of the image")
        chosen = self._indices[index]
        flat = np.ravel(chosen)
        pieces = np.array_split(flat, max(-(-len(flat) // PIECE), min(cores(), len(flat)), 1))
        made = [self._made(pieces[0])] if len(pieces) == 1 else list(in_order(self._made, pieces))
        return np.concatenate(made).reshape(*np.shape(chosen), *self.shape[1:])

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[position] for position in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("images decoded on demand are always new arrays; leave out copy=False")
        return self[:] if dtype is None else self[:].astype(dtype)

    def _made(self, chosen: np.ndarray) -> np.ndarray:
        if not len(chosen):
            return np.zeros((0, *self.shape[1:]), np.uint8)
        return self._make(chosen)
