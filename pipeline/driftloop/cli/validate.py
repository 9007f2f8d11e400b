"""`driftloop validate`."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from driftloop.check import Finding
from driftloop.cli import options
from driftloop.operations.project.validate import (
    SpecReport,
    ValidationReport,
    split_paths,
    validate_paths,
    validate_spec,
)
from driftloop.spec import InvalidSpec, Problem
from driftloop.text.words import count_noun

EXAMPLES = """\b
Examples:
  driftloop validate pipeline.yaml
  driftloop validate . --complete --schemas schemas/
  kubectl get deployments -A -o yaml > all.yaml && driftloop validate all.yaml"""


@click.command(epilog=EXAMPLES)
@click.argument(
    "paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--schemas",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of API schemas (JSON); fields and types of objects are validated against them.",
)
@click.option(
    "--complete", is_flag=True, help="Require that every reference resolves within the PATHs."
)
@options.output
def command(*, paths: tuple[Path, ...], schemas: Path | None, complete: bool, output: str) -> None:
    """Validate specs and Kubernetes YAML, generated or not.

    For a PATH that is a spec: the spec, its references, the folders and functions beside it that
    it names, and the manifests it renders to. For any other file, or a folder: every object and
    spec in it, and the references between all of them.

    For each valid spec, how a candidate's answers are compared with production's is told; for a
    single one, and with `--output json`, all of its main settings.

    Every problem is listed with file, line and column. Exit code 1 when there is an error (a
    warning is not one), 2 when nothing was validated.
    """
    specs, others = split_paths(paths)
    if not others and len(specs) == 1:
        _print_spec(specs[0], validate_spec(specs[0]), output)
        return
    report = validate_paths(specs, others, complete=complete, schemas=schemas)
    if others and not report.manifests.files:
        raise click.UsageError(f"no YAML file in {', '.join(map(str, others))}")
    if output == "json":
        document: dict[str, Any] = {
            "valid": not report.failed,
            "files": report.manifests.files,
            "objects": report.manifests.objects,
            "findings": [asdict(finding) for finding in report.manifests.findings],
            "problems": _to_json(report.problems),
            "notes": report.notes,
            "specs": {str(path): summary for path, summary in report.summaries.items()},
        }
        click.echo(json.dumps(document))
    else:
        _print_report(report)
    if report.failed:
        raise click.exceptions.Exit(1)


def _print_spec(path: Path, report: SpecReport, output: str) -> None:
    if output == "json":
        document: dict[str, Any] = {
            "valid": not report.failed,
            "problems": _to_json(report.problems),
        }
        if report.findings:
            document["findings"] = [asdict(finding) for finding in report.findings]
        if report.notes:
            document["notes"] = report.notes
        if report.summary is not None:
            document["specs"] = {str(path): report.summary}
        click.echo(json.dumps(document))
        if report.failed:
            raise click.exceptions.Exit(1)
        return
    options.print_notes(report.notes)
    if report.problems:
        raise InvalidSpec(report.problems)
    _print_findings(report.findings)
    for name, text in (report.summary or {}).items():
        click.echo(f"{name:9} {text}", err=True)
    if report.failed:
        raise click.exceptions.Exit(1)


def _print_report(report: ValidationReport) -> None:
    for problem in report.problems:
        click.echo(str(problem))
    _print_findings(report.manifests.findings)
    options.print_notes(report.notes)
    for path, summary in report.summaries.items():
        options.print_progress(f"{path}: agreement {summary['agreement']}")
    counts = [count_noun(report.specs, "spec")] if report.specs else []
    if report.manifests.files:
        counts.append(
            f"{count_noun(report.manifests.objects, 'object')} in {count_noun(report.manifests.files, 'file')}"
        )
    click.echo(
        f"{', '.join(counts)}: {count_noun(report.errors, 'error')}, "
        f"{count_noun(report.warnings, 'warning')}",
        err=True,
    )


def _to_json(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    return [
        {"path": p.path, "line": p.line, "column": p.column, "message": p.message, "hint": p.hint}
        for p in problems
    ]


def _print_findings(findings: Sequence[Finding]) -> None:
    """Print findings by file; the reason for a code is printed once."""
    explained: set[str] = set()
    path = None
    for finding in findings:
        if path not in (None, finding.path):
            click.echo()
        path = finding.path
        subject = f"{finding.subject}: " if finding.subject else ""
        click.echo(f"{finding.place} {finding.code} {finding.severity}: {subject}{finding.what}")
        if finding.code not in explained:
            click.echo(f"    why: {finding.why}")
        explained.add(finding.code)
        click.echo(f"    fix: {finding.fix}")
