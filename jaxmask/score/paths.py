"""Which entries of which values a signal reaches: a function, followed operation by operation.

Every value becomes a pair of arrays of zeros and ones, its `Flow`. Sums of them are cut to 0 or 1
after each operation, and their cotangents too: counts of paths never grow, so none overflows, and
none is lost. The rule of an operation treats all factors as positive: nothing cancels, and a
maximum lets all its operands through.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from jaxmask.errors import InputError


class Flow(NamedTuple):
    """What is known of a value that depends on masks or on the input; others stay arrays.

    Attributes:
      on: 1 where it may differ from zero.
      signal: 1 where it depends on the input; None if nothing of it can.
    """

    on: jax.Array
    signal: jax.Array | None


def follow(jaxpr: core.Jaxpr, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    """The outputs of a jaxpr, of which some arguments are a `Flow`.

    Raises:
      InputError: a `Flow` goes into an operation without a rule.
    """
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *arguments], strict=True))

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, core.Literal) else values[variable]

    for equation in jaxpr.eqns:
        inputs = [read(variable) for variable in equation.invars]
        with equation.ctx.manager:
            if any(isinstance(value, Flow) for value in inputs):
                outputs = _rule(equation.primitive.name)(equation, inputs)
            else:
                outputs = _bind(equation, inputs)
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


@jax.custom_vjp
def _cut(counts: jax.Array) -> jax.Array:
    # Counts are whole numbers, up to the rounding of a fast convolution.
    return (counts > 0.5).astype(jnp.float32)


_cut.defvjp(lambda counts: (_cut(counts), None), lambda _, cotangent: (_cut(cotangent),))


def _one(on: jax.Array) -> jax.Array:
    """Ones, of which every cotangent goes on to `on`."""
    return on + jax.lax.stop_gradient(1 - on)


def _with_addend(signal: jax.Array, on: jax.Array) -> jax.Array:
    """The signal, whose cotangent where it is on goes to what was added, too."""
    return signal + (on - jax.lax.stop_gradient(on)) * jax.lax.stop_gradient(signal)


def _on(value: Any) -> jax.Array:
    return value.on if isinstance(value, Flow) else (jnp.asarray(value) != 0).astype(jnp.float32)


def _signal(value: Any) -> jax.Array | None:
    return value.signal if isinstance(value, Flow) else None


def _bind(equation: core.JaxprEqn, inputs: Sequence[Any], **changed: Any) -> list[Any]:
    parameters = equation.primitive.get_bind_params({**equation.params, **changed})
    outputs = equation.primitive.bind(*inputs, **parameters)
    return list(outputs) if equation.primitive.multiple_results else [outputs]


# The kinds of rules: (equation, inputs) -> outputs.


def _same(equation: core.JaxprEqn, inputs: Sequence[Any]) -> list[Any]:
    """f(x) entry by entry with f(0) = 0, of each operand."""
    return list(inputs)


def _never_zero(equation: core.JaxprEqn, inputs: Sequence[Any]) -> list[Any]:
    """f(x) entry by entry with f(0) != 0."""
    (value,) = _union(equation, inputs)
    return [value._replace(on=_one(value.on))]


def _union(equation: core.JaxprEqn, inputs: Sequence[Any]) -> list[Flow]:
    """A sum, entry by entry. An addend without signal, a masked bias, belongs to the sum."""
    aval: Any = equation.outvars[0].aval
    shape = aval.shape
    on = _cut(jnp.broadcast_to(sum(map(_on, inputs)), shape))
    signals = [signal for signal in map(_signal, inputs) if signal is not None]
    if not signals:
        return [Flow(on, None)]
    signal = _cut(jnp.broadcast_to(sum(signals), shape))
    for value in inputs:
        if isinstance(value, Flow) and value.signal is None:
            signal = _with_addend(signal, value.on)
    return [Flow(on, signal)]


def _extreme(bound: Callable[[Any, int], jax.Array]) -> Callable[..., list[Flow]]:
    """A maximum or minimum: zero at zero, unless a constant bounds it away from that."""

    def rule(equation: core.JaxprEqn, inputs: Sequence[Any]) -> list[Flow]:
        bounded = [value if isinstance(value, Flow) else bound(value, 0) for value in inputs]
        return _union(equation, bounded)

    return rule


def _clamp(equation: core.JaxprEqn, inputs: Sequence[Any]) -> list[Flow]:
    low, value, high = inputs
    if isinstance(low, Flow) or isinstance(high, Flow):
        raise _not_understood("clamp, of bounds that depend on the mask or the input,")
    return _union(equation, [jnp.maximum(low, 0), value, jnp.minimum(high, 0)])


def _power(equation: core.JaxprEqn, inputs: Sequence[Any]) -> list[Flow]:
    """x^y, which is 1 at x = 0 for y = 0, and infinite for y < 0."""
    value, exponent = inputs
    if isinstance(exponent, Flow):
        return _never_zero(equation, inputs)
    return _union(equation, [value, jnp.asarray(exponent) <= 0])


def _whole_power(equation: core.JaxprEqn, inputs: Sequence[Any]) -> list[Any]:
    return _same(equation, inputs) if equation.params["y"] > 0 else _never_zero(equation, inputs)


def _select(equation: core.JaxprEqn, inputs: Sequence[Any]) -> list[Flow]:
    which, *cases = inputs
    if not isinstance(which, Flow):
        return _linear(*range(1, len(inputs)))(equation, inputs)
    (of_cases,) = _union(equation, cases)
    (of_all,) = _union(equation, inputs)
    return [Flow(of_cases.on, of_all.signal)]


def _product(multiply: Callable[[jax.Array, jax.Array], jax.Array], a: Any, b: Any) -> Flow:
    terms = []
    if (signal := _signal(a)) is not None:
        terms.append(multiply(signal, _factor(b)))
    if (signal := _signal(b)) is not None:
        terms.append(multiply(_factor(a), signal))
    return Flow(_cut(multiply(_on(a), _on(b))), _cut(sum(terms)) if terms else None)


def _factor(value: Any) -> jax.Array:
    """Where a signal may pass. Weights are parts of a factor, but not what feeds a gate: that is
    on a path only if a signal comes through it."""
    on = _on(value)
    return on if _signal(value) is None else jax.lax.stop_gradient(on)


def _multiply(equation: core.JaxprEqn, inputs: Sequence[Any]) -> list[Flow]:
    return [_product(jnp.multiply, *inputs)]


def _divide(equation: core.JaxprEqn, inputs: Sequence[Any]) -> list[Flow]:
    """A divisor is a factor that is not zero."""
    value, divisor = inputs
    if not isinstance(divisor, Flow):
        return [_product(jnp.multiply, value, jnp.ones(jnp.shape(divisor), jnp.float32))]
    return [_product(jnp.multiply, value, divisor._replace(on=_one(divisor.on)))]


def _contract(equation: core.JaxprEqn, inputs: Sequence[Any]) -> list[Flow]:
    """A matrix product or a convolution."""

    def multiply(a: jax.Array, b: jax.Array) -> jax.Array:
        wide = {"preferred_element_type": jnp.dtype("float32"), "precision": None}
        return _bind(equation, [a, b], **wide)[0]

    return [_product(multiply, *inputs)]


def _linear(*places: int) -> Callable[..., list[Flow]]:
    """Entries are moved; the operands at `places` (none: all) have entries, others are indices."""

    def rule(equation: core.JaxprEqn, inputs: Sequence[Any]) -> list[Flow]:
        moved = places or range(len(inputs))
        if any(isinstance(value, Flow) for at, value in enumerate(inputs) if at not in moved):
            raise _not_understood(
                f"{equation.primitive.name}, at places that depend on the mask or the input,"
            )

        def bind(part: Callable[[Any], jax.Array]) -> list[Any]:
            parts = [part(value) if at in moved else value for at, value in enumerate(inputs)]
            return _bind(equation, parts)

        def signal(value: Any) -> jax.Array:
            found = _signal(value)
            return jnp.zeros_like(_on(value)) if found is None else found

        on = bind(_on)
        if all(_signal(value) is None for value in inputs):
            return [Flow(each, None) for each in on]
        return [Flow(*pair) for pair in zip(on, bind(signal), strict=True)]

    return rule


def _gathering(add: Callable[[jax.Array, dict[str, Any]], jax.Array]) -> Callable[..., list[Flow]]:
    """Sums, and maxima and the like in their place, over some entries of one operand."""

    def rule(equation: core.JaxprEqn, inputs: Sequence[Any]) -> list[Flow]:
        (value,) = inputs
        on = _cut(add(value.on, equation.params))
        if value.signal is None:
            return [Flow(on, None)]
        return [Flow(on, _cut(add(value.signal, equation.params)))]

    return rule


def _add_windows(x: jax.Array, parameters: dict[str, Any]) -> jax.Array:
    names = ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, *(parameters[name] for name in names))


def _call(equation: core.JaxprEqn, inputs: Sequence[Any]) -> list[Any]:
    """What is only a function: jit, remat, a function with derivatives of its own."""
    for name in ("jaxpr", "call_jaxpr"):
        inner = equation.params.get(name)
        if isinstance(inner, core.ClosedJaxpr):
            return follow(inner.jaxpr, inner.consts, inputs)
        if inner is not None:
            return follow(inner, (), inputs)
    raise _not_understood(equation.primitive.name)


def _scan(equation: core.JaxprEqn, inputs: Sequence[Any]) -> list[Any]:
    """A loop, step by step: what is known of its carry changes from step to step."""
    body, length = equation.params["jaxpr"], equation.params["length"]
    # counted by their further axis, as the parameters are named differently across JAX versions
    count = _with_an_axis_more(equation.invars, body.jaxpr.invars)
    stacks = _with_an_axis_more(equation.outvars, body.jaxpr.outvars)
    carries = len(equation.outvars) - stacks
    start = len(inputs) - count - carries
    fixed, carry, sliced = (
        inputs[:start],
        inputs[start : start + carries],
        inputs[start + carries :],
    )
    steps: list[list[Any]] = []
    for step in reversed(range(length)) if equation.params["reverse"] else range(length):
        now = [jax.tree.map(lambda leaf: leaf[step], value) for value in sliced]  # noqa: B023
        outputs = follow(body.jaxpr, body.consts, [*fixed, *carry, *now])
        carry, made = outputs[:carries], outputs[carries:]
        steps.append(made)
    if equation.params["reverse"]:
        steps.reverse()
    return [*carry, *map(_stacked, zip(*steps, strict=True))]


def _with_an_axis_more(outside: Any, inside: Any) -> int:
    return sum(a.aval.ndim > b.aval.ndim for a, b in zip(outside, inside, strict=True))


def _stacked(values: Sequence[Any]) -> Any:
    if not any(isinstance(value, Flow) for value in values):
        return jnp.stack(values)
    on = jnp.stack(list(map(_on, values)))
    signals = list(map(_signal, values))
    if all(signal is None for signal in signals):
        return Flow(on, None)
    zeros = jnp.zeros_like(on[0])
    return Flow(on, jnp.stack([zeros if signal is None else signal for signal in signals]))


def _rule(name: str) -> Callable[..., list[Any]]:
    if name not in RULES:
        raise _not_understood(name)
    return RULES[name]


def _not_understood(what: str) -> InputError:
    return InputError(
        f"connected: which paths lead through the operation {what} is not known; "
        "give a forward without it"
    )


_KINDS: dict[Callable[..., list[Any]], str] = {
    _same: "abs asin asinh atan atanh cbrt ceil convert_element_type copy copy_p device_put erf "
    "expm1 floor log1p name neg optimization_barrier reduce_precision round sharding_constraint "
    "sign sin sinh sqrt square stop_gradient tan tanh",
    _never_zero: "acos acosh cos cosh digamma eq erfc exp exp2 ge gt is_finite le lgamma log "
    "logistic lt ne not rsqrt",
    _union: "add add_any sub and or xor",
    _extreme(jnp.maximum): "max",
    _extreme(jnp.minimum): "min",
    _clamp: "clamp",
    _power: "pow",
    _whole_power: "integer_pow",
    _select: "select_n",
    _multiply: "mul",
    _divide: "div",
    _contract: "conv_general_dilated dot_general",
    _linear(): "concatenate pad stack",
    _linear(0): "broadcast_in_dim dynamic_slice expand_dims gather reshape rev slice split squeeze "
    "transpose",
    _linear(0, 1): "dynamic_update_slice",
    _linear(0, 2): "scatter",
    _gathering(lambda x, given: x.sum(given["axes"])): "argmax argmin reduce_and reduce_max "
    "reduce_min reduce_or reduce_sum",
    _gathering(lambda x, given: jax.lax.cumsum(x, given["axis"], given["reverse"])): "cumlogsumexp "
    "cummax cummin cumsum",
    _gathering(_add_windows): "reduce_window_max reduce_window_min reduce_window_sum",
    _call: "checkpoint closed_call core_call custom_jvp_call custom_vjp_call "
    "custom_vjp_call_jaxpr jit pjit remat remat2",
    _scan: "scan",
}
RULES = {name: rule for rule, names in _KINDS.items() for name in names.split()}
