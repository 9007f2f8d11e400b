"""The metrics that a user's function returns, read from its code and never by running it.

Names that it certainly or perhaps returns are told apart from what only running it would tell: a
metric counts as not returned only when everything that is returned could be read.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce

from driftloop.operations.project.modules import DEEPEST, UserModule

Place = tuple[UserModule, ast.FunctionDef]

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_READING_METHODS = ("items", "keys", "values", "get", "pop", "copy", "clear")
_READING_CALLS = (
    *("print", "len", "str", "repr", "sorted", "list", "tuple", "dict", "set", "sum", "max", "min"),
    *("any", "all", "isinstance", "iter", "enumerate", "zip", "dumps", "dump", "safe_dump"),
    *("log", "log_metrics", "log_dict", "info", "debug", "warning", "format", "write"),
)
"""Functions and methods, by their last name, that only read a dict that they are given."""


@dataclass(frozen=True)
class ReturnedMetrics:
    """The names of metrics that a function returns."""

    names: frozenset[str] = frozenset()
    unknown: str | None = None
    """Place and reason why there may be others; None when these are all."""

    def join(self, other: "ReturnedMetrics") -> "ReturnedMetrics":
        """Return the names of both."""
        return ReturnedMetrics(self.names | other.names, self.unknown or other.unknown)


NOTHING = ReturnedMetrics()


def join_all(parts: Iterable[ReturnedMetrics]) -> ReturnedMetrics:
    """Return the names of all parts."""
    return reduce(ReturnedMetrics.join, parts, NOTHING)


def read_returned_metrics(module: UserModule, function: ast.FunctionDef) -> ReturnedMetrics:
    """Return the metrics of a function, those of functions that it calls beside it too."""
    return _FunctionReader((module, function)).read_returns()


@dataclass
class _FunctionReader:
    """The dicts of one function; `callers` are the functions that lead to it."""

    place: Place
    callers: tuple[ast.FunctionDef, ...] = ()
    _followed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.module, self.function = self.place
        self.nodes = tuple(_walk_scope(self.function))
        self.parents: Mapping[ast.AST, ast.AST] = {
            child: parent for parent in self.nodes for child in ast.iter_child_nodes(parent)
        }

    def read_returns(self) -> ReturnedMetrics:
        """Return what the function returns."""
        values = [node.value for node in self.nodes if isinstance(node, ast.Return) and node.value]
        return join_all(map(self.read_value, values))

    def read_value(self, value: ast.expr) -> ReturnedMetrics:
        """Return the keys of what an expression makes."""
        match value:
            case ast.Dict():
                return join_all(map(self._read_item, value.keys, value.values))
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return self.read_value(left).join(self.read_value(right))
            case ast.BoolOp(values=values):
                return join_all(map(self.read_value, values))
            case ast.IfExp(body=body, orelse=other):
                return self.read_value(body).join(self.read_value(other))
            case ast.NamedExpr(value=inner):
                return self.read_value(inner)
            case ast.Name(id=name):
                return self._read_variable(name, value)
            case ast.Call():
                return self._read_call(value)
            case ast.DictComp(key=ast.Name(id=key), generators=[generator]):
                return self._read_loop(key, generator.target, generator.iter, value)
            case ast.Constant() | ast.Tuple() | ast.List() | ast.ListComp():
                return NOTHING
            case _:
                return self._give_up(value)

    def _give_up(self, node: ast.expr) -> ReturnedMetrics:
        text = ast.unparse(node)
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        return ReturnedMetrics(unknown=f"`{shown}` ({self.module.file}:{node.lineno})")

    def _read_item(self, key: ast.expr | None, value: ast.expr) -> ReturnedMetrics:
        return self.read_value(value) if key is None else self._read_key(key)

    def _read_key(self, key: ast.expr) -> ReturnedMetrics:
        """Return the key of one item: a constant, or a name that stands for constants."""
        match key:
            case ast.Constant(value=text):
                return ReturnedMetrics(frozenset({str(text)}))
            case ast.Name(id=name):
                for node in self.nodes:
                    if isinstance(node, ast.For) and _binds(node.target, name):
                        return self._read_loop(name, node.target, node.iter, key)
                constant = self.module.constants.get(name)
                if isinstance(constant, ast.Constant) and not self._is_bound(name):
                    return self._read_key(constant)
        return self._give_up(key)

    def _read_loop(
        self, key: str, target: ast.expr, items: ast.expr, node: ast.expr
    ) -> ReturnedMetrics:
        """Return the values that a name takes in a loop over constants."""
        if isinstance(items, ast.Name) and not self._is_bound(items.id):
            items = self.module.constants.get(items.id, items)
        if (
            isinstance(target, ast.Name)
            and target.id == key
            and isinstance(items, ast.Tuple | ast.List | ast.Set)
        ):
            texts = [item.value for item in items.elts if isinstance(item, ast.Constant)]
            if len(texts) == len(items.elts):
                return ReturnedMetrics(frozenset(map(str, texts)))
        return self._give_up(node)

    def _read_call(self, call: ast.Call) -> ReturnedMetrics:
        match call.func:
            case ast.Name(id="dict") if "dict" not in self.module.names:
                return self._read_arguments(call)
            case ast.Attribute(value=value, attr="copy") if not call.args:
                return self.read_value(value)
        callee = self._find_callee(call.func)
        if callee is None:
            return self._give_up(call)
        return _FunctionReader(callee, (*self.callers, self.function)).read_returns()

    def _read_arguments(self, call: ast.Call) -> ReturnedMetrics:
        """Return the keys that `dict(…)` or `update(…)` takes."""
        joined = join_all(map(self.read_value, call.args))
        for keyword in call.keywords:
            joined = joined.join(
                self.read_value(keyword.value)
                if keyword.arg is None
                else ReturnedMetrics(frozenset({keyword.arg}))
            )
        return joined

    def _find_callee(self, target: ast.expr) -> Place | None:
        """Return the function that is called, when it is a plain one of the user's."""
        match target:
            case ast.Name(id=name) if not self._is_bound(name):
                callee = self.module.find_function(name)
            case ast.Attribute(value=ast.Name(id=base), attr=name) if not self._is_bound(base):
                callee = self.module.find_attribute(base, name)
            case _:
                return None
        if callee is None or callee[1].decorator_list or _yields(callee[1]):
            return None
        inside = (*self.callers, self.function)
        return None if callee[1] in inside or len(inside) > DEEPEST else callee

    def _is_bound(self, name: str) -> bool:
        """Return True for a parameter or a local variable."""
        return name in _list_parameters(self.function) or any(
            isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store)
            for node in self.nodes
        )

    def _read_variable(self, name: str, node: ast.expr) -> ReturnedMetrics:
        """Return the keys that a local variable may have: those it is made with, and those that
        are set later."""
        if name in self._followed:
            return NOTHING
        if name in _list_parameters(self.function) or not self._is_bound(name):
            return self._give_up(node)
        self._followed.add(name)
        return self.read_uses(name)

    def read_uses(self, name: str) -> ReturnedMetrics:
        """Return the keys that a variable gets in the function."""
        uses = [node for node in self.nodes if isinstance(node, ast.Name) and node.id == name]
        hidden = [
            node
            for scope in self.nodes
            if isinstance(scope, _SCOPES) and scope is not self.function
            for node in ast.walk(scope)
            if isinstance(node, ast.Name) and node.id == name
        ]
        parts = [self._read_use(use) for use in uses]
        parts += [self._give_up(node) for node in hidden[:1]]
        return join_all(parts)

    def _read_use(self, use: ast.Name) -> ReturnedMetrics:
        parent = self.parents.get(use)
        if isinstance(use.ctx, ast.Store):
            return self._read_binding(use, parent)
        match parent:
            case ast.Subscript(value=base, slice=key, ctx=ast.Store()) if base is use:
                return self._read_key(key)
            case ast.Attribute(attr="update") if self._is_called(parent):
                call = self.parents[parent]
                return self._read_arguments(call) if isinstance(call, ast.Call) else NOTHING
            case ast.Attribute(attr="setdefault") if self._is_called(parent):
                call = self.parents[parent]
                first = call.args[:1] if isinstance(call, ast.Call) else []
                return self._read_key(first[0]) if first else NOTHING
            case ast.Attribute(attr=method) if method in _READING_METHODS:
                return NOTHING
            case (
                ast.Assign(targets=[ast.Name(id=other)]) | ast.AnnAssign(target=ast.Name(id=other))
            ):
                return self._read_variable(other, use)
            case ast.Call() if use in parent.args:
                position = parent.args.index(use)
                starred = any(isinstance(a, ast.Starred) for a in parent.args[:position])
                return self._read_handed(use, parent, None if starred else position)
            case ast.keyword(arg=name):
                call = self.parents[parent]
                if name is None or not isinstance(call, ast.Call):
                    return NOTHING
                return self._read_handed(use, call, name)
            case (
                ast.Subscript()
                | ast.Return()
                | ast.Dict()
                | ast.BinOp()
                | ast.FormattedValue()
                | ast.Compare()
                | ast.BoolOp()
                | ast.UnaryOp()
                | ast.If()
                | ast.IfExp()
                | ast.While()
                | ast.For()
                | ast.comprehension()
                | ast.Delete()
                | ast.Assert()
                | ast.AugAssign()
                | ast.Starred()
            ):
                return self._give_up(use) if _keeps(parent, use) else NOTHING
            case _:
                return self._give_up(use)

    def _read_binding(self, use: ast.Name, parent: ast.AST | None) -> ReturnedMetrics:
        match parent:
            case ast.Assign(value=value):
                return self.read_value(value)
            case ast.AnnAssign(value=value):
                return self.read_value(value) if value is not None else NOTHING
            case ast.AugAssign(op=ast.BitOr(), value=value) | ast.NamedExpr(value=value):
                return self.read_value(value)
            case _:
                return self._give_up(use)

    def _is_called(self, attribute: ast.AST) -> bool:
        call = self.parents.get(attribute)
        return isinstance(call, ast.Call) and call.func is attribute

    def _read_handed(
        self, use: ast.Name, call: ast.Call, argument: str | int | None
    ) -> ReturnedMetrics:
        """Return the keys that a called function may set in a dict that it is given as one of
        its arguments: by name, by position, or at one that is not told."""
        target = call.func
        last = target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")
        callee = self._find_callee(target)
        if callee is None:
            return NOTHING if last in _READING_CALLS else self._give_up(call)
        parameters = callee[1].args
        names = [parameter.arg for parameter in (*parameters.posonlyargs, *parameters.args)]
        if isinstance(argument, int):
            argument = names[argument] if argument < len(names) else None
        if argument not in (*names, *(parameter.arg for parameter in parameters.kwonlyargs)):
            return self._give_up(use)
        reader = _FunctionReader(callee, (*self.callers, self.function))
        return reader.read_uses(argument) if argument is not None else self._give_up(use)


def _keeps(parent: ast.AST, use: ast.Name) -> bool:
    """Return True where a dict becomes a member of another object, which may be changed later."""
    match parent:
        case ast.Dict(keys=keys, values=values):
            return any(
                value is use and key is not None for key, value in zip(keys, values, strict=True)
            )
        case _:
            return False


def _binds(target: ast.expr, name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(target))


def _list_parameters(function: ast.FunctionDef) -> Iterator[str]:
    arguments = function.args
    listed = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    listed += [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
    return iter([argument.arg for argument in listed])


def _yields(function: ast.FunctionDef) -> bool:
    return any(isinstance(node, ast.Yield | ast.YieldFrom) for node in _walk_scope(function))


def _walk_scope(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """Yield the nodes of a function, without those inside of functions and classes in it."""
    waiting: list[ast.AST] = [function]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _SCOPES) or node is function:
            waiting.extend(ast.iter_child_nodes(node))
