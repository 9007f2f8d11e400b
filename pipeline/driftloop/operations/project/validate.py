"""Validate specs, their model projects, and Kubernetes YAML."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from driftloop.check import Finding, Severity, check_files
from driftloop.contract import trees
from driftloop.errors import ReleaseError, RenderError, SpecError
from driftloop.operations.ground import files
from driftloop.operations.project import manifests, project
from driftloop.operations.project.linting import LintSettings
from driftloop.operations.project.manifests import ManifestReport
from driftloop.plan import Plan, make_plan
from driftloop.platform import PlatformFile, parse_platform
from driftloop.platform.file import refuse_shared
from driftloop.release import record
from driftloop.render import patch_tree, render_tree, require_signatures, sample_releases
from driftloop.spec import Document, InvalidSpec, Problem, parse_spec

STREAM = "stdin"
"""What findings call a stream of objects."""
NO_MANIFESTS = ManifestReport((), 0, 0, ())


@dataclass(frozen=True)
class SpecReport:
    """The problems of one spec, and the findings in the manifests it renders to."""

    problems: tuple[Problem, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    """What only running the project's code would tell."""
    summary: Mapping[str, str] | None = None
    """Its main settings in a few words; None when the spec is invalid."""

    @property
    def failed(self) -> bool:
        """True when there is an error; a warning is not one."""
        return bool(self.problems) or _contains_error(self.findings)


@dataclass(frozen=True)
class ValidationReport:
    """The problems of several specs, and the findings in manifests."""

    specs: int
    problems: tuple[Problem, ...]
    manifests: ManifestReport
    notes: tuple[str, ...] = ()
    """What was not checked."""
    summaries: Mapping[Path, Mapping[str, str]] = field(default_factory=dict)
    """The main settings of each valid spec in a few words."""

    @property
    def failed(self) -> bool:
        """True when there is an error; a warning is not one."""
        return bool(self.problems) or _contains_error(self.manifests.findings)

    @property
    def errors(self) -> int:
        """Number of problems, and of findings that are errors."""
        severe = [
            finding for finding in self.manifests.findings if finding.severity is Severity.ERROR
        ]
        return len(self.problems) + len(severe)

    @property
    def warnings(self) -> int:
        """Number of findings that are not errors."""
        return len(self.manifests.findings) + len(self.problems) - self.errors


def split_paths(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the paths that are specs, and the others."""
    specs = [path for path in paths if not path.is_dir() and manifests.is_spec(path)]
    return specs, [path for path in paths if path not in specs]


def validate_spec(path: Path) -> SpecReport:
    """Validate one spec, the model project beside it, and what it renders to."""
    try:
        document = parse_spec(files.read_spec_text(path), path=str(path))
        plan = make_plan(document)
        report = project.check_project(document, path.parent)
        if report.problems:
            return SpecReport(report.problems, notes=report.notes)
        findings = _check_rendered(path, document)
    except InvalidSpec as error:
        return SpecReport(tuple(error.problems))
    return SpecReport((), findings, report.notes, project.summarize_spec(document, plan))


def validate_paths(
    specs: Sequence[Path],
    others: Sequence[Path],
    settings: LintSettings,
    stream: bytes | None = None,
) -> ValidationReport:
    """Validate specs with their projects, all objects and specs in other files and folders, and a
    stream of objects."""
    reports = [] if stream is None else [manifests.check_text(stream, STREAM, settings)]
    reports += [manifests.check_paths(others, settings)] if others else []
    checked = manifests.join_reports(reports) if reports else NO_MANIFESTS
    problems: list[Problem] = []
    summaries: dict[Path, Mapping[str, str]] = {}
    notes = [*checked.notes]
    for path in (*specs, *checked.specs):
        try:
            document = parse_spec(files.read_spec_text(path), path=str(path))
            plan = make_plan(document)
            report = (
                project.check_project(document, path.parent)
                if path in specs
                else project.ProjectReport()
            )
            problems += report.problems
            notes += (f"{path}: {note}" for note in report.notes)
            problems += _check_release(path, plan)
            if not report.problems:
                summaries[path] = project.summarize_spec(document, plan)
        except InvalidSpec as error:
            problems += error.problems
    problems += _check_platforms(checked.platforms)
    number = len(specs) + len(checked.specs)
    return ValidationReport(number, tuple(problems), checked, tuple(notes), summaries)


def _check_platforms(found: Mapping[Path, str]) -> Iterator[Problem]:
    """Yield the problems of platform files, each by itself and of all together."""
    platforms: list[PlatformFile] = []
    for file, path in found.items():
        try:
            text = file.read_text("utf-8", "replace")
            platforms.append(parse_platform(text, path=path, shown=str(file)))
        except InvalidSpec as error:
            yield from error.problems
    try:
        refuse_shared(platforms)
    except SpecError as error:
        path, _, message = error.message.partition(": ")
        shown = next(str(file) for file, own in found.items() if own == path)
        yield Problem(shown, 1, 1, message, error.hint)


def _check_release(path: Path, plan: Plan) -> tuple[Problem, ...]:
    """Return a problem when the release in the repository around a spec has no signature, and the spec
    demands one."""
    name = plan.names.pipeline
    if plan.signatures != "require" or not path.resolve().match(trees.spec_path(name)):
        return ()
    file = path.resolve().parents[2] / trees.release_path(name)
    if not file.is_file():
        return ()
    try:
        require_signatures(plan, record.load_release(file.read_text(), path=str(file)))
    except (RenderError, ReleaseError) as error:
        message = error.message.removeprefix(f"{trees.release_path(name)}: ")
        return (Problem(str(file), 1, 1, message, error.hint),)
    return ()


def _contains_error(findings: Sequence[Finding]) -> bool:
    return any(finding.severity is Severity.ERROR for finding in findings)


def _check_rendered(path: Path, document: Document) -> tuple[Finding, ...]:
    """Return the findings in the trees of a spec: before the first release, with a shadow, with
    a canary.

    Without the WorkflowTemplates and their Sensor: a commit checks the whole tree.
    """
    names = document.pipeline.metadata
    samples = sample_releases(names.name, names.namespace or names.name)
    releases = (None, *map(record.dump_release, samples))
    text = files.read_spec_text(path)
    # of a patch, only the whole tree tells what it changes
    whole = bool(document.pipeline.spec.patches)
    rendered = [render_tree(text, release, path=str(path), workflows=whole) for release in releases]
    trees = [patch_tree(tree).files for tree in rendered]
    return tuple(sorted({finding for tree in trees for finding in check_files(tree)}))
