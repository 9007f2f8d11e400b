"""The signatures of the functions that a spec names, against the arguments they are called with
and the values in the spec."""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from driftloop.contract.documents import show_value
from driftloop.contract.parameters import SEED, ParameterError, convert_parameter
from driftloop.operations.project.modules import AnnotationReader, UserModule
from driftloop.plan.trials import plan_trials
from driftloop.spec import Document, Problem
from driftloop.spec.train import Train

Location = tuple[str | int, ...]
ParameterValue = tuple[Location, object, str | None]
"""Place of a value in a spec, the value, and a hint."""


@dataclass(frozen=True)
class CodeReference:
    """A function or class that a spec names, and the arguments it is called with."""

    location: Location
    image: str
    module: str
    name: str
    kind: str
    """function | class"""
    folders: tuple[str, ...] = ()
    """Arguments that are folders."""
    arguments: tuple[str, ...] = ()
    """Arguments from the spec's parameters."""
    rows: tuple[str, ...] = ()
    """Arguments that are rows."""
    optional: tuple[str, ...] = ()
    """Arguments from the spec's parameters that it gets if it names them."""

    @property
    def text(self) -> str:
        """The reference as the spec has it."""
        return f"{self.module}:{self.name}" if self.kind == "function" else self.name


def check_signature(
    document: Document, use: CodeReference, node: ast.FunctionDef, file: Path
) -> Iterator[Problem]:
    """Yield a problem for each argument that a function does not take, or that has no value."""
    accepted, required = _read_arguments(node.args)
    at = f"{file}:{node.lineno}"
    field = format_location(use.location)
    given = (*use.folders, *use.rows)
    if node.args.kwarg is None:
        for name in use.arguments:
            if name not in accepted:
                location: Location = (*use.location[:-1], "parameters", name)
                names = (
                    ", ".join(f"`{argument}`" for argument in sorted(accepted.difference(given)))
                    or "none"
                )
                message = f"{format_location(location)} is not an argument of `{use.name}` ({at}); it takes: {names}"
                yield document.source.problem(location, message, key=True)
        for name in use.folders:
            if name not in accepted:
                message = f"{field} is `{use.text}`, must take the folder `{name}` ({at})"
                yield document.source.problem(use.location, message, hint=f"add it: `{name}: Path`")
        for name in use.rows:
            if name not in accepted:
                message = f"{field} is `{use.text}`, must take the rows `{name}` ({at})"
                yield document.source.problem(use.location, message, hint=f"add it: `{name}`")
    for name in required:
        if name not in (*given, *use.arguments, *use.optional, SEED):
            message = f"{field} is `{use.text}`, its argument `{name}` ({at}) has no value"
            hint = (
                f"give it one under `parameters`: `{name}: …`"
                if use.arguments or use.rows or "out" in use.folders
                else None
            )
            hint = "write `checkpoint: true` under train" if name == "checkpoint" else hint
            yield document.source.problem(use.location, message, hint=hint)


def check_parameter_types(
    document: Document, module: UserModule, node: ast.FunctionDef, values: Iterable[ParameterValue]
) -> Iterator[Problem]:
    """Yield a problem for each value of a function's parameters that is not of the type its signature
    names."""
    listed = [*node.args.args, *node.args.kwonlyargs]
    annotations = {argument.arg: argument.annotation for argument in listed if argument.annotation}
    for location, value, hint in values:
        name = next(str(step) for step in reversed(location) if isinstance(step, str))
        annotation = annotations.get(name)
        if annotation is None:
            continue
        label = format_location(location)
        try:
            convert_parameter(value, AnnotationReader(module).read(annotation), label)
        except ParameterError as error:
            yield document.source.problem(
                location,
                f"{label} is {show_value(value)}, must be {error.allowed}: "
                f"`{name}: {ast.unparse(annotation)}` ({module.file}:{annotation.lineno})",
                hint=hint,
            )


def format_location(location: Location) -> str:
    """Return a place in a spec as messages name it."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _read_arguments(arguments: ast.arguments) -> tuple[set[str], list[str]]:
    """Return the names that can be given as keyword arguments, and those without a default."""
    positional = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    keyword = [argument.arg for argument in arguments.kwonlyargs]
    optional = positional[len(positional) - len(arguments.defaults) :] if arguments.defaults else []
    optional += [
        name
        for name, default in zip(keyword, arguments.kw_defaults, strict=True)
        if default is not None
    ]
    accepted = {*positional, *keyword} - {argument.arg for argument in arguments.posonlyargs}
    return accepted, [name for name in (*positional, *keyword) if name not in optional]


def list_trained_values(train: Train) -> Iterator[ParameterValue]:
    """Yield the values that trials get, searched ones too."""
    search = train.search
    over = search.over if search is not None else {}
    between = search.random.between if search is not None and search.random is not None else {}
    for name, value in train.parameters.items():
        if name not in over and name not in between:
            yield ("spec", "train", "parameters", name), value, None
    for name, values in over.items():
        for index, value in enumerate(values):
            yield ("spec", "train", "search", "over", name, index), value, None
    for name in between:
        drawn = [trial.parameters[name] for trial in plan_trials(train)]
        fraction = next((v for v in drawn if isinstance(v, float) and not v.is_integer()), None)
        hint = None if fraction is None else "for whole numbers write `whole: true`"
        yield (
            ("spec", "train", "search", "random", "between", name),
            drawn[0] if fraction is None else fraction,
            hint,
        )
