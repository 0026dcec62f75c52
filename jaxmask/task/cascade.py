"""A cascade of masks in one task file: a dispatcher's embedding chooses the expert that joins in.

Warmerdam, Caron, Asano, Self-masking networks for unsupervised adaptation, 2024,
https://arxiv.org/abs/2409.07577.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxmask import evaluate, model, tree
from jaxmask.adapter import Stored
from jaxmask.adapter.base import check_used
from jaxmask.convolution import fast
from jaxmask.errors import InputError
from jaxmask.evaluate import Router, Whitening
from jaxmask.task import file as task_file
from jaxmask.task import learned, library, schema

DISPATCHER, CHANGES = "dispatcher", "changes"
GROUPS = ("params", "router", "whitening", "members")  # of arrays
Tree = Any


class Served(NamedTuple):
    """A cascade ready for use.

    Attributes:
      embed: (variables, uint8 images [B, H, W, C]) -> float32 [B, F], jitted. A conditional
        cascade computes two forward passes for an image, another one all of them.
      logits: (variables, images) -> float32 [B, classes], jitted.
      variables: of all networks, router, whitening and head.
      module: the Linen network of its members.
      prepare: uint8 images -> the network's input.
    """

    embed: Callable[[Any, jax.Array], jax.Array]
    logits: Callable[[Any, jax.Array], jax.Array]
    variables: dict[str, Any]
    module: nn.Module
    prepare: Callable[[jax.Array], jax.Array]


def content(
    members: Sequence[Stored], whitening: Whitening, router: Router | None, method: str
) -> Stored:
    """What a file must hold of a cascade, besides batch statistics and head.

    Experts start from the dispatcher's scores, so most of their bits are its bits: their masks are
    stored as changes, 1 where an expert differs, which compress better.

    Args:
      members: the dispatcher, then the experts, as their adapter stored them.
      router: of a conditional cascade; None if all experts take part for every image.
      method: the name of the members' adapter.
    """
    first, *experts = members
    changes = {
        str(index): jax.tree.map(_differ, one.masks, first.masks)
        for index, one in enumerate(experts)
    }
    names = [DISPATCHER, *changes]
    arrays: dict[str, Any] = {
        "members": {name: one.arrays for name, one in zip(names, members)},
        "whitening": whitening._asdict(),
    }
    if router is not None:
        arrays["router"] = {**router._asdict(), "whitening": router.whitening._asdict()}
    settings = {**first.settings, "member": method, "conditional": router is not None}
    return Stored({DISPATCHER: first.masks, CHANGES: changes}, arrays, settings)


def members(file: task_file.TaskFile) -> list[task_file.TaskFile]:
    """The dispatcher and the experts of a cascade's file, each a task by itself without a head.

    Raises:
      InputError: the file holds no cascade.
    """
    masks, arrays = file.stored.masks, file.stored.arrays
    changes = masks.get(CHANGES, {})
    names = [DISPATCHER, *sorted(changes, key=lambda name: (len(name), name))]
    with schema.naming(file.path):
        check_used(file.stored, GROUPS, tree.named_leaves(masks))
        if DISPATCHER not in masks or file.signs:
            raise InputError("it is no cascade: it lacks the masks of a dispatcher")
    settings = {
        name: value
        for name, value in file.stored.settings.items()
        if name not in ("member", "conditional")
    }
    about = {**file.about, "method": file.about.get("member", "")}
    found = []
    for name in names:
        mask = masks[DISPATCHER]
        if name != DISPATCHER:
            mask = _changed(file, mask, changes[name])
        stored = Stored(mask, arrays.get("members", {}).get(name, {}), settings)
        found.append(
            file._replace(
                stored=stored, batch_stats=file.batch_stats.get(name, {}), about=about, signs=False
            )
        )
    return found


def served(
    base: Mapping[str, Tree],
    file: task_file.TaskFile,
    adapters: task_file.Adapters,
    network: str = "",
) -> Served:
    """A cascade's networks over their base, from its file.

    The members' masks are stacked on the device as bits. An image takes the dispatcher's network
    and that of the expert that the router chooses; images of one expert are computed together.

    Raises:
      InputError: the file's content does not fit together, or its adapter or network is unknown.
    """
    parts = members(file)
    module, prepare = learned.pipeline(file.about, len(file.about["classes"]), network)
    kind, variables = _checked(base, file, parts, adapters, module)
    conditional, experts = "router" in variables, jnp.arange(1, len(parts))

    @fast
    def features(variables: dict[str, Any], index: Any, images: jax.Array) -> jax.Array:
        """Of one member, for its input images."""
        one = jax.tree.map(lambda leaf: leaf[index], variables["members"])
        network = library.variables(kind, variables["base"], one)
        found: Any = module.apply(network, images, features=True, **model.mode(module, False))
        return found.astype(jnp.float32)

    @jax.jit
    def embed(variables: dict[str, Any], images: jax.Array) -> jax.Array:
        inputs = prepare(images)
        own = features(variables, 0, inputs)
        if conditional:
            chosen = evaluate.route(variables["router"], own)
            of_expert = library.grouped(
                partial(features, variables), experts, inputs, chosen,
                group=library.GROUP, classes=own.shape[-1],
            )  # fmt: skip
            theirs = only(of_expert, chosen, len(experts))
        else:
            found = jax.lax.map(lambda index: features(variables, index, inputs), experts)
            theirs = jnp.moveaxis(found, 0, 1).reshape(len(own), -1)
        return evaluate.whiten(variables["whitening"], jnp.concatenate([own, theirs], axis=1))

    @jax.jit
    def logits(variables: dict[str, Any], images: jax.Array) -> jax.Array:
        head = variables["head"]
        embeddings = embed(variables, images)
        return jnp.matmul(embeddings, head["kernel"], precision="highest") + head["bias"]

    return Served(embed, logits, variables, module, prepare)


def only(features: jax.Array, chosen: jax.Array, experts: int) -> jax.Array:
    """[B, experts * F]: the features [B, F] of each example in its expert's place, else zeros."""
    places = jax.nn.one_hot(chosen, experts, dtype=features.dtype)
    return (places[:, :, None] * features[:, None, :]).reshape(len(features), -1)


def _checked(
    base: Mapping[str, Tree],
    file: task_file.TaskFile,
    parts: Sequence[task_file.TaskFile],
    adapters: task_file.Adapters,
    module: nn.Module,
) -> tuple[library.Kind, dict[str, Any]]:
    """How the members are restored, and the variables of `Served`.

    Raises:
      InputError: the file's content does not fit together.
    """
    adapter = task_file.adapter_of(parts[0], adapters)
    wanted = set(tree.paths(base.get("batch_stats", {})))
    for part in parts:
        restored = jax.eval_shape(partial(task_file.put_on, base, part, adapter))
        schema.check_network(file.about, restored, module, file.path, head=False)
        if wanted - set(tree.paths(part.batch_stats)):
            raise InputError(
                f"{file.path}: a network of the cascade lacks batch statistics: give the file as "
                "it was written"
            )
    kinds, stacked = library.kinds(parts, adapters)
    if len(kinds) != 1:
        raise InputError(f"{file.path}: the networks of the cascade differ in their arrays")
    variables = {
        "base": jax.tree.map(jnp.asarray, dict(base)),
        "members": stacked[0],
        **_maps(file, len(parts), bool(file.about.get("conditional"))),
        "head": jax.tree.map(jnp.asarray, file.stored.arrays["params"]["head"]),
    }
    return kinds[0], variables


def _differ(mask: Any, other: Any) -> np.ndarray:
    return np.asarray(mask) != np.asarray(other)


def _changed(file: task_file.TaskFile, mask: Tree, change: Tree) -> Tree:
    theirs, own = (
        {path: np.shape(leaf) for path, leaf in tree.named_leaves(each).items()}
        for each in (change, mask)
    )
    if theirs != own:
        raise InputError(
            f"{file.path}: the masks of its experts are not of the dispatcher's weights: give the "
            "file as it was written"
        )
    return jax.tree.map(np.logical_xor, mask, change)


def _maps(file: task_file.TaskFile, count: int, conditional: bool) -> dict[str, Any]:
    """Whitening and router of a file, checked against each other and its head."""
    arrays = file.stored.arrays
    try:
        whitening = _whitening(arrays["whitening"])
        size, kept = whitening.directions.shape
        head = arrays["params"]["head"]
        classes = len(file.about["classes"])
        fits = whitening.mean.shape == (size,) and size % count == 0
        fits &= np.shape(head["kernel"]) == (kept, classes)
        found: dict[str, Any] = {"whitening": whitening}
        if conditional:
            own = dict(arrays["router"])
            router = Router(**{**own, "whitening": _whitening(own["whitening"])})
            clusters, principal = np.shape(router.centers)
            fits &= clusters == count - 1 and np.shape(router.offsets) == (clusters,)
            fits &= np.shape(router.factors) == (clusters, principal, principal)
            fits &= np.shape(router.whitening.directions) == (size // count, principal)
            found["router"] = jax.tree.map(jnp.asarray, router)
    except (KeyError, TypeError, ValueError):
        fits = False
    if not fits:
        raise InputError(
            f"{file.path}: router, whitening and head of the cascade do not fit together: give the "
            "file as it was written"
        )
    return found


def _whitening(arrays: Mapping[str, Any]) -> Whitening:
    return Whitening(**{name: jnp.asarray(leaf) for name, leaf in arrays.items()})
