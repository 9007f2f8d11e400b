"""Validate the model project beside a spec: the folders, files and functions that the spec names.

The user's code is parsed, never imported: it may need libraries of its own image.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from driftloop.errors import LocalError
from driftloop.local.kubelet import dockerfile
from driftloop.plan import Plan, images
from driftloop.release.answers import RELATIVE
from driftloop.spec import Document, Problem
from driftloop.spec.graph import Released, walk_nodes
from driftloop.spec.model import Spec
from driftloop.spec.serve import PythonServer, Serve

Location = tuple[str | int, ...]


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


def check_project(document: Document, folder: Path) -> tuple[Problem, ...]:
    """Return a problem for everything that is missing or does not fit in the folders beside a
    spec."""
    spec = document.pipeline.spec
    contexts = {
        name: folder / image.context
        for name, image in spec.images.items()
        if image.context is not None
    }
    problems = [
        problem
        for name, context in contexts.items()
        for problem in _check_context(document, name, context)
    ]
    broken: set[Path] = set()
    for use in _list_references(spec):
        context = contexts.get(use.image)
        if context is not None and context.is_dir():
            problems += _check_reference(document, use, context, broken)
    return tuple(problems)


def _check_context(document: Document, name: str, context: Path) -> Iterator[Problem]:
    location: Location = ("spec", "images", name, "context")
    field = f"spec.images.{name}.context"

    def build_problem(text: str, hint: str | None) -> Problem:
        return document.source.problem(location, f"{field} is `{context.name}`, {text}", hint=hint)

    if not context.is_dir():
        yield build_problem(
            f"must be a folder beside the spec; {context} does not exist",
            "`driftloop init` writes one",
        )
        return
    for file, why in (
        ("Dockerfile", "the image is built from it"),
        ("requirements.txt", "the image and its stand-in on this machine install it"),
    ):
        if not (context / file).is_file():
            yield build_problem(
                f"must hold {file}; {context / file} does not exist", f"{file}: {why}"
            )
    if (context / "Dockerfile").is_file():
        try:
            dockerfile.read_base_image(context / "Dockerfile")
        except LocalError as error:
            yield build_problem(f"must hold a Dockerfile; {error.message}", error.hint)
    for taken in (context / "driftloop.py", context / "driftloop"):
        if taken.is_file() or (taken / "__init__.py").is_file():
            yield build_problem(
                f"must not hold a module named `driftloop`; {taken} would hide driftloop's own",
                "rename the module",
            )


def _list_references(spec: Spec) -> Iterator[CodeReference]:
    for index, step in enumerate(spec.data.steps):
        if step.run is not None:
            yield _build_reference(
                ("spec", "data", "steps", index, "run"), step.image, step.run, ("data", "out")
            )
    parameters = tuple(spec.train.parameters)
    folders = ("data", "out", *(("checkpoint",) if spec.train.checkpoint else ()))
    yield _build_reference(
        ("spec", "train", "run"), spec.train.image, spec.train.run, folders, parameters
    )
    image = spec.evaluate.image or spec.train.image
    yield _build_reference(("spec", "evaluate", "run"), image, spec.evaluate.run, ("model", "data"))
    if isinstance(spec.serve, PythonServer):
        module, _, name = spec.serve.model.rpartition(".")
        yield CodeReference(
            ("spec", "serve", "model"), spec.serve.image, module or name, name, "class"
        )
    for at, node in walk_nodes(spec.serve.graph) if spec.serve.graph is not None else ():
        if not isinstance(node, Released):
            module, _, name = node.class_.rpartition(".")
            yield CodeReference(
                ("spec", "serve", "graph", *at, "class"), node.image, module or name, name, "class"
            )


def _build_reference(
    location: Location,
    image: str,
    run: str,
    folders: tuple[str, ...],
    arguments: tuple[str, ...] = (),
) -> CodeReference:
    module, _, name = run.partition(":")
    return CodeReference(location, image, module, name, "function", folders, arguments)


def _check_reference(
    document: Document, use: CodeReference, context: Path, broken: set[Path]
) -> Iterator[Problem]:
    field = _format_location(use.location)
    written = f"{use.module}:{use.name}" if use.kind == "function" else use.name

    def build_problem(text: str, hint: str | None = None) -> Problem:
        return document.source.problem(use.location, f"{field} is `{written}`, {text}", hint=hint)

    stem = context.joinpath(*use.module.split("."))
    candidates = (stem.with_suffix(".py"), stem / "__init__.py")
    file = next((candidate for candidate in candidates if candidate.is_file()), None)
    if file is None:
        modules = (
            ", ".join(sorted(f"`{path.stem}`" for path in context.glob("*.py"))) or "no .py file"
        )
        yield build_problem(f"must be in a module of {context}; it has {modules}")
        return
    try:
        module = ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError) as error:
        if file not in broken:
            broken.add(file)
            line = getattr(error, "lineno", None) or 1
            yield Problem(
                str(file), line, getattr(error, "offset", None) or 1, f"not Python: {error.args[0]}"
            )
        return
    defined = dict(_list_names(module))
    node = defined.get(use.name)
    if use.name not in defined:
        same_kind = sorted(
            name for name, statement in defined.items() if _is_kind(statement, use.kind)
        )
        names = ", ".join(f"`{name}`" for name in same_kind) or f"no {use.kind}"
        yield build_problem(f"must be a {use.kind} in {file}; it has {names}")
    elif node is not None and not _is_kind(node, use.kind):
        yield build_problem(f"must be a {use.kind}; {file}:{node.lineno} is not one")
    elif isinstance(node, ast.AsyncFunctionDef):
        yield build_problem(f"must be a plain function; {file}:{node.lineno} is async")
    elif isinstance(node, ast.FunctionDef):
        yield from _check_signature(document, use, node, file)


def _check_signature(
    document: Document, use: CodeReference, node: ast.FunctionDef, file: Path
) -> Iterator[Problem]:
    arguments = node.args
    positional = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    keyword = [argument.arg for argument in arguments.kwonlyargs]
    optional = positional[len(positional) - len(arguments.defaults) :] if arguments.defaults else []
    optional += [
        name
        for name, default in zip(keyword, arguments.kw_defaults, strict=True)
        if default is not None
    ]
    accepted = {*positional, *keyword} - {argument.arg for argument in arguments.posonlyargs}
    passed = {*use.folders, *use.arguments}
    at = f"{file}:{node.lineno}"
    field = _format_location(use.location)
    if arguments.kwarg is None:
        for name in use.arguments:
            if name not in accepted:
                location: Location = (*use.location[:-1], "parameters", name)
                names = (
                    ", ".join(f"`{argument}`" for argument in sorted(accepted - set(use.folders)))
                    or "none"
                )
                message = f"{_format_location(location)} is not an argument of `{use.name}` ({at}); it takes: {names}"
                yield document.source.problem(location, message, key=True)
        for name in use.folders:
            if name not in accepted:
                message = (
                    f"{field} is `{use.module}:{use.name}`, must take the folder `{name}` ({at})"
                )
                yield document.source.problem(use.location, message, hint=f"add it: `{name}: Path`")
    for name in [*positional, *keyword]:
        if name not in passed and name not in optional:
            message = (
                f"{field} is `{use.module}:{use.name}`, its argument `{name}` ({at}) has no value"
            )
            hint = (
                f"give it one under `parameters`: `{name}: …`"
                if use.arguments or "out" in use.folders
                else None
            )
            hint = "write `checkpoint: true` under train" if name == "checkpoint" else hint
            yield document.source.problem(use.location, message, hint=hint)


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
            case ast.Assign():
                for target in node.targets:
                    for name in ast.walk(target):
                        if isinstance(name, ast.Name):
                            yield name.id, None
            case ast.If() | ast.Try():
                inner = ast.Module(body=[*node.body, *node.orelse], type_ignores=[])
                yield from ((name, None) for name, _ in _list_names(inner))


def _is_kind(node: ast.stmt | None, kind: str) -> bool:
    if kind == "class":
        return isinstance(node, ast.ClassDef)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def _format_location(location: Location) -> str:
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _describe_pins(document: Document) -> str:
    missing = images.list_unpinned_images(document.pipeline)
    return (
        f"none for {', '.join(missing)}: `--pin` writes them"
        if missing
        else "every image is named by its digest"
    )


def summarize_spec(document: Document) -> Mapping[str, str]:
    """Return the main settings of a valid spec in a few words."""
    from driftloop.plan import make_plan

    planned = make_plan(document)
    trials = len(planned.trials)
    return {
        "pipeline": f"{planned.names.pipeline} in namespace {planned.names.namespace}",
        "training": f"{trials} trial{'s' if trials != 1 else ''}, {len(planned.evaluate.gates)} gates",
        "serving": f"{_name_model(planned.serve)} by {planned.serve.backend}",
        "monitors": ", ".join(f"{m.name} ({m.detector.detector})" for m in planned.monitors)
        or "none",
        **({"pins": _describe_pins(document)} if document.pipeline.spec.pins else {}),
        "retrain": ", ".join(planned.retrain_on) or "by schedule and by hand",
        "agreement": _describe_agreement(planned),
    }


def _describe_agreement(plan: Plan) -> str:
    """Return what a candidate's agreement with production is measured by, or why it is not."""
    shadow = plan.rollout.shadow
    if shadow.agreement is None:
        return "not judged (`rollout.shadow.agreement: null`)"
    if shadow.agreement != "auto":
        return f"at least {shadow.agreement:.1%}; numbers are alike within {RELATIVE:.0%}"
    shares = f"from the share `{shadow.accuracy}` of both models on recent rows"
    if plan.rehearse is not None:
        return f"{shares}; of numbers, from the residuals of both in the rehearsal"
    return (
        f"{shares}; not judged unless `{plan.evaluate.run}` returns it: without a rehearsal, answers "
        "that are numbers are not compared"
    )


def _name_model(serve: Serve) -> str:
    return serve.model if isinstance(serve, PythonServer) else serve.server
