"""Validate the model project beside a spec: the folders, files and functions that the spec names.

The user's code is parsed, never imported: it may need libraries of its own image.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from driftloop.contract.functions import VERDICT_KEYS, is_verdict
from driftloop.contract.suggestions import suggest_closest
from driftloop.errors import LocalError
from driftloop.local.kubelet import dockerfile
from driftloop.operations.ground import files
from driftloop.operations.project import modules
from driftloop.operations.project.commands import list_command_notes
from driftloop.operations.project.locks import list_lock_notes
from driftloop.operations.project.metrics import read_returned_metrics
from driftloop.operations.project.modules import UserModule
from driftloop.operations.project.signatures import (
    CodeReference,
    Location,
    check_parameter_types,
    check_signature,
    format_location,
    list_trained_values,
)
from driftloop.plan import Monitor, Plan, images, make_plan
from driftloop.release.answers import RELATIVE
from driftloop.spec import Document, InvalidSpec, Problem, parse_spec
from driftloop.spec.detector import AlibiDetect, UserFunction
from driftloop.spec.graph import Released, walk_nodes
from driftloop.spec.model import Spec
from driftloop.spec.serve import PythonServer, Serve
from driftloop.text.words import count_noun

TRAIN: Location = ("spec", "train", "run")
EVALUATE: Location = ("spec", "evaluate", "run")


@dataclass(frozen=True)
class ProjectReport:
    """The problems of a model project, and notes on what only running its code would tell."""

    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ValidProject:
    """A spec without problems, nor any in the project beside it."""

    document: Document
    notes: tuple[str, ...]
    """What only running its code would tell."""


def validate_project(spec: Path, text: str | None = None) -> ValidProject:
    """Read a spec and check the project beside it; SpecError lists all problems.

    `text` is the spec's text, where it is not yet that of the file.
    """
    text = files.read_spec_text(spec) if text is None else text
    document = parse_spec(text, path=str(spec))
    make_plan(document)
    report = check_project(document, spec.parent)
    if report.problems:
        raise InvalidSpec(report.problems)
    return ValidProject(document, report.notes)


def check_project(document: Document, folder: Path) -> ProjectReport:
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
    notes = list(list_command_notes(spec, contexts))
    notes += [note for context in contexts.values() for note in list_lock_notes(context)]
    broken: set[Path] = set()
    for use in _list_references(spec):
        context = contexts.get(use.image)
        if context is not None and context.is_dir():
            report = _check_reference(document, use, context, broken)
            problems += report.problems
            notes += report.notes
    return ProjectReport(tuple(problems), tuple(notes))


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
    yield from _list_monitors(spec)
    for index, step in enumerate(spec.data.steps):
        if step.run is not None:
            yield _build_reference(
                ("spec", "data", "steps", index, "run"), step.image, step.run, ("data", "out")
            )
    parameters = tuple(spec.train.parameters)
    folders = ("data", "out", *(("checkpoint",) if spec.train.checkpoint else ()))
    if spec.train.run is not None:
        yield _build_reference(TRAIN, spec.train.image, spec.train.run, folders, parameters)
    if spec.evaluate.run is not None:
        image = spec.evaluate.image or spec.train.image
        yield _build_reference(EVALUATE, image, spec.evaluate.run, ("model", "data"))
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


def _list_monitors(spec: Spec) -> Iterator[CodeReference]:
    """Yield the functions of monitors."""
    for monitor, detector in spec.monitors.items():
        if not isinstance(detector, UserFunction):
            continue
        at: Location = ("spec", "monitors", monitor)
        run = _build_reference(
            (*at, "run"), detector.image, detector.run, (), tuple(detector.parameters)
        )
        yield replace(run, rows=("reference", "window"))
        if detector.fit is not None:
            fit = _build_reference((*at, "fit"), detector.image, detector.fit, ())
            yield replace(fit, rows=("rows",), optional=tuple(detector.parameters))


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
) -> ProjectReport:
    field = format_location(use.location)

    def build_report(text: str) -> ProjectReport:
        message = f"{field} is `{use.text}`, {text}"
        return ProjectReport((document.source.problem(use.location, message),))

    file = modules.find_module_file(context, use.module)
    if file is None:
        listed = (
            ", ".join(sorted(f"`{path.stem}`" for path in context.glob("*.py"))) or "no .py file"
        )
        return build_report(f"must be in a module of {context}; it has {listed}")
    try:
        module = modules.UserModule(file, ast.parse(file.read_bytes(), str(file)), context)
    except (SyntaxError, ValueError) as error:
        if file in broken:
            return ProjectReport()
        broken.add(file)
        line, column = getattr(error, "lineno", None) or 1, getattr(error, "offset", None) or 1
        return ProjectReport((Problem(str(file), line, column, f"not Python: {error.args[0]}"),))
    node = module.names.get(use.name)
    if use.name not in module.names and "*" not in module.names:
        same_kind = sorted(
            name for name, statement in module.names.items() if _is_kind(statement, use.kind)
        )
        names = ", ".join(f"`{name}`" for name in same_kind) or f"no {use.kind}"
        return build_report(f"must be a {use.kind} in {file}; it has {names}")
    if node is not None and not _is_kind(node, use.kind):
        return build_report(f"must be a {use.kind}; {file}:{node.lineno} is not one")
    if isinstance(node, ast.AsyncFunctionDef):
        return build_report(f"must be a plain function; {file}:{node.lineno} is async")
    if use.kind == "function":
        return _check_function(document, use, module)
    return ProjectReport()


def _check_function(document: Document, use: CodeReference, module: UserModule) -> ProjectReport:
    """Check the arguments of a function and the metrics it returns."""
    place = module.find_function(use.name)
    if place is None or place[1].decorator_list:
        return ProjectReport(
            notes=(
                f"can't tell what `{use.name}` takes and returns: it is "
                + (
                    f"not a plain function of {module.file}"
                    if place is None
                    else f"decorated ({place[0].file}:{place[1].lineno})"
                ),
            )
        )
    home, node = place
    problems = [*check_signature(document, use, node, home.file)]
    if use.location == TRAIN:
        values = list_trained_values(document.pipeline.spec.train)
        problems += check_parameter_types(document, home, node, values)
    if "window" in use.rows:
        return _check_verdict(document, use, home, node, problems)
    metrics = _check_metrics(document, use, home, node)
    return ProjectReport((*problems, *metrics.problems), metrics.notes)


def _check_verdict(
    document: Document,
    use: CodeReference,
    module: UserModule,
    node: ast.FunctionDef,
    problems: list[Problem],
) -> ProjectReport:
    """Check the parameters of a monitor's function, and that what it returns is a verdict."""
    detector = document.pipeline.spec.monitors[str(use.location[-2])]
    if isinstance(detector, UserFunction):
        at: Location = (*use.location[:-1], "parameters")
        values = (((*at, name), value, None) for name, value in detector.parameters.items())
        problems = [*problems, *check_parameter_types(document, module, node, values)]
    returned = read_returned_metrics(module, node)
    allowed = "a dict with `score`, or `alarm`"
    place = f"`{use.name}` ({module.file}:{node.lineno})"
    field = f"{format_location(use.location)} is `{use.text}`"
    if unknown := sorted(returned.names.difference(VERDICT_KEYS)):
        hint = suggest_closest(unknown[0], VERDICT_KEYS) or f"its keys: {', '.join(VERDICT_KEYS)}"
        message = f"{field}, must return {allowed}; {place} returns `{unknown[0]}`"
        problems.append(document.source.problem(use.location, message, hint=hint))
    elif returned.unknown is None and not is_verdict(returned.names):
        listed = ", ".join(f"`{name}`" for name in sorted(returned.names)) or "none"
        message = f"{field}, must return {allowed}; {place} returns {listed}"
        problems.append(document.source.problem(use.location, message))
    elif not is_verdict(returned.names):
        text = f"can't tell what `{use.name}` returns: only running it tells {returned.unknown}"
        return ProjectReport(tuple(problems), (text,))
    return ProjectReport(tuple(problems))


def _check_metrics(
    document: Document, use: CodeReference, module: UserModule, node: ast.FunctionDef
) -> ProjectReport:
    """Check that a function returns each metric that the spec names of it."""
    spec = document.pipeline.spec
    named: list[tuple[Location, str]] = []
    if use.location == TRAIN and spec.train.search is not None:
        named = [(("spec", "train", "search", "best", "metric"), spec.train.search.best.metric)]
    elif use.location == EVALUATE:
        gates = enumerate(spec.evaluate.gates)
        named = [((*EVALUATE[:-1], "gates", n, "metric"), gate.metric) for n, gate in gates]
        shadow = spec.rollout.shadow
        if shadow.agreement == "auto" and "accuracy" in shadow.model_fields_set:
            named.append((("spec", "rollout", "shadow", "accuracy"), shadow.accuracy))
    elif use.location != TRAIN:
        return ProjectReport()
    returned = read_returned_metrics(module, node)
    at = f"`{use.name}` ({module.file}:{node.lineno})"
    if not returned.names and returned.unknown is None:
        message = f"{format_location(use.location)} is `{use.text}`, must return a dict of metrics; {at} returns none"
        return ProjectReport((document.source.problem(use.location, message),))
    missing = [(location, name) for location, name in named if name not in returned.names]
    if returned.unknown is not None:
        names = ", ".join(f"`{name}`" for _, name in missing)
        text = f"can't tell which metrics `{use.name}` returns: only running it tells {returned.unknown}"
        return ProjectReport(notes=(f"{text}; not checked: {names}",) if missing else ())
    listed = ", ".join(f"`{name}`" for name in sorted(returned.names))
    problems = []
    for location, name in missing:
        message = (
            f"{format_location(location)} is `{name}`, must be a metric that {at} returns: {listed}"
        )
        hint = suggest_closest(name, returned.names)
        problems.append(document.source.problem(location, message, hint=hint))
    return ProjectReport(tuple(problems))


def _is_kind(node: ast.stmt | None, kind: str) -> bool:
    if kind == "class":
        return isinstance(node, ast.ClassDef)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def _describe_pins(document: Document) -> str:
    missing = images.list_unpinned_images(document.pipeline)
    return (
        f"none for {', '.join(missing)}: `--pin` writes them"
        if missing
        else "every image is named by its digest"
    )


def _describe_monitor(monitor: Monitor) -> str:
    columns = monitor.detector.columns
    if isinstance(monitor.detector, UserFunction):
        return f"{monitor.name} ({monitor.detector.run} in {monitor.detector.image})"
    of = f" of {columns.replace(',', ', ')}" if columns is not None else ""
    kind = (
        monitor.detector.alibi.class_
        if isinstance(monitor.detector, AlibiDetect)
        else monitor.detector.detector
    )
    return f"{monitor.name} ({kind}{of})"


def summarize_spec(document: Document, planned: Plan) -> Mapping[str, str]:
    """Return the main settings of a valid spec in a few words."""
    trials = len(planned.trials)
    return {
        "pipeline": f"{planned.names.pipeline} in namespace {planned.names.namespace}",
        "training": f"{count_noun(trials, 'trial')}, {count_noun(len(planned.evaluate.gates), 'gate')}",
        **{
            role: code.code
            for role, code in (("train", planned.train), ("evaluate", planned.evaluate))
            if code.command
        },
        "serving": f"{_name_model(planned.serve)} by {planned.serve.backend}",
        "monitors": ", ".join(map(_describe_monitor, planned.monitors)) or "none",
        **({"pins": _describe_pins(document)} if document.pipeline.spec.pins else {}),
        "retrain": ", ".join(planned.retrain_on) or "by schedule and by hand",
        **({"quiet": quiet.text} if (quiet := planned.retrain_policy.quiet) is not None else {}),
        **({"least": _describe_least(least)} if (least := planned.retrain.least_new_rows) else {}),
        **({"halt": ", ".join(planned.halt_on)} if planned.halt_on else {}),
        **({"rollback": ", ".join(planned.rollback_on)} if planned.rollback_on else {}),
        "agreement": _describe_agreement(planned),
    }


def _describe_least(rows: int) -> str:
    return f"{count_noun(rows, 'new labelled row')} before alarms or new data train"


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
        f"{shares}; not judged unless `{plan.evaluate.code}` returns it: without a rehearsal, answers "
        "that are numbers are not compared"
    )


def _name_model(serve: Serve) -> str:
    return serve.model if isinstance(serve, PythonServer) else serve.server
