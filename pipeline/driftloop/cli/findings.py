"""What `validate` has found, for programs: JSON, GitHub's annotations, SARIF 2.1.0 and JUnit's XML."""

import json
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from driftloop import __version__
from driftloop.check import RULES, Finding
from driftloop.operations.project.validate import ValidationReport
from driftloop.spec import Problem

SARIF_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
REFERENCE = "https://github.com/driftloop/driftloop/blob/main/docs/reference/findings.md"
SPEC_CODE = "spec"
"""What a spec's own problems are called where findings have codes."""


@dataclass(frozen=True)
class _Issue:
    path: str
    line: int
    column: int
    code: str
    severity: str
    text: str
    fix: str | None


def _list_issues(report: ValidationReport) -> Iterator[_Issue]:
    for problem in report.problems:
        place = (problem.path, problem.line, problem.column)
        yield _Issue(*place, SPEC_CODE, "error", problem.message, problem.hint)
    for finding in report.manifests.findings:
        place = (finding.path, finding.line, finding.column)
        yield _Issue(*place, finding.code, str(finding.severity), finding.text, finding.fix)


def build_document(report: ValidationReport) -> dict[str, Any]:
    """Return one object, of the same keys for a spec, a file, a folder and a stream."""
    manifests = report.manifests
    return {
        "valid": not report.failed,
        "files": manifests.files,
        "objects": manifests.objects,
        "unread": manifests.unread,
        "ignored": manifests.ignored,
        "findings": [asdict(finding) for finding in manifests.findings],
        "problems": _to_json(report.problems),
        "notes": list(report.notes),
        "specs": {str(path): summary for path, summary in report.summaries.items()},
    }


def _to_json(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    return [
        {"path": p.path, "line": p.line, "column": p.column, "message": p.message, "hint": p.hint}
        for p in problems
    ]


def format_github(report: ValidationReport) -> str:
    """Workflow commands, which GitHub shows beside the lines of a change."""
    return "\n".join(
        f"::{issue.severity} file={_escape(issue.path, property_=True)},line={issue.line},"
        f"col={issue.column},title={_escape(issue.code, property_=True)}::{_escape(_tell(issue))}"
        for issue in _list_issues(report)
    )


def _tell(issue: _Issue) -> str:
    return issue.text if issue.fix is None else f"{issue.text}\nfix: {issue.fix}"


def _escape(text: str, *, property_: bool = False) -> str:
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if property_ else text


def format_sarif(report: ValidationReport) -> str:
    """SARIF 2.1.0, as code scanning takes it; `%SRCROOT%` is the folder of the call."""
    issues = list(_list_issues(report))
    told = {issue.code for issue in issues}
    rules = [
        {
            "id": rule.code,
            "shortDescription": {"text": rule.title},
            "fullDescription": {"text": rule.why or rule.title},
            "help": {"text": f"{rule.fix}."},
            "helpUri": REFERENCE,
            "defaultConfiguration": {"level": str(rule.severity)},
        }
        for rule in RULES
        if rule.code in told
    ]
    if SPEC_CODE in told:
        rules.append({"id": SPEC_CODE, "shortDescription": {"text": "A spec is not valid"}})
    order = {rule["id"]: index for index, rule in enumerate(rules)}
    driver = {
        "name": "driftloop validate",
        "version": __version__,
        "informationUri": "https://github.com/driftloop/driftloop",
        "rules": rules,
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_to_result(issue, order[issue.code]) for issue in issues],
    }
    return json.dumps({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _to_result(issue: _Issue, index: int) -> dict[str, Any]:
    place = {"uri": quote(posixpath.normpath(issue.path)), "uriBaseId": "%SRCROOT%"}
    if posixpath.isabs(issue.path) or issue.path.startswith("../"):
        place.pop("uriBaseId")
    region = {"startLine": max(issue.line, 1), "startColumn": max(issue.column, 1)}
    return {
        "ruleId": issue.code,
        "ruleIndex": index,
        "level": issue.severity,
        "message": {"text": _tell(issue)},
        "locations": [{"physicalLocation": {"artifactLocation": place, "region": region}}],
    }


def format_junit(report: ValidationReport) -> str:
    """JUnit's XML: a case for each finding, an error is a failure and a warning its output."""
    issues = list(_list_issues(report))
    failures = sum(issue.severity == "error" for issue in issues)
    root = ElementTree.Element("testsuites")
    attributes = {"name": "driftloop validate", "failures": str(failures), "errors": "0"}
    suite = ElementTree.SubElement(
        root, "testsuite", {**attributes, "tests": str(len(issues) or 1), "skipped": "0"}
    )
    for issue in issues:
        name = f"{issue.code} {issue.path}:{issue.line}:{issue.column}"
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": issue.path, "name": name, "file": issue.path}
        )
        if issue.severity == "error":
            failure = ElementTree.SubElement(
                case, "failure", {"message": issue.text, "type": issue.code}
            )
            failure.text = _tell(issue)
        else:
            ElementTree.SubElement(case, "system-out").text = _tell(issue)
    if not issues:
        ElementTree.SubElement(suite, "testcase", {"classname": "driftloop", "name": "validate"})
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, "unicode")


def format_findings(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield lines for people, by file; the reason for a code is told once."""
    explained: set[str] = set()
    path = None
    for finding in findings:
        if path not in (None, finding.path):
            yield ""
        path = finding.path
        yield f"{finding.place} {finding.code} {finding.severity}: {finding.text}"
        if finding.code not in explained:
            yield f"    why: {finding.why}"
        explained.add(finding.code)
        yield f"    fix: {finding.fix}"
