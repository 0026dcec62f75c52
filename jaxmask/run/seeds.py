"""Randomness by name: what is drawn under one name does not depend on what else is drawn."""

import zlib

import jax
import numpy as np

from jaxmask.errors import InputError


def check_seed(seed: int) -> None:
    """Raises InputError for a seed that no random key has."""
    if not 0 <= seed < 2**32:
        raise InputError(f"seed is {seed}; it must be at least 0 and below 2^32")


def number(seed: int, name: str) -> int:
    """A seed for numpy that belongs to one name: the CRC-32 of both."""
    return zlib.crc32(f"{seed}/{name}".encode())


def named_key(seed: int, name: str) -> jax.Array:
    """A random key that belongs to one name, whatever other names there are."""
    return jax.random.fold_in(jax.random.key(seed), np.uint32(zlib.crc32(name.encode())))
