"""`driftloop validate`."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from driftloop.cli import findings, options
from driftloop.operations.project.linting import (
    FILE,
    LintSettings,
    choose_settings,
    make_rules,
)
from driftloop.operations.project.manifests import ManifestReport
from driftloop.operations.project.validate import (
    ValidationReport,
    split_paths,
    validate_paths,
    validate_spec,
)
from driftloop.spec import InvalidSpec
from driftloop.text.words import count_noun

EXAMPLES = """\b
Examples:
  driftloop validate pipeline.yaml
  driftloop validate . --complete --schemas schemas/
  driftloop validate . --ignore DL607 --output sarif > findings.sarif
  kustomize build apps/fraud | driftloop validate -
  kubectl get deployments -A -o yaml | driftloop validate -"""

FORMATS = {
    "github": findings.format_github,
    "sarif": findings.format_sarif,
    "junit": findings.format_junit,
}


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
@click.option(
    "--ignore", "ignored", metavar="CODE", multiple=True, help="Leave a code out; repeatable."
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"Settings file.  [default: {FILE} of the first PATH's folder or the nearest above it]",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json", "yaml", *FORMATS]),
    default="text",
    show_default=True,
    help="Format of the output: text, JSON, YAML, GitHub's annotations, SARIF, JUnit's XML.",
)
def command(
    *,
    paths: tuple[Path, ...],
    schemas: Path | None,
    complete: bool,
    ignored: tuple[str, ...],
    config: Path | None,
    output: str,
) -> None:
    """Validate specs and Kubernetes YAML, generated or not.

    For a PATH that is a spec: the spec, its references, the folders and functions beside it that
    it names, and the manifests it renders to. For any other file, or a folder: every object and
    spec in it, and the references between all of them. `-` reads objects from standard input.

    A comment `# driftloop: ignore[CODE]` on the line of a finding, or alone above it, leaves it
    out; `.driftloop.yaml` has settings for a folder (docs/guides/validate.md).

    For each valid spec, how a candidate's answers are compared with production's is told; for a
    single one, and with `--output json`, all of its main settings.

    Every problem is listed with file, line and column. Exit code 1 when there is an error (a
    warning is not one), 2 when nothing was validated.
    """
    stream = sys.stdin.buffer.read() if Path("-") in paths else None
    specs, others = split_paths([path for path in paths if path != Path("-")])
    settings = _choose_settings([*specs, *others], config, schemas, complete, ignored)
    if stream is None and not others and len(specs) == 1:
        report = _validate_single(specs[0])
    else:
        report = validate_paths(specs, others, settings, stream)
    if others and not report.manifests.files:
        raise click.UsageError(f"no YAML file in {', '.join(map(str, others))}")
    if stream is not None and not report.manifests.objects and not report.failed:
        raise click.UsageError("no object on standard input")
    if output in ("json", "yaml"):
        options.print_document(findings.build_document(report), output)
    elif output != "text":
        click.echo(FORMATS[output](report))
    elif report.specs == 1 and not report.manifests.files:
        _print_spec(report)
    else:
        _print_report(report)
    if report.failed:
        raise click.exceptions.Exit(1)


def _choose_settings(
    paths: Sequence[Path],
    config: Path | None,
    schemas: Path | None,
    complete: bool,
    ignored: tuple[str, ...],
) -> LintSettings:
    """Return the settings of the file, and over them those of the options."""
    settings = choose_settings(paths, config)
    try:
        rules = make_rules(ignored)
    except ValueError as error:
        raise click.UsageError(f"--ignore: {error}") from error
    return replace(
        settings,
        complete=complete or settings.complete,
        schemas=schemas or settings.schemas,
        ignore=(*settings.ignore, *rules),
    )


def _validate_single(path: Path) -> ValidationReport:
    report = validate_spec(path)
    summaries = {} if report.summary is None else {path: report.summary}
    return ValidationReport(
        1, report.problems, ManifestReport(report.findings, 0, 0, ()), report.notes, summaries
    )


def _print_spec(report: ValidationReport) -> None:
    options.print_notes(report.notes)
    if report.problems:
        raise InvalidSpec(report.problems)
    _print_findings(report)
    for summary in report.summaries.values():
        for name, text in summary.items():
            click.echo(f"{name:9} {text}", err=True)


def _print_report(report: ValidationReport) -> None:
    for problem in report.problems:
        click.echo(str(problem))
    _print_findings(report)
    options.print_notes(report.notes)
    manifests = report.manifests
    if manifests.unread:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in manifests.unread.items())
        number = count_noun(sum(manifests.unread.values()), "object")
        options.print_progress(
            f"note: nobody looked into {number} of kinds that no rule knows: {kinds}"
        )
    for path, summary in report.summaries.items():
        options.print_progress(f"{path}: agreement {summary['agreement']}")
    counts = [count_noun(report.specs, "spec")] if report.specs else []
    if manifests.files:
        counts.append(
            f"{count_noun(manifests.objects, 'object')} in {count_noun(manifests.files, 'file')}"
        )
    ignored = f", {manifests.ignored} ignored" if manifests.ignored else ""
    click.echo(
        f"{', '.join(counts)}: {count_noun(report.errors, 'error')}, "
        f"{count_noun(report.warnings, 'warning')}{ignored}",
        err=True,
    )


def _print_findings(report: ValidationReport) -> None:
    for line in findings.format_findings(report.manifests.findings):
        click.echo(line)
