"""Attention: dense, and block-sparse (BigBird), whose memory is linear in the number of tokens."""

import ast
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxmask.errors import InputError, nearest

# (queries, keys, values [B, T, H, S], tokens that are seen bool [B, T] or None) -> [B, T, H, S]
Attend = Callable[[jax.Array, jax.Array, jax.Array, jax.Array | None], jax.Array]


def dense(
    q: jax.Array, k: jax.Array, v: jax.Array, seen: jax.Array | None = None, causal: bool = False
) -> jax.Array:
    """`softmax(q k^T / sqrt(S)) v` of each head, over the tokens that are seen.

    Args:
        q: queries [B, Q, H, S]; `k`, `v`: keys and values [B, T, H, S].
        seen: bool [B, T], false for padding; None: all are seen.
        causal: whether a token sees no later ones.

    Returns:
        [B, Q, H, S].
    """
    mask = None if seen is None else seen[:, None, None, :]
    if causal:
        mask = nn.combine_masks(mask, nn.make_causal_mask(q[..., 0, 0]), dtype=bool)
    # jax.nn.dot_product_attention would compute the softmax of float64 in float32
    share = nn.dot_product_attention_weights(
        q, k, mask=mask, force_fp32_for_softmax=jnp.finfo(q.dtype).bits < 32
    )
    return jnp.einsum("...hqk,...khd->...qhd", share.astype(v.dtype), v)


def bigbird(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    seen: jax.Array | None = None,
    *,
    window: int = 3,
    random: int = 3,
    global_: int = 2,
    block: int = 16,
    seed: int | Sequence[int] = 0,
) -> jax.Array:
    """Block-sparse attention: `dense` with `bigbird_mask`, in memory linear in T.

    Tokens are cut into blocks. The first blocks are global: they see all tokens, and all see them.
    Every other block sees those, a window of blocks with itself in the middle, and blocks drawn at
    random from the rest of the text, so any two tokens are at most two steps apart. A text's random
    blocks depend on the seed and on how many blocks the text itself has, but not on its padding.

    With n = T / block and m = global_ + window + random, B H (n m + global_ n) block^2 logits are
    computed, instead of B H T^2. All heads have the same blocks.

    Reference: Zaheer et al., Big Bird: transformers for longer sequences, 2020,
    https://arxiv.org/abs/2007.14062 (there, BigBird-ITC).

    Args:
        q: queries [B, T, H, S]; `k`, `v`: keys and values, likewise.
        seen: bool [B, T], false for padding; None: all are seen.
        window: blocks in the window, odd.
        random: random blocks for each; fewer if the text has no more.
        global_: global blocks.
        block: tokens in a block.
        seed: whole numbers, which decide the random blocks.

    Returns:
        [B, T, H, S].

    Example:
        >>> from jaxmask.model import attention
        >>> x = jax.random.normal(jax.random.key(0), (1, 512, 2, 8))
        >>> attention.bigbird(x, x, x, block=16).shape
        (1, 512, 2, 8)
    """
    length = q.shape[1]
    seen = jnp.ones(q.shape[:2], bool) if seen is None else seen
    q, k, v, seen = (_cut(x, block) for x in (q, k, v, seen))  # [B, n, block, ..]
    first = min(global_, q.shape[1])
    joined = [dense(_joined(q[:, :first]), _joined(k), _joined(v), _joined(seen))] * (first > 0)
    if first < q.shape[1]:
        places, drawn = _places(seen, window, random, global_, seed)
        take = jax.vmap(lambda blocks, at: blocks[at])
        keys, values = (_joined(take(x, places), axis=2) for x in (k, v))  # [B, n, m block, H, S]
        among = _joined(take(seen, places) & drawn[..., None], axis=2)
        joined.append(_joined(jax.vmap(dense, in_axes=1, out_axes=1)(
            q[:, first:], keys, values, among
        )))  # fmt: skip
    return jnp.concatenate(joined, 1)[:, :length]


def bigbird_mask(
    seen: jax.Array,
    *,
    window: int = 3,
    random: int = 3,
    global_: int = 2,
    block: int = 16,
    seed: int | Sequence[int] = 0,
) -> jax.Array:
    """The mask of `bigbird` as a whole, to look at: bool [B, T, T], queries before keys."""
    length = seen.shape[1]
    blocks = _cut(seen, block)
    batch, count = blocks.shape[:2]
    first = min(global_, count)
    places, drawn = _places(blocks, window, random, global_, seed)
    rest = jnp.zeros((batch, count - first, count), bool)
    rows, columns = jnp.arange(batch)[:, None, None], jnp.arange(count - first)[:, None]
    rest = rest.at[rows, columns, places].max(drawn)
    found = jnp.concatenate([jnp.ones((batch, first, count), bool), rest], 1)
    found = found.repeat(block, 1).repeat(block, 2)[:, :length, :length]
    return found & seen[:, None, :]


def _places(
    seen: jax.Array, window: int, random: int, global_: int, seed: int | Sequence[int]
) -> tuple[jax.Array, jax.Array]:
    """The blocks that each block after the global ones sees: [B, n - global_, m], and which count.

    Those that do not count are beyond an end of the text, or global and in the window as well.
    """
    batch, count = seen.shape[:2]
    first = min(global_, count)
    at = jnp.arange(first, count)[:, None]  # [n - global_, 1]
    has = seen.any(-1)
    blocks = jnp.max(jnp.where(has, jnp.arange(count) + 1, 0), 1)[:, None, None]  # of each text
    near = at + jnp.arange(window) - window // 2
    low = jnp.maximum(at - window // 2, first)
    wide = jnp.maximum(jnp.minimum(at + window // 2 + 1, blocks) - low, 0)
    others = blocks - first - wide  # [B, n - global_, 1]
    drawn = jnp.asarray(_drawn(seed, count, random)[first:])
    far: list[jax.Array] = []
    real: list[jax.Array] = []
    for i in range(random):
        left = others[..., 0] - i
        place = drawn[:, i] % jnp.maximum(left, 1)
        # without replacement: a place among those that are left becomes one among all
        for earlier in jnp.unstack(jnp.sort(jnp.stack(far), 0)) if far else ():
            place = place + (place >= earlier)
        far.append(place)
        real.append(left > 0)
    shape = (batch, count - first)
    globals_ = jnp.broadcast_to(jnp.arange(first), (*shape, first))
    near = jnp.broadcast_to(near, (*shape, window))
    places, counted = [globals_, near], [globals_ >= 0, (near >= first) & (near < count)]
    if far:
        beside = jnp.stack(far, -1) + first
        places.append(beside + jnp.where(beside >= low, wide, 0))
        counted.append(jnp.stack(real, -1))
    return jnp.concatenate(places, -1).clip(0, count - 1), jnp.concatenate(counted, -1)


def _drawn(seed: int | Sequence[int], count: int, random: int) -> np.ndarray:
    """Whole numbers [count, random]; those of more rows begin with the same.

    The bits of a generator by itself are the same in every version of NumPy.
    """
    return (np.random.PCG64(seed).random_raw((count, random)) >> 33).astype(np.int32)


def _cut(x: jax.Array, block: int) -> jax.Array:
    """[B, T, ..] -> [B, n, block, ..], zeros at the end."""
    count = -(-x.shape[1] // block)
    more = [(0, 0), (0, count * block - x.shape[1]), *[(0, 0)] * (x.ndim - 2)]
    return jnp.pad(x, more).reshape(x.shape[0], count, block, *x.shape[2:])


def _joined(x: jax.Array, axis: int = 1) -> jax.Array:
    """Two axes as one."""
    return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])


def named(text: str, layer: int = 0) -> Attend:
    """The attention that a text names, "dense" or "bigbird(window=3, random=3, ...)".

    Args:
        text: the arguments are those of `bigbird`, whole numbers; a name alone has the defaults.
        layer: of several layers, each of which draws its own random blocks.

    Raises:
        InputError: it names no such attention, or an argument is out of range.
    """
    name, settings = _read(text)
    if name == "dense" and not settings:
        return dense
    if name != "bigbird":
        raise InputError(f"there is no attention {text!r}; give 'dense' or 'bigbird(...)'")
    given = inspect.signature(bigbird).parameters
    known = {key: each.default for key, each in given.items() if each.kind is each.KEYWORD_ONLY}
    for key in settings:
        if key not in known:
            raise InputError(f"bigbird has no {key!r}{nearest(key, known)}")
    settings = {**known, **settings}
    for key, value in settings.items():
        least = int(key in ("window", "block"))
        if type(value) is not int or not least <= value <= 2**20:
            raise InputError(f"{key} of bigbird is {value!r}; give a whole number from {least}")
    if not settings["window"] % 2:
        raise InputError(f"window of bigbird is {settings['window']}; give an odd number of blocks")
    return partial(bigbird, **{**settings, "seed": (settings["seed"], layer)})


def _read(text: Any) -> tuple[str, dict[str, Any]]:
    try:
        node = ast.parse(text, mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, {}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
            pairs = {str(each.arg): ast.literal_eval(each.value) for each in node.keywords}
            return node.func.id, pairs
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        pass
    raise InputError(
        f"the attention {text!r} cannot be read; give 'dense' or "
        "'bigbird(window=3, random=3, global_=2, block=16)'"
    )
