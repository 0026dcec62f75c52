"""Layout over devices: what is made like a weight is laid out as the weight.

With Auto mesh axes the compiler chooses where results go; what depends on no weight's value, and
many a gradient, would end elsewhere than its weight. With Explicit axes (`jax.set_mesh`), layouts
are part of the types, and JAX refuses an operation whose result has no evident one: a reshape, a
sort, a slice.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.extend.mlir.dialects import sdy
from jax.interpreters import ad, batching, mlir
from jax.sharding import NamedSharding, PartitionSpec, auto_axes, reshard

PyTree = Any


def like(reference: PyTree, made: PyTree) -> PyTree:
    """`made`, each leaf laid out over the devices as its counterpart in `reference`.

    Args:
      reference: a tree of arrays.
      made: a tree of arrays of the same structure and shapes, of any dtypes.

    Example:
      >>> from jaxmask.sharding import like
      >>> like({"w": jnp.ones(2)}, {"w": jnp.zeros(2, bool)})["w"].tolist()
      [False, False]
    """
    return jax.tree.map(_like, reference, made)


def automatic(function: Callable[..., PyTree], reference: PyTree, *arguments: Any) -> PyTree:
    """`function(*arguments)`, laid out as `reference`; inside, the compiler chooses all layouts.

    Args:
      function: of trees, to a tree of the structure and shapes of `reference`. It closes over no
        arrays: inside, the axes of its arguments are Auto.
      reference: a tree of arrays; None lays everything out whole on every device.
      *arguments: trees of arrays, and anything else.

    Example:
      >>> from jaxmask.sharding import automatic
      >>> automatic(jnp.ravel, None, jnp.ones((2, 2))).shape
      (4,)
    """
    meshes = [_type(leaf).mesh for leaf in jax.tree.leaves((arguments, reference)) if _array(leaf)]
    mesh = next((mesh for mesh in meshes if mesh.explicit_axes), None)
    if mesh is None:
        made = function(*arguments)
        return made if reference is None else like(reference, made)
    everywhere = NamedSharding(mesh, PartitionSpec())
    arguments = jax.tree.map(lambda leaf: _on(everywhere, leaf), arguments)
    layout = (
        everywhere
        if reference is None
        else jax.tree.map(
            lambda leaf: kind if (kind := _type(leaf)).mesh.explicit_axes else everywhere, reference
        )
    )
    leaves, structure = jax.tree.flatten(arguments)
    places = [index for index, leaf in enumerate(leaves) if _array(leaf)]

    def inside(*arrays: jax.Array) -> PyTree:
        filled = [*leaves]
        for place, array in zip(places, arrays):
            filled[place] = array
        return function(*jax.tree.unflatten(structure, filled))

    free = auto_axes(inside, axes=mesh.explicit_axes, out_sharding=layout)
    return free(*(leaves[place] for place in places))


def replicated(function: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """`function` for arguments laid out in any way, its results whole on every device."""

    @functools.wraps(function)
    def anywhere(*given: Any, **named: Any) -> PyTree:
        return automatic(lambda given, named: function(*given, **named), None, given, named)

    return anywhere


def whole(x: jax.Array) -> jax.Array:
    """The array with axis 0 whole on every device if its axes are Explicit, to be cut anywhere."""
    kind = _type(x)
    if not kind.mesh.explicit_axes or kind.spec[0] is None:
        return x
    return reshard(x, NamedSharding(kind.mesh, PartitionSpec(None, *kind.spec[1:])))


def split_as(x: jax.Array, piece: jax.Array, axis: int = 0) -> jax.Array:
    """A piece of `whole(x)`, split along `axis` as `x` is along its first, if that divides it."""
    kind = _type(x)
    if not kind.mesh.explicit_axes:
        return piece
    parts = math.prod(kind.mesh.shape[name] for name in _names(kind.spec[:1]))
    if piece.shape[axis] % parts:
        return piece
    return reshard(piece, NamedSharding(kind.mesh, PartitionSpec(*[None] * axis, *kind.spec)))


def shares_axes(w: PyTree, batch: PyTree) -> bool:
    """Whether an Explicit axis over which examples are split splits weights too."""
    weights = {name for leaf in jax.tree.leaves(w) for name in _names(_type(leaf).spec)}
    examples = {name for leaf in jax.tree.leaves(batch) for name in _names(_type(leaf).spec[:1])}
    return bool(weights & examples)


def _on(everywhere: NamedSharding, leaf: Any) -> Any:
    """An array from before the mesh was set, whole on each of its devices."""
    if not _array(leaf) or _type(leaf).mesh.explicit_axes:
        return leaf
    return reshard(leaf, everywhere)


def _array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array)


def _type(x: Any) -> NamedSharding:
    """The layout that is part of the array's type: none unless axes are Explicit."""
    return jax.typeof(x).sharding


def _names(spec: Any) -> list[str]:
    """The mesh axes in a partition spec, whose entries are None, a name, or several."""
    entries = [entry for entry in spec if entry is not None]
    return [name for entry in entries for name in ([entry] if isinstance(entry, str) else entry)]


def _like(reference: Any, made: Any) -> Any:
    wanted = _type(reference)
    if wanted.mesh.explicit_axes:
        return made if _type(made) == wanted else reshard(made, wanted)
    if isinstance(reference, jax.core.Tracer) or isinstance(made, jax.core.Tracer):
        # Numbered as it is lowered: on one device this would only spoil the cache of programs.
        if jax.device_count() == 1 or wanted.mesh.manual_axes:
            return made
        return _alike.bind(reference, made)
    return _put_alike(reference, made)


# An operation that returns its second argument, laid out as its first: it puts both into one
# sharding group. JAX 0.10 has one, `shard_alike`, JAX 0.12 has none.
_alike = Primitive("alike")
_groups = itertools.count()


def _put_alike(reference: Any, made: Any) -> Any:
    if not getattr(reference, "committed", False) or reference.sharding == made.sharding:
        return made
    return jax.device_put(made, reference.sharding)


def _type_alike(reference: Any, made: Any) -> Any:
    return made


def _lower_alike(context: Any, reference: Any, made: Any) -> list[Any]:
    if getattr(jax.config, "jax_use_shardy_partitioner", True):  # the other one has no groups
        group = next(_groups)
        for value in (reference, made):
            sdy.sharding_group(value, group)
    return [made]


def _differentiate_alike(primals: Any, tangents: Any) -> tuple[Any, Any]:
    reference, tangent = primals[0], tangents[1]
    flows = not isinstance(tangent, ad.Zero)
    return _alike.bind(*primals), _alike.bind(reference, tangent) if flows else tangent


def _transpose_alike(cotangent: Any, reference: Any, _: Any) -> tuple[None, Any]:
    flows = not isinstance(cotangent, ad.Zero)
    return None, _alike.bind(reference, cotangent) if flows else cotangent


def _batch_alike(arguments: Any, axes: Any) -> tuple[Any, int]:
    (size,) = {x.shape[axis] for x, axis in zip(arguments, axes) if axis is not None}
    moved = [
        jnp.broadcast_to(x, (size, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)
        for x, axis in zip(arguments, axes)
    ]
    return _alike.bind(*moved), 0


_alike.def_impl(_put_alike)
_alike.def_abstract_eval(_type_alike)
# what is cached would be one group for all pairs of one shape
mlir.register_lowering(_alike, _lower_alike, cacheable=False)
ad.primitive_jvps[_alike] = _differentiate_alike
ad.primitive_transposes[_alike] = _transpose_alike
batching.primitive_batchers[_alike] = _batch_alike
