"""A function without the upper bounds of its activations, such as the 6 of ReLU6."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.extend.core.primitives import scan_p

from jaxmask.errors import InputError

# what is only a function, under the names of several JAX versions
_CALLS = ("jit", "pjit", "custom_jvp_call", "custom_vjp_call", "checkpoint", "remat", "remat2",
          "closed_call", "core_call")  # fmt: skip


def unbounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, where `min(x, c)` is x for a constant c above 0: `f(e x) / e` for e towards 0.

    A constant is what does not depend on the arguments. A bound of 0 or less stays, and so does a
    function without any.

    Args:
      function: takes and returns pytrees of arrays.

    Raises:
      InputError: a bound is inside an operation that cannot be followed, such as a `while_loop`.
    """

    def follow(*arguments: Any) -> Any:
        traced, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
        if not _has_bounds(traced.jaxpr):
            return function(*arguments)
        leaves = [(leaf, True) for leaf in jax.tree.leaves(arguments)]
        outputs = _evaluate(traced.jaxpr, traced.consts, leaves)
        return jax.tree.unflatten(jax.tree.structure(shapes), [value for value, _ in outputs])

    return follow


Value = tuple[Any, bool]  # with whether it depends on the arguments


def _has_bounds(jaxpr: core.Jaxpr) -> bool:
    return any(
        equation.primitive.name in ("min", "clamp") or any(map(_has_bounds, _inner(equation)))
        for equation in jaxpr.eqns
    )


def _inner(equation: core.JaxprEqn) -> Iterator[core.Jaxpr]:
    """The functions that are in an operation."""
    for leaf in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_jaxpr):
        if isinstance(leaf, core.ClosedJaxpr):
            yield leaf.jaxpr
        elif isinstance(leaf, core.Jaxpr):
            yield leaf


def _is_jaxpr(value: Any) -> bool:
    return isinstance(value, core.Jaxpr | core.ClosedJaxpr)


def _evaluate(
    jaxpr: core.Jaxpr, constants: Sequence[Any], arguments: Sequence[Value]
) -> list[Value]:
    fixed = [(value, False) for value in constants]
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*fixed, *arguments], strict=True))

    def read(variable: Any) -> Value:
        if isinstance(variable, core.Literal):
            return variable.val, False
        return values[variable]

    for equation in jaxpr.eqns:
        inputs = [read(variable) for variable in equation.invars]
        with equation.ctx.manager:
            outputs = _operation(equation, inputs)
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _operation(equation: core.JaxprEqn, inputs: list[Value]) -> list[Value]:
    name, values = equation.primitive.name, [value for value, _ in inputs]
    depends = [each for _, each in inputs]
    inner = [each for each in _inner(equation) if _has_bounds(each)]
    number = [jnp.issubdtype(jnp.result_type(value), jnp.floating) for value in values]
    if name == "min" and sum(depends) == 1 and all(number):
        bound, x = sorted(inputs, key=lambda each: each[1])
        return [(_lifted(x[0], bound[0], jnp.minimum(*values)), True)]
    if name == "clamp" and depends[1] and not depends[2] and all(number):
        low, x, high = values
        return [(_lifted(jnp.maximum(low, x), high, jax.lax.clamp(low, x, high)), True)]
    if name in _CALLS and inner:
        called = next(value for value in equation.params.values() if _is_jaxpr(value))
        return _evaluate(getattr(called, "jaxpr", called), getattr(called, "consts", ()), inputs)
    if equation.primitive is scan_p and inner:
        return [(value, True) for value in _scan(equation, inputs)]
    if inner:
        raise InputError(
            f"the upper bound of an activation is inside {name}, where it cannot be left out; give "
            "a forward without it"
        )
    parameters = equation.primitive.get_bind_params(equation.params)
    outputs = equation.primitive.bind(*values, **parameters)
    outputs = outputs if equation.primitive.multiple_results else [outputs]
    return [(value, any(depends)) for value in outputs]


def _lifted(x: jax.Array, bound: Any, bounded: jax.Array) -> jax.Array:
    return jnp.where(jnp.asarray(bound) > 0, x, bounded)


def _scan(equation: core.JaxprEqn, inputs: list[Value]) -> list[Any]:
    """The same loop over another body; all that it carries counts as dependent."""
    given, body = equation.params, equation.params["jaxpr"]
    # counted by their further axis, as the parameters are named differently across JAX versions
    stacks = _with_an_axis_more(equation.outvars, body.jaxpr.outvars)
    carries = len(equation.outvars) - stacks
    start = len(inputs) - carries - _with_an_axis_more(equation.invars, body.jaxpr.invars)
    values = [value for value, _ in inputs]

    def step(carry: list[Any], slices: list[Any]) -> tuple[list[Any], list[Any]]:
        moving = [(value, True) for value in (*carry, *slices)]
        outputs = [
            value for value, _ in _evaluate(body.jaxpr, body.consts, [*inputs[:start], *moving])
        ]
        return outputs[:carries], outputs[carries:]

    carry, stacked = jax.lax.scan(
        step, values[start : start + carries], values[start + carries :], given["length"],
        reverse=given["reverse"],
    )  # fmt: skip
    return [*carry, *stacked]


def _with_an_axis_more(outside: Any, inside: Any) -> int:
    return sum(a.aval.ndim > b.aval.ndim for a, b in zip(outside, inside, strict=True))
