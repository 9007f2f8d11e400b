"""The three small languages Argo puts into strings: `depends`, `when`, and the expression tag
`{{= … }}`.

One parser, three dialects, each with its words and operators. Conditions of a Sensor are
`depends` without states.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, assert_never

from driftloop.errors import LocalError


class ExpressionError(LocalError):
    """An expression that can't be read, or whose value can't be computed."""


class Dialect(Enum):
    """Set of words and operators."""

    DEPENDS = "depends"
    WHEN = "when"
    TAG = "expression tag"


@dataclass(frozen=True)
class Value:
    """A literal."""

    value: Any


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
class Choice:
    """`condition ? yes : no`."""

    condition: "Expression"
    yes: "Expression"
    no: "Expression"


@dataclass(frozen=True)
class Call:
    """A function call."""

    function: str
    arguments: tuple["Expression", ...]


@dataclass(frozen=True)
class Items:
    """A list."""

    of: tuple["Expression", ...]


Expression = Value | Name | Not | Binary | Choice | Call | Items

_WORD = {
    Dialect.DEPENDS: r"[A-Za-z0-9][-A-Za-z0-9_]*(?:\.[A-Za-z]+)?",
    # govaluate reads `a-b` as a subtraction: such text has to be quoted, here as there
    Dialect.WHEN: r"[A-Za-z_][A-Za-z0-9_]*",
    Dialect.TAG: r"[A-Za-z_][A-Za-z0-9_]*",
}
_NUMBER = r"-?\d+(?:\.\d+)?(?![\w.])"
_STRING = r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\''
_OPERATORS = {
    Dialect.DEPENDS: ("&&", "||", "!", "(", ")"),
    Dialect.WHEN: ("&&", "||", "==", "!=", ">=", "<=", ">", "<", "!", "(", ")"),
    Dialect.TAG: (
        "&&", "||", "==", "!=", ">=", "<=", "??", ">", "<",
        "!", "(", ")", "?", ":", ".", "[", "]", ",",
    ),
}  # fmt: skip
_POWER = {
    "?": 1, "||": 2, "??": 3, "&&": 4, "==": 5, "!=": 5,
    "<": 6, ">": 6, "<=": 6, ">=": 6, "in": 6, "contains": 6,
}  # fmt: skip
_FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {"asInt": int, "asFloat": float, "string": str}


def parse(text: str, dialect: Dialect) -> Expression:
    """Return the expression. ExpressionError names the first token that does not belong."""
    return _Parser(text, dialect).whole()


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
        case Binary(operator="??", left=left, right=right):
            value = evaluate(left, name)
            return evaluate(right, name) if value is None else value
        case Binary(operator="in", left=left, right=right):
            member, items = evaluate(left, name), evaluate(right, name)
            if not isinstance(items, list):
                raise ExpressionError(f"`in {items!r}`: the right side is not a list")
            return any(_compared("==", member, item) for item in items)
        case Binary(operator="contains", left=left, right=right):
            return _text(evaluate(right, name)) in _text(evaluate(left, name))
        case Items(of=items):
            return [evaluate(item, name) for item in items]
        case Binary(operator=operator, left=left, right=right):
            return _compared(operator, evaluate(left, name), evaluate(right, name))
        case Choice(condition=condition, yes=yes, no=no):
            return evaluate(yes if _boolean(evaluate(condition, name)) else no, name)
        case Call(function=function, arguments=arguments):
            values = [evaluate(argument, name) for argument in arguments]
            try:
                return _FUNCTIONS[function](*values)
            except (TypeError, ValueError) as error:
                raise ExpressionError(
                    f"{function}({', '.join(map(repr, values))}): {error}"
                ) from error
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
        case Choice(condition=condition, yes=yes, no=no):
            for part in (condition, yes, no):
                yield from names(part)
        case Call(arguments=arguments):
            for argument in arguments:
                yield from names(argument)
        case Items(of=items):
            for item in items:
                yield from names(item)
        case Value():
            return
        case _:
            assert_never(expression)


def when(text: str) -> bool:
    """Return the truth of a `when` whose tags are filled in.

    Unquoted words are strings, as in Argo. ExpressionError.
    """
    value = evaluate(parse(text, Dialect.WHEN), lambda parts: parts[0])
    # a filled-in expression tag leaves the bare word, and Argo reads it as a boolean
    if not isinstance(value, bool):
        raise ExpressionError(
            f"when `{text}` is {value!r}, must be true or false", hint="quote both sides of =="
        )
    return value


class _Parser:
    def __init__(self, text: str, dialect: Dialect) -> None:
        self._text = text
        self._dialect = dialect
        self._tokens = list(_tokens(text, dialect))
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
        return ExpressionError(f"{self._dialect.value} `{self._text}` {problem}")

    def _expression(self, power: int) -> Expression:
        left = self._operand()
        while (operator := self._operator()) is not None and _POWER[operator] > power:
            self._at += 1
            if operator == "?":
                yes = self._expression(0)
                self._expect(":")
                left = Choice(left, yes, self._expression(0))
            else:
                left = Binary(operator, left, self._expression(_POWER[operator]))
        return left

    def _operator(self) -> str | None:
        """Return the next token if it is an operator."""
        if self._at >= len(self._tokens):
            return None
        kind, symbol = self._tokens[self._at]
        is_word = kind == "word" and self._dialect is Dialect.TAG
        return symbol if symbol in _POWER and (kind == "operator" or is_word) else None

    def _operand(self) -> Expression:
        kind, symbol = self._next()
        if kind == "string":
            return Value(_unquoted(symbol))
        if kind == "number":
            return Value(float(symbol) if "." in symbol else int(symbol))
        if kind == "word":
            return self._word(symbol)
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

    def _word(self, word: str) -> Expression:
        if self._dialect is Dialect.DEPENDS:
            return Name(tuple(word.split(".")))
        if word in ("true", "false"):
            return Value(word == "true")
        if self._dialect is Dialect.WHEN:
            return Name((word,))
        if word == "nil":
            return Value(None)
        if self._peek() == "(":
            return self._call(word)
        parts = [word]
        while self._peek() in (".", "["):
            _, symbol = self._next()
            kind, part = self._next()
            if symbol == "." and kind == "word":
                parts.append(part)
            elif symbol == "[" and kind == "string":
                parts.append(_unquoted(part))
                self._expect("]")
            else:
                self._at -= 1
                raise self._unexpected()
        return Name(tuple(parts))

    def _call(self, function: str) -> Expression:
        if function not in _FUNCTIONS:
            raise ExpressionError(
                f"function `{function}` in `{self._text}` is not understood by the local runtime",
                hint=f"known: {', '.join(_FUNCTIONS)}",
            )
        self._expect("(")
        return Call(function, self._several(")"))

    def _several(self, end: str) -> tuple[Expression, ...]:
        """Read expressions with commas between them, up to the symbol that ends them."""
        items = [] if self._peek() == end else [self._expression(0)]
        while self._peek() == ",":
            self._at += 1
            items.append(self._expression(0))
        self._expect(end)
        return tuple(items)


def _tokens(text: str, dialect: Dialect) -> Iterator[tuple[str, str]]:
    operators = "|".join(re.escape(operator) for operator in _OPERATORS[dialect])
    kinds: Sequence[tuple[str, str]] = (
        (("word", _WORD[dialect]), ("operator", operators))
        if dialect is Dialect.DEPENDS
        else (
            ("string", _STRING),
            ("number", _NUMBER),
            ("word", _WORD[dialect]),
            ("operator", operators),
        )
    )
    pattern = re.compile("|".join(f"(?P<{kind}>{expression})" for kind, expression in kinds))
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        token = pattern.match(text, at)
        if token is None:
            raise ExpressionError(
                f"{dialect.value} `{text}`: `{text[at : at + 20]}` is not understood",
                hint="quote text that is not a plain word" if dialect is Dialect.WHEN else None,
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


def _compared(operator: str, left: Any, right: Any) -> bool:
    if operator == "==":
        same_type = _numbers(left, right) or type(left) is type(right)
        return same_type and bool(left == right)
    if operator == "!=":
        return not _compared("==", left, right)
    if not (_numbers(left, right) or (isinstance(left, str) and isinstance(right, str))):
        raise ExpressionError(
            f"`{left!r} {operator} {right!r}`: only two numbers or two strings have an order"
        )
    match operator:
        case "<":
            return bool(left < right)
        case ">":
            return bool(left > right)
        case "<=":
            return bool(left <= right)
        case _:
            return bool(left >= right)


def _numbers(*values: Any) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
