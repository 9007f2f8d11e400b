"""`driftloop validate`: is the spec right, do the code and the manifests it stands for fit together?"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from driftloop.check import Finding, Severity, check
from driftloop.contract.platform import S3_BUCKET
from driftloop.contract.trees import release_key
from driftloop.operations import files, manifests, project
from driftloop.operations.manifests import Checked
from driftloop.plan import plan
from driftloop.release import record
from driftloop.release.record import Version
from driftloop.spec import Document, InvalidSpec, Problem, read


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--schemas",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of API schemas (JSON) to be strict against.",
)
@click.option("--complete", is_flag=True, help="Nothing is made elsewhere: every reference must resolve.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(*, paths: tuple[Path, ...], schemas: Path | None, complete: bool, output: str) -> None:
    """Check specs, and Kubernetes YAML whoever wrote it.

    A PATH that is a spec: the spec, its references, the folders and functions beside it that it names, and the
    manifests it renders to. Any other file, or a folder: every object and spec in it, and the references between all
    of them.

    Every problem is listed with file, line and column; exit 1 when there is an error (a warning is none), 2 when
    nothing was checked.
    """
    specs = [path for path in paths if not path.is_dir() and manifests.is_spec(path)]
    rest = [path for path in paths if path not in specs]
    if not rest and len(specs) == 1:
        _spec(specs[0], output)
        return
    found = manifests.checked(rest, complete=complete, schemas=schemas) if rest else Checked((), 0, 0, ())
    if rest and not found.files:
        raise click.UsageError(f"no YAML file in {', '.join(map(str, rest))}")
    problems: list[Problem] = []
    for path in (*specs, *found.specs):
        try:
            document = read(files.spec_text(path), path=str(path))
            plan(document)
            problems += project.check(document, path.parent) if path in specs else ()
        except InvalidSpec as error:
            problems += error.problems
    wrong = bool(problems) or any(one.severity is Severity.ERROR for one in found.findings)
    if output == "json":
        listed = [asdict(one) for one in found.findings]
        said: dict[str, Any] = {"valid": not wrong, "files": found.files, "objects": found.objects, "findings": listed}
        click.echo(json.dumps({**said, "problems": _listed(problems), "notes": found.notes}))
    else:
        for problem in problems:
            click.echo(str(problem))
        _print(found.findings)
        for note in found.notes:
            click.echo(f"note: {note}", err=True)
        click.echo(_summary(found, len(specs) + len(found.specs), len(problems)), err=True)
    if wrong:
        raise click.exceptions.Exit(1)


def _spec(path: Path, output: str) -> None:
    """One spec by itself."""
    problems: tuple[Problem, ...] = ()
    findings: tuple[Finding, ...] = ()
    try:
        document = read(files.spec_text(path), path=str(path))
        plan(document)
        problems = project.check(document, path.parent)
        findings = () if problems else _rendered(path, document)
    except InvalidSpec as error:
        problems = error.problems
    wrong = bool(problems) or any(one.severity is Severity.ERROR for one in findings)
    if output == "json":
        said: dict[str, Any] = {"valid": not wrong, "problems": _listed(problems)}
        click.echo(json.dumps(said | ({"findings": [asdict(one) for one in findings]} if findings else {})))
    elif problems:
        raise InvalidSpec(problems)
    else:
        _print(findings)
        for name, text in project.summary(document).items():
            click.echo(f"{name:9} {text}", err=True)
    if wrong:
        raise click.exceptions.Exit(1)


def _listed(problems: "list[Problem] | tuple[Problem, ...]") -> list[dict[str, Any]]:
    return [
        {"path": p.path, "line": p.line, "column": p.column, "message": p.message, "hint": p.hint} for p in problems
    ]


def _rendered(path: Path, document: Document) -> tuple[Finding, ...]:
    """What is wrong in the trees of a spec: before the first release, with a shadow, with a canary."""
    from driftloop.render import rendered  # renders with Hera, which a wrong spec need not wait for

    names = document.pipeline.metadata
    before = record.empty(names.name, names.namespace or names.name)
    shadow = record.shadow(record.first(before, _version(names.name, 0)), _version(names.name, 1))
    states = (None, record.dump(shadow), record.dump(record.canary(shadow, 10)))
    text = files.spec_text(path)
    return tuple(sorted({one for state in states for one in check(rendered(text, state, path=str(path)))}))


def _version(pipeline: str, number: int) -> Version:
    """A version as a run would register it."""
    run = f"{pipeline}-{number:012x}"
    digest = f"sha256:{number:064x}"
    release = f"s3://{S3_BUCKET.example}/{release_key(run)}"
    return Version(
        id=record.release_id(run), run=run, model=f"{release}/model", model_digest=digest,
        detectors=f"{release}/detectors", data_digest=digest,
    )  # fmt: skip


def _print(findings: tuple[Finding, ...]) -> None:
    """Grouped by file; why a code matters is said once."""
    told: set[str] = set()
    before = None
    for one in findings:
        if before not in (None, one.path):
            click.echo()
        before = one.path
        about = f"{one.subject}: " if one.subject else ""
        click.echo(f"{one.path}:{one.line}:{one.column} {one.code} {one.severity}: {about}{one.what}")
        if one.code not in told:
            click.echo(f"    why: {one.why}")
        told.add(one.code)
        click.echo(f"    fix: {one.fix}")


def _summary(found: Checked, specs: int, problems: int) -> str:
    errors = problems + sum(1 for one in found.findings if one.severity is Severity.ERROR)
    warnings = len(found.findings) + problems - errors
    parts = [f"{specs} specs"] if specs else []
    parts += [f"{found.objects} objects in {found.files} files"] if found.files else []
    return f"{', '.join(parts)}: {errors} errors, {warnings} warnings"
