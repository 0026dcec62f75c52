"""How the weights that may be pruned begin, by name: Kaiming, bi-modal, a criterion's scores.

All others (biases, norms, what no rule masks) begin as the network or `start` has them. By default,
"network", so do these: a network's own weights are Kaiming-normal in LeNet, VGG and ResNet.
"""

import hashlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from jaxmask import score, signals, tree
from jaxmask.errors import InputError, is_number
from jaxmask.mask.axes import Axes, answers
from jaxmask.mask.initialize import drawn
from jaxmask.precision import total
from jaxmask.run.composites import COMPOSITES
from jaxmask.run.criteria import CRITERIA, Criterion
from jaxmask.run.scoring import check_usable, make_scoring, pruned_labels
from jaxmask.run.seeds import named_key
from jaxmask.run.task import Task, axes
from jaxmask.score.compose import SCOPES
from jaxmask.train.named import call

Variables = dict[str, Any]


class Initializer(NamedTuple):
    """What a network's starting weights are changed to.

    Attributes:
      change: variables -> variables.
      made_of: () -> what it depends on besides network and seed, as JSON: for the name of a file.
    """

    change: Callable[[Variables], Variables]
    made_of: Callable[[], list[Any]]


NETWORK = Initializer(lambda variables: variables, list)


class Kind(NamedTuple):
    """A named initialization with its settings: of random numbers, or of a criterion's scores.

    Attributes:
      draw: (axes by path) -> a function (key, weights) -> weights.
      criterion: whose scores are the weights.
      scale: of scores: the arguments of `score.as_weights`.
    """

    draw: Callable[[Any], Callable[[jax.Array, Any], Any]] | None = None
    criterion: Criterion | None = None
    scale: tuple[str, str, bool] = ("global", "weight", False)


def network() -> Kind:
    """As the network's own initializers, or `start`, have them."""
    return Kind()


def kaiming() -> Kind:
    """`w ~ N(0, 2 / fan_in)` (He et al. 2015), whatever initializers the network has."""

    def fan_in(found: Axes, shape: tuple[int, ...]) -> int:
        summed = found.inputs + found.window or found.outputs
        return max(math.prod(shape[axis] for axis in summed), 1)

    def draw(key: jax.Array, w: Any, fan_in: int) -> jax.Array:
        return math.sqrt(2 / fan_in) * jax.random.normal(key, w.shape, w.dtype)

    return Kind(lambda words: drawn(draw, lambda w: answers(w, words, fan_in, "fan_in")))


def bi_modal(spread: float = 0.25, scope: str = "layer") -> Kind:
    """`w = c (r + spread z)`: r is -1 or 1, z ~ N(0, 1), so that few weights are near 0.

    The source (Lutz, Manai 2022) found that the weights kept at low density are bi-modal, and drew
    all layers alike from a smoothed histogram of such weights, which it does not give. Here it is
    two normal distributions of equal weight. The factor c keeps the root mean square of the old
    weights: that of each layer, so that the activations keep their size, or (scope "global") that
    of all together, so that all layers are drawn alike, as in the source.

    Args:
      spread: the standard deviation of each mode, in units of its mean; 0 gives signs times c.
      scope: `"layer"` or `"global"`.
    """
    if not is_number(spread, 0, 1e3):
        raise InputError(f"initial 'bi_modal': spread {spread!r}; give a number from 0 to 1000")
    if scope not in SCOPES:
        raise InputError(f"initial 'bi_modal': scope {scope!r}; it must be 'layer' or 'global'")

    def draw(key: jax.Array, w: Any) -> jax.Array:
        sign, noise = jax.random.split(key)
        modes = jax.random.rademacher(sign, w.shape, w.dtype)
        return modes + spread * jax.random.normal(noise, w.shape, w.dtype)

    def scaled(key: jax.Array, weights: Any) -> Any:
        leaves, structure = jax.tree.flatten(weights)
        groups = [leaves] * len(leaves) if scope == "global" else [[leaf] for leaf in leaves]
        sizes = jax.tree.unflatten(structure, [_size(each) for each in groups])
        factor = 1 / math.sqrt(1 + spread**2)
        return jax.tree.map(lambda x, size: x * (factor * size), drawn(draw)(key, weights), sizes)

    return Kind(lambda words: scaled)


def scores(
    criterion: Criterion, scope: str = "global", sign: str = "weight", shift: bool = False
) -> Kind:
    """A criterion's scores as weights (SaW): `score.as_weights`, of the weights there were."""
    if not isinstance(criterion, Criterion):
        raise InputError(
            f"initial 'scores' takes a criterion, not {criterion!r}; write scores(snip())"
        )
    score.as_weights(score.magnitude(), scope, sign, shift)  # raises for an unknown choice
    return Kind(None, criterion, (scope, sign, shift))


KINDS: dict[str, Callable[..., Kind]] = {
    each.__name__: each for each in (network, kaiming, bi_modal, scores)
}


def make_initializer(task: Task, config: ConfigDict) -> Initializer:
    """Checks a config's `initial`; nothing is drawn or scored yet.

    Raises:
      InputError: it is unknown, or does not take its settings; or a field of the scoring section
        has an invalid value.
    """
    text = config.initial
    kind = call(text, {**KINDS, **CRITERIA, **COMPOSITES}, "initial")
    if isinstance(kind, Criterion):
        raise InputError(f"initial {text!r} is a criterion; write scores({text})")
    if kind == Kind():
        return NETWORK
    labels, words = pruned_labels(task, config), axes(task, config)
    masked = [path for path, label in tree.named_leaves(labels).items() if label == "mask"]
    change, made_of = _by_scores(task, config, kind) if kind.criterion else (None, list)

    def by_draw(weights: Any) -> Any:
        assert kind.draw is not None
        return kind.draw(words)(named_key(config.seed, "initial"), weights)

    def changed(variables: Variables) -> Variables:
        signals.obey()
        parts = tree.partition(variables["params"], labels)
        old = parts["mask"]
        new = by_draw(old) if change is None else change(variables)
        parts["mask"] = jax.tree.map(lambda made, was: jnp.asarray(made, was.dtype), new, old)
        return {**variables, "params": tree.combine(*parts.values())}

    return Initializer(changed, lambda: [text, masked, config.network.axes, *made_of()])


def _by_scores(
    task: Task, config: ConfigDict, kind: Kind
) -> tuple[Callable[[Variables], Any], Callable[[], list[Any]]]:
    """(variables -> weights, what these depend on) for a criterion's scores."""
    assert kind.criterion is not None
    scoring = make_scoring(task, config, kind.criterion, config.initial, "initial")
    what, words = f"initial {config.initial}", axes(task, config)

    def passes(first: str, second: str, w: Any, given: Any) -> None:
        check_usable(f"{what}: {first} gives {second}", w, given)

    def weights(variables: Variables) -> Any:
        with scoring.precision():
            scorer, w = scoring.ready(variables, passes=passes)
            found = scorer(w, *scoring.batch())
            check_usable(f"{what}: {scoring.criterion.name} gives", w, found)
            made = score.as_weights(lambda _: found, *kind.scale, words)(w)
        for path, leaf in tree.named_leaves(jax.device_get(made)).items():
            if not leaf.any():
                logging.warning("%s: all weights of %r are 0", what, path)
        return made

    def made_of() -> list[Any]:
        digest = hashlib.sha256()
        for array in scoring.batch():
            digest.update(np.asarray(array).tobytes())
        digest.update(" ".join(sorted(scoring.criterion.held)).encode())
        return [task.identity, config.scoring.mode, config.scoring.batch_size, digest.hexdigest()]

    return weights, made_of


def _size(leaves: list[jax.Array]) -> jax.Array:
    """The root mean square of all entries."""
    count = max(sum(leaf.size for leaf in leaves), 1)
    return jnp.sqrt(total([jnp.square(leaf) for leaf in leaves]) / count)
