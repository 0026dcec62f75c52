"""Functions by name and arguments, as in configs: "sgd(momentum=0.9, nesterov=True)"."""

import ast
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxmask.errors import InputError, nearest

DEEPEST = 20  # nesting of a literal
LARGEST = 2**64  # whole number in one


# what Python raises for text that is no literal, or too deep for it
_UNREADABLE = (SyntaxError, ValueError, TypeError, MemoryError, RecursionError)


def literal(text: str) -> Any:
    """The value of a Python literal of numbers, strings, truth values, None, tuples and lists.

    Raises:
      ValueError: it is none (or InputError: it is too deep, or a number is too large).
    """
    try:
        value = ast.literal_eval(text)
    except _UNREADABLE:
        raise ValueError(text) from None
    if not _is_plain(_checked(value)):
        raise ValueError(text)
    return value


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


class Call(NamedTuple):
    """A function of a table, with the arguments from the text."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]

    def __call__(self, **more: Any) -> Any:
        """Calls the function, with further keyword arguments."""
        return self.function(*self.arguments, **self.keywords, **more)


def calls(text: str, table: Mapping[str, Callable[..., Any]], what: str) -> list[Call]:
    """Reads "f(1.0), g(x=2)" as calls of the functions in `table`, without calling them.

    Arguments are Python literals or calls of functions in the same table; a bare name is a call
    without arguments. `what` is the kind of function ("optimizer"), for error messages.

    Raises:
      InputError: the text cannot be read, a function is not in the table, or does not take the
        arguments.
    """
    try:
        body = ast.parse(text.strip() or "()", mode="eval").body
        nodes = body.elts if isinstance(body, ast.Tuple) else [body]
        found = [_call(node, text, table, what) for node in nodes]
    except InputError:
        raise
    except _UNREADABLE:
        raise InputError(f"{what} {text!r} cannot be read; write name(argument=value)") from None
    if not found:
        raise InputError(f"{what} is empty; known: {', '.join(sorted(table))}")
    return found


def call(text: str, table: Mapping[str, Callable[..., Any]], what: str) -> Any:
    """The value of the one call that `text` describes; see `calls`."""
    found = calls(text, table, what)
    if len(found) != 1:
        raise InputError(f"{what} {text!r} must name one function; it names {len(found)}")
    return _evaluated(found[0], what)


def _call(node: ast.expr, text: str, table: Mapping[str, Callable[..., Any]], what: str) -> Call:
    if isinstance(node, ast.Name):
        node = ast.Call(func=node, args=[], keywords=[])
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
        raise InputError(f"{what} {text!r} cannot be read; write name(argument=value)")
    name = node.func.id
    if name not in table:
        raise InputError(f"unknown {what} {name!r}{nearest(name, table)}")
    arguments = tuple(_value(each, text, table, what) for each in node.args)
    keywords: dict[str, Any] = {}
    for each in node.keywords:
        if each.arg is None:
            raise InputError(f"{what} {text!r} cannot be read; '**' is not allowed")
        keywords[each.arg] = _value(each.value, text, table, what)
    try:
        # The learning rate may be missing: it has its own field.
        inspect.signature(table[name]).bind_partial(*arguments, **keywords)
    except TypeError as error:
        accepted = list(inspect.signature(table[name]).parameters)
        raise InputError(
            f"{what} {name!r}: {error}; its arguments are {', '.join(accepted) or 'none'}"
        ) from None
    return Call(name, table[name], arguments, keywords)


def _value(node: ast.expr, text: str, table: Mapping[str, Callable[..., Any]], what: str) -> Any:
    try:
        return _checked(ast.literal_eval(node))
    except InputError:
        raise
    except (ValueError, TypeError):
        return _evaluated(_call(node, text, table, what), what)


def _evaluated(each: Call, what: str) -> Any:
    try:
        return each()
    except InputError:
        raise
    except Exception as error:  # its arguments are the user's
        raise InputError(f"{what} {each.name!r}: {first_line(error)}") from None


def first_line(error: BaseException) -> str:
    """Of an error's message, or else the name of its type."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _checked(value: Any, depth: int = 0) -> Any:
    """The value of a literal, if it can be shown, hashed and compared without surprises."""
    if depth > DEEPEST:
        raise InputError(f"a value has more than {DEEPEST} brackets within each other; give fewer")
    if isinstance(value, int) and abs(value) >= LARGEST:
        raise InputError("a value has a whole number of more than 64 bits; give a smaller one")
    inner = (*value, *value.values()) if isinstance(value, dict) else value
    if isinstance(inner, tuple | list | set):
        for each in inner:
            _checked(each, depth + 1)
    return value
