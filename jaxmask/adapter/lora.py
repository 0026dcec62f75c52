"""Low-rank updates of frozen kernels (LoRA, Hu et al. 2022)."""

import reprlib
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmask import mask, tree
from jaxmask.adapter import weights
from jaxmask.adapter.base import Adapter, Stored, Tree, check_used
from jaxmask.errors import InputError, is_number
from jaxmask.mask.axes import Axes, Stated, answers

MOST_RANK = 10_000
LARGEST_SCALE = 1e6


def lora(
    rules: Iterable[tuple[str, str]], rank: int = 4, scale: float = 1.0, axes: Stated = ()
) -> Adapter:
    """Learns `w + scale * a b` for the kernels labeled "mask"; trains those labeled "train".

    A kernel [..., in, out] has factors a [..., in, r] and b [r, out]; a convolution's a is a
    convolution to r channels, its b a 1x1; of one to heads, [in, heads, size], b is
    [r, heads, size]. a is initialized uniformly in +-1 / sqrt(fan in), b to zero, so there is no
    update at first; of a kernel [out, in, ...] it is the other way round. A leaf with fewer than
    two axes labeled "mask" is frozen.

    Args:
      rules: pairs (regex, label), as for `tree.label`.
      rank: r.
      scale: of the updates, alpha / rank in the paper.
      axes: what the axes of kernels mean, where it is not guessed; see `mask.describe`.

    Raises:
      InputError: by `init`, if the rules mask no kernel, or one of stacked layers, or whose outputs
        come neither first nor last, or that may be such; by `restore`, if factors do not fit the
        weights.

    References:
      Hu et al. 2022, https://arxiv.org/abs/2106.09685

    Example:
      >>> from jaxmask import adapter
      >>> way = adapter.lora([("head/.*", "train"), (".*/kernel", "mask")], rank=2)
      >>> params = {"fc": {"kernel": jnp.ones((8, 6))}, "head": {"kernel": jnp.ones((6, 3))}}
      >>> learned, frozen = way.init(jax.random.key(0), params)
      >>> tree.size(learned["low_rank"])  # 2 * (8 + 6)
      28
    """
    rules = tuple(rules)

    def init(key: jax.Array, params: Tree) -> tuple[dict[str, Tree], dict[str, Tree]]:
        labels = jax.tree.map(
            lambda label, leaf: "freeze" if label == "mask" and len(leaf.shape) < 2 else label,
            tree.label(params, rules),
            params,
        )
        parts = tree.partition(params, labels)
        known = mask.describe(params, axes)  # biases, which are not updated, tell more
        if not jax.tree.leaves(parts["mask"]):
            raise InputError("the rules label no kernel 'mask'; label one")
        return (
            {"train": parts["train"], "low_rank": factors(key, parts["mask"], rank, known)},
            {"weights": parts["mask"], "freeze": parts["freeze"]},
        )

    def parameters(learned: dict[str, Tree], frozen: dict[str, Tree]) -> Tree:
        changed = jax.tree.map(
            lambda weight, pair: _updated(weight, pair, scale),
            frozen["weights"],
            learned["low_rank"],
        )
        return tree.combine(changed, learned["train"], frozen["freeze"])

    def store(learned: dict[str, Tree], frozen: dict[str, Tree]) -> Stored:
        arrays = {"params": learned["train"], "low_rank": learned["low_rank"]}
        return Stored({}, arrays, {"low_rank_scale": scale})

    def restore(params: Tree, stored: Stored) -> Tree:
        scale: Any = stored.settings.get("low_rank_scale")
        if not is_number(scale, -LARGEST_SCALE, LARGEST_SCALE):
            raise InputError(
                f"low_rank_scale is {reprlib.repr(scale)}; it must be a finite number, at most "
                f"{LARGEST_SCALE:g} in size"
            )
        check_used(stored, ("params", "low_rank"))
        params = weights.restore(params, stored)
        known, changed = tree.named_leaves(params), {}
        for path, pair in _pairs(stored.arrays.get("low_rank", {})).items():
            if path not in known:
                raise InputError(f"there is a low-rank update of {path!r}, which does not exist")
            _check_fits(path, known[path], pair)
            changed[path] = _updated(known[path], pair, scale)
        return tree.replaced(params, tree.nested(changed), "the low-rank updates")

    def optimizers(section: Any) -> dict[str, Any]:
        return {"train": section.weights(), "low_rank": section.weights()}

    return Adapter(init, parameters, optimizers, store, restore)


def factors(key: jax.Array, kernels: Tree, rank: int, axes: Stated = ()) -> Tree:
    """Initial factors {"a", "b"} for every kernel of a tree."""
    leaves, structure = jax.tree.flatten(kernels)
    splits = _splits(kernels, axes)
    # The factor on the side of the inputs is random, its rank counting as outputs, the other 0.
    sides = [
        jax.ShapeDtypeStruct((*(w.shape[:at] if outputs_last else w.shape[at:]), rank), w.dtype)
        for w, (at, outputs_last) in zip(leaves, splits)
    ]
    drawn = mask.kaiming_uniform(out_axis=-1)(key, jax.tree.unflatten(structure, sides))
    pairs = []
    for w, side, (at, outputs_last) in zip(leaves, jax.tree.leaves(drawn), splits):
        a, b = jnp.zeros((*w.shape[:at], rank), w.dtype), jnp.zeros((rank, *w.shape[at:]), w.dtype)
        side = side.astype(w.dtype)
        pairs.append(
            {"a": side, "b": b} if outputs_last else {"a": a, "b": jnp.moveaxis(side, -1, 0)}
        )
    return jax.tree.unflatten(structure, pairs)


def _splits(kernels: Tree, axes: Stated) -> list[tuple[int, bool]]:
    """Where inputs and outputs of every kernel meet, and whether the outputs come last."""

    def split(found: Axes, shape: tuple[int, ...]) -> tuple[int, bool] | None:
        rank, count = len(shape), len(found.outputs)
        if found.layers or not 0 < count < rank:
            return None
        if found.outputs == tuple(range(rank - count, rank)):
            return rank - count, True
        return (count, False) if found.outputs == tuple(range(count)) else None

    found = []
    for path, place in zip(tree.paths(kernels), answers(kernels, axes, split, "a low-rank update")):
        if place is None:
            words = mask.describe(kernels, axes)[path]
            raise InputError(
                f"{path!r} is {words!r}; low-rank updates are of one layer whose inputs and "
                "outputs each come together: label it 'freeze' or 'train'"
            )
        found.append(place)
    return found


def _updated(weight: jax.Array, pair: dict[str, jax.Array], scale: float) -> jax.Array:
    update = jnp.tensordot(pair["a"], pair["b"], 1)
    return weight + (scale * update).astype(weight.dtype)


def _check_fits(path: str, weight: jax.Array, pair: dict[str, jax.Array]) -> None:
    """Raises InputError unless the factors are weights that multiply to the weight's shape."""
    if not all(map(tree.is_floating, pair.values())):
        raise InputError(f"the factors of {path!r} are not of floating-point numbers")
    a, b = jnp.shape(pair["a"]), jnp.shape(pair["b"])
    if not a or not b or a[-1] != b[0] or (*a[:-1], *b[1:]) != jnp.shape(weight):
        raise InputError(
            f"the factors of {path!r} have shapes {a} and {b}, which do not multiply to that of "
            f"the weight, {jnp.shape(weight)}"
        )


def _pairs(low_rank: Tree) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for path, leaf in tree.named_leaves(low_rank).items():
        place, _, name = path.rpartition("/")
        found.setdefault(place, {})[name] = leaf
    for place, pair in found.items():
        if set(pair) != {"a", "b"}:
            raise InputError(f"the low-rank update of {place!r} lacks one of its factors a and b")
    return found
