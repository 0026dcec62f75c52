"""Randomness by name: draws under one name do not depend on other draws."""

import zlib

import jax
import numpy as np

from jaxmask.errors import InputError


def check_seed(seed: int) -> None:
    """Raises InputError for a seed out of range."""
    if not 0 <= seed < 2**32:
        raise InputError(f"seed is {seed}; it must be at least 0 and below 2^32")


def number(seed: int, name: str) -> int:
    """A NumPy seed for one name: the CRC-32 of seed and name."""
    return zlib.crc32(f"{seed}/{name}".encode())


def named_key(seed: int, name: str) -> jax.Array:
    """A random key for one name, independent of other names."""
    return jax.random.fold_in(jax.random.key(seed), np.uint32(zlib.crc32(name.encode())))
