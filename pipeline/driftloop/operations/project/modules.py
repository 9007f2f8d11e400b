"""Modules of a user's project, parsed and never imported: they may need libraries of their own
image."""

import ast
import collections.abc
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

DEEPEST = 20
"""Names that are followed from one to the next at most."""

Function = ast.FunctionDef | ast.AsyncFunctionDef

_BUILTINS: Mapping[str, Any] = {
    kind.__name__: kind
    for kind in (int, float, str, bool, list, tuple, set, frozenset, dict, object)
}
_GENERICS = ("List", "Tuple", "Set", "FrozenSet", "Dict", "Sequence", "Iterable", "Collection")
_TYPES: Mapping[str, Any] = {
    "pathlib.Path": Path,
    "typing.Any": Any,
    **{f"typing.{name}": getattr(typing, name) for name in _GENERICS},
    **{f"collections.abc.{name}": getattr(collections.abc, name) for name in _GENERICS[5:]},
}


@dataclass(frozen=True)
class UserModule:
    """A parsed module, and the folder that its own imports start from."""

    file: Path
    tree: ast.Module
    context: Path

    @cached_property
    def names(self) -> Mapping[str, ast.stmt | None]:
        """The names at its top; None for those whose kind only running it would tell."""
        return dict(_list_names(self.tree))

    @cached_property
    def imports(self) -> Mapping[str, str]:
        """Imported names, and what each stands for with dots."""
        return dict(_list_imports(self.tree.body))

    @cached_property
    def constants(self) -> Mapping[str, ast.expr]:
        """Names that are assigned once at its top."""
        assigned: dict[str, list[ast.expr]] = {}
        for node in self.tree.body:
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    assigned.setdefault(name, []).append(value)
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    assigned.setdefault(name, []).append(value)
        return {name: values[0] for name, values in assigned.items() if len(values) == 1}

    def find_function(self, name: str) -> "tuple[UserModule, ast.FunctionDef] | None":
        """Return a plain function by the name that it has here, maybe imported from a module
        beside this one; None when it is something else or cannot be told."""
        module, own = self, name
        for _ in range(DEEPEST):
            node = module.names.get(own)
            if isinstance(node, ast.FunctionDef):
                return module, node
            path, _, own = module.imports.get(own, "").rpartition(".")
            file = find_module_file(self.context, path) if path else None
            following = read_module(file, self.context) if file is not None else None
            if following is None:
                return None
            module = following
        return None

    def find_attribute(self, base: str, name: str) -> "tuple[UserModule, ast.FunctionDef] | None":
        """Return the function `base.name` of an imported module beside this one."""
        path = self.imports.get(base)
        file = find_module_file(self.context, path) if path is not None else None
        module = read_module(file, self.context) if file is not None else None
        return module.find_function(name) if module is not None else None


def find_module_file(context: Path, module: str) -> Path | None:
    """Return the file of a module in a folder of code; None when there is none."""
    stem = context.joinpath(*module.split("."))
    candidates = (stem.with_suffix(".py"), stem / "__init__.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def read_module(file: Path, context: Path) -> UserModule | None:
    """Parse a module; None when it is not Python."""
    try:
        return UserModule(file, ast.parse(file.read_bytes(), str(file)), context)
    except (SyntaxError, ValueError):
        return None


@dataclass
class AnnotationReader:
    """The types that annotations of a module stand for; Any where only running it would tell."""

    module: UserModule
    _following: list[str] = field(default_factory=list)

    def read(self, node: ast.expr | None) -> Any:
        """Return the type of an annotation."""
        match node:
            case ast.Constant(value=None):
                return None
            case ast.Constant(value=str(text)):
                return self._read_text(text)
            case ast.Name(id=name):
                return self._read_name(name)
            case ast.Attribute():
                return _TYPES.get(self._name_dotted(node), Any)
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return self._join(self.read(left), self.read(right))
            case ast.Subscript(value=value, slice=inner):
                return self._read_subscript(value, inner)
            case _:
                return Any

    def _read_text(self, text: str) -> Any:
        try:
            return self.read(ast.parse(text, mode="eval").body)
        except SyntaxError:
            return Any

    def _read_name(self, name: str) -> Any:
        if name in self.module.imports:
            return _TYPES.get(self.module.imports[name], Any)
        if name in self.module.constants and name not in self._following:
            self._following.append(name)
            try:
                return self.read(self.module.constants[name])
            finally:
                self._following.pop()
        return Any if name in self.module.names else _BUILTINS.get(name, Any)

    def _read_subscript(self, value: ast.expr, inner: ast.expr) -> Any:
        members = inner.elts if isinstance(inner, ast.Tuple) else [inner]
        match self._name_dotted(value).removeprefix("typing_extensions.").removeprefix("typing."):
            case "Literal":
                texts = [item.value for item in members if isinstance(item, ast.Constant)]
                return typing.Literal[tuple(texts)] if len(texts) == len(members) else Any
            case "Optional":
                return self._join(self.read(inner), None)
            case "Union":
                return self._join(*map(self.read, members))
            case "Annotated":
                return self.read(members[0])
        base = typing.get_origin(kind := self.read(value)) or kind
        if base is Any or not isinstance(base, type):
            return Any
        if base not in (tuple, list, set, frozenset, dict) and len(members) != 1:
            return Any
        kinds = tuple(
            ... if isinstance(item, ast.Constant) and item.value is ... else self.read(item)
            for item in members
        )
        return types.GenericAlias(base, kinds)

    def _join(self, *kinds: Any) -> Any:
        """Return the union of types; Any when one of them is not told."""
        return Any if Any in kinds else typing.Union[tuple(kinds)]  # noqa: UP007 - built at run time

    def _name_dotted(self, node: ast.expr) -> str:
        match node:
            case ast.Name(id=name):
                return self.module.imports.get(name, name)
            case ast.Attribute(value=value, attr=attribute):
                return f"{self._name_dotted(value)}.{attribute}"
            case _:
                return ""


def _list_names(module: ast.Module) -> Iterator[tuple[str, ast.stmt | None]]:
    """Yield the names at the top of a module; None for those whose kind only running it would
    tell."""
    for node in module.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, node
            case ast.Import() | ast.ImportFrom():
                for alias in node.names:
                    yield (alias.asname or alias.name.partition(".")[0]), None
            case ast.Assign() | ast.AnnAssign():
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    for name in ast.walk(target):
                        if isinstance(name, ast.Name):
                            yield name.id, None
            case ast.If() | ast.Try():
                inner = ast.Module(body=[*node.body, *node.orelse], type_ignores=[])
                yield from ((name, None) for name, _ in _list_names(inner))


def _list_imports(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for node in body:
        match node:
            case ast.Import():
                for alias in node.names:
                    yield alias.asname or alias.name, alias.name
            case ast.ImportFrom(module=str(path), level=0):
                for alias in node.names:
                    yield alias.asname or alias.name, f"{path}.{alias.name}"
            case ast.If() | ast.Try():
                yield from _list_imports([*node.body, *node.orelse])
