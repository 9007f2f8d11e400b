"""The language of Argo's `when`, `retryStrategy.expression` and `labelsFrom`: strings, dotted names,
lists, and the operators `&&`, `||`, `!`, `==`, `!=`, `in`, `contains`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, assert_never

from driftloop.errors import LocalError


class ExpressionError(LocalError):
    """An expression that can't be read, or whose value can't be computed."""


@dataclass(frozen=True)
class Value:
    """A string."""

    value: str


@dataclass(frozen=True)
class Name:
    """A dotted name, taken apart."""

    parts: tuple[str, ...]


@dataclass(frozen=True)
class Not:
    """Negation."""

    of: "Expression"


@dataclass(frozen=True)
class Binary:
    """An operator between two expressions."""

    operator: str
    left: "Expression"
    right: "Expression"


@dataclass(frozen=True)
class Items:
    """A list."""

    of: tuple["Expression", ...]


Expression = Value | Name | Not | Binary | Items

_POWER = {"||": 1, "&&": 2, "==": 3, "!=": 3, "in": 4, "contains": 4}
_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|(?P<word>[A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)*)"""
    r"""|(?P<operator>&&|\|\||==|!=|!|\(|\)|\[|\]|,)"""
)


def parse(text: str) -> Expression:
    """Return the expression. ExpressionError names the first token that does not belong."""
    return _Parser(text).whole()


def evaluate(expression: Expression, name: Callable[[tuple[str, ...]], Any]) -> Any:
    """Return the value of an expression.

    `name` gives the value of a dotted name, and raises ExpressionError for an unknown one.
    """
    match expression:
        case Value(value=value):
            return value
        case Name(parts=parts):
            return name(parts)
        case Not(of=of):
            return not _boolean(evaluate(of, name))
        case Binary(operator="&&", left=left, right=right):
            return _boolean(evaluate(left, name)) and _boolean(evaluate(right, name))
        case Binary(operator="||", left=left, right=right):
            return _boolean(evaluate(left, name)) or _boolean(evaluate(right, name))
        case Binary(operator="in", left=left, right=right):
            member, items = evaluate(left, name), evaluate(right, name)
            if not isinstance(items, list):
                raise ExpressionError(f"`in {items!r}`: the right side is not a list")
            return member in items
        case Binary(operator="contains", left=left, right=right):
            return _text(evaluate(right, name)) in _text(evaluate(left, name))
        case Binary(operator=operator, left=left, right=right):
            return (evaluate(left, name) == evaluate(right, name)) == (operator == "==")
        case Items(of=items):
            return [evaluate(item, name) for item in items]
        case _:
            assert_never(expression)


def names(expression: Expression) -> Iterator[tuple[str, ...]]:
    """Yield every name in an expression."""
    match expression:
        case Name(parts=parts):
            yield parts
        case Not(of=of):
            yield from names(of)
        case Binary(left=left, right=right):
            yield from names(left)
            yield from names(right)
        case Items(of=items):
            for item in items:
                yield from names(item)
        case Value():
            return
        case _:
            assert_never(expression)


def parse_when(text: str) -> Expression:
    """Return a `when` as it is written: tags stand in quoted strings. ExpressionError."""
    expression = parse(text)
    for parts in names(expression):
        raise ExpressionError(
            f"when `{text}`: `{'.'.join(parts)}` is not supported by the local runtime",
            hint="quote both sides of ==",
        )
    return expression


def when(text: str) -> bool:
    """Return the truth of a `when` whose tags are filled in. ExpressionError."""
    value = evaluate(parse_when(text), lambda parts: parts)
    if not isinstance(value, bool):
        raise ExpressionError(
            f"when `{text}` is {value!r}, must be true or false", hint="compare two strings"
        )
    return value


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._at = 0

    def whole(self) -> Expression:
        expression = self._expression(0)
        if self._peek() is not None:
            raise self._unexpected()
        return expression

    def _peek(self) -> str | None:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else None

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise self._unexpected()
        self._at += 1
        return self._tokens[self._at - 1]

    def _expect(self, symbol: str) -> None:
        if self._peek() != symbol:
            raise self._unexpected()
        self._at += 1

    def _unexpected(self) -> ExpressionError:
        token = self._peek()
        problem = "ends too early" if token is None else f"does not go on with `{token}`"
        return ExpressionError(f"expression `{self._text}` {problem}")

    def _expression(self, power: int) -> Expression:
        left = self._operand()
        while (operator := self._operator()) is not None and _POWER[operator] > power:
            self._at += 1
            left = Binary(operator, left, self._expression(_POWER[operator]))
        return left

    def _operator(self) -> str | None:
        """Return the next token if it is an operator."""
        if self._at >= len(self._tokens):
            return None
        kind, symbol = self._tokens[self._at]
        return symbol if symbol in _POWER and kind != "string" else None

    def _operand(self) -> Expression:
        kind, symbol = self._next()
        if kind == "string":
            return Value(_unquoted(symbol))
        if kind == "word":
            return Name(tuple(symbol.split(".")))
        if symbol == "!":
            return Not(self._expression(9))
        if symbol == "(":
            inner = self._expression(0)
            self._expect(")")
            return inner
        if symbol == "[":
            return Items(self._several("]"))
        self._at -= 1
        raise self._unexpected()

    def _several(self, end: str) -> tuple[Expression, ...]:
        """Read expressions with commas between them, up to the symbol that ends them."""
        items = [] if self._peek() == end else [self._expression(0)]
        while self._peek() == ",":
            self._at += 1
            items.append(self._expression(0))
        self._expect(end)
        return tuple(items)


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        token = _TOKEN.match(text, at)
        if token is None:
            raise ExpressionError(
                f"expression `{text}`: `{text[at : at + 20]}` is not supported by the local runtime",
                hint=f"supported: quoted strings, names, lists, ( ), !, {', '.join(_POWER)}",
            )
        yield str(token.lastgroup), token.group()
        at = token.end()


def _unquoted(symbol: str) -> str:
    return re.sub(r"\\(.)", r"\1", symbol[1:-1])


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ExpressionError(f"`{value}` is not true or false")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ExpressionError(f"`{value!r}` is not a string")
    return value
