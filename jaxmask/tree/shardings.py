"""Where leaves go on a mesh of devices: by rules for their paths, or by their sizes."""

import math
import re
from collections.abc import Iterable

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxmask.errors import InputError
from jaxmask.tree.path import PyTree, named_leaves

LEAST = 2**14  # numbers of a leaf that is worth splitting


def shardings(
    tree: PyTree,
    mesh: Mesh,
    rules: Iterable[tuple[str, PartitionSpec]] = (),
    *,
    axis: str | tuple[str, ...] = "model",
    least: int = LEAST,
) -> PyTree:
    """The layout of every leaf, for `jax.device_put` and `jax.jit`.

    A leaf gets the partition spec of the first rule whose regular expression matches its whole
    path. If none does, a leaf of at least `least` numbers is split along its longest axis whose
    length the devices along `axis` divide (the last of several); all others are whole on every
    device. A gradient, a score, a mask or an optimizer's moment has its weight's shape, and so its
    layout; over all axes of the mesh (`axis=("data", "model")`) this is fully sharded data
    parallelism (Rajbhandari et al., 2020).

    Args:
      tree: of arrays, or of what has only their shape (`jax.ShapeDtypeStruct`); None stays None.
      rules: pairs (regular expression, partition spec), the first match wins.
      axis: of the mesh, or several, over which leaves are split by size.

    Returns:
      A tree of `NamedSharding` with the structure of `tree`.

    Raises:
      InputError: a rule matches no path, or its spec does not fit a leaf; the mesh lacks an axis.

    Example:
      >>> mesh = jax.make_mesh((1, 1), ("data", "model"))
      >>> w = {"body": {"kernel": jnp.ones((256, 128))}, "head": {"bias": jnp.ones(3)}}
      >>> jax.tree.map(lambda at: at.spec, tree.shardings(w, mesh))
      {'body': {'kernel': P('model', None)}, 'head': {'bias': P()}}
    """
    names = (axis,) if isinstance(axis, str) else tuple(axis)
    if missing := [name for name in names if name not in mesh.shape]:
        raise InputError(
            f"the mesh has no axis {missing[0]!r}; its axes are {', '.join(mesh.shape)}"
        )
    parts = math.prod(mesh.shape[name] for name in names)
    leaves, compiled = named_leaves(tree), [(re.compile(rule), spec) for rule, spec in rules]
    for regex, _ in compiled:
        if not any(map(regex.fullmatch, leaves)):
            raise InputError(f"the rule {regex.pattern!r} matches no path of the tree")
    found = []
    for path, leaf in leaves.items():
        spec = next((spec for regex, spec in compiled if regex.fullmatch(path)), None)
        spec = _by_size(leaf.shape, names, parts, least) if spec is None else spec
        layout = NamedSharding(mesh, spec)
        try:
            layout.shard_shape(leaf.shape)
        except ValueError as error:
            raise InputError(f"{path!r} of shape {leaf.shape}: {error}") from None
        found.append(layout)
    return jax.tree.unflatten(jax.tree.structure(tree), found)


def _by_size(
    shape: tuple[int, ...], names: tuple[str, ...], parts: int, least: int
) -> PartitionSpec:
    if math.prod(shape) < least:
        return PartitionSpec()
    fitting = [(length, place) for place, length in enumerate(shape) if length % parts == 0]
    if not fitting:
        return PartitionSpec()
    _, chosen = max(fitting)
    along = names[0] if len(names) == 1 else names
    return PartitionSpec(*[along if place == chosen else None for place in range(len(shape))])
