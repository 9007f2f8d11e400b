"""Findings that somebody has taken knowingly: by a comment in the file, or by a code and a path."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from driftloop.check.finding import Finding
from driftloop.check.rules import RULES
from driftloop.text.words import suggest_names

CODES = frozenset(rule.code for rule in RULES)
_COMMENT = re.compile(r"(?:^|\s)#\s*driftloop:\s*ignore\[([^\]\n]*)\]")


@dataclass(frozen=True)
class IgnoreRule:
    """A code that is not told, in some files or everywhere."""

    code: str
    paths: tuple[str, ...] = ()
    """Patterns of paths as `*.yaml` or `tests/**`; none are all files."""

    def covers(self, finding: Finding) -> bool:
        """Return True if a finding is not told. Paths are those of the finding."""
        return finding.code == self.code and (
            not self.paths or any(fnmatchcase(finding.path, pattern) for pattern in self.paths)
        )


@dataclass(frozen=True)
class IgnoreComment:
    """`# driftloop: ignore[CODE, …]`, and the line that it speaks of: its own, or the next one when it stands alone."""

    line: int
    target: int
    codes: frozenset[str]


def find_comments(text: str) -> Iterator[IgnoreComment]:
    """Yield the comments of a text that leave findings out."""
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        if (found := _COMMENT.search(line)) is None:
            continue
        target = number
        while target <= len(lines) and lines[target - 1].lstrip().startswith("#"):
            target += 1
        codes = frozenset(code.strip().upper() for code in found[1].split(",") if code.strip())
        yield IgnoreComment(number, target, codes)


def leave_out(
    findings: Iterable[Finding], texts: Mapping[str, str], rules: Iterable[IgnoreRule] = ()
) -> tuple[tuple[Finding, ...], int, tuple[str, ...]]:
    """Return the findings that are told, the number of those that are not, and notes about comments
    with codes that do not exist. `texts` are the files by path."""
    rules, notes = tuple(rules), list[str]()
    taken: set[tuple[str, int, str]] = set()
    for path, text in texts.items():
        if "driftloop:" not in text:
            continue
        for comment in find_comments(text):
            taken |= {(path, comment.target, code) for code in comment.codes}
            notes += (
                f"{path}:{comment.line}: {describe_unknown(code)}"
                for code in sorted(comment.codes - CODES)
            )
    findings = tuple(findings)
    told = tuple(
        finding
        for finding in findings
        if (finding.path, finding.line, finding.code) not in taken
        and not any(rule.covers(finding) for rule in rules)
    )
    return told, len(findings) - len(told), tuple(notes)


def describe_unknown(code: str) -> str:
    """Say that a code is not defined, and which is meant."""
    meant = suggest_names(code, CODES)
    return f"`{code}` is not a finding's code" + (f", {meant}" if meant else "")
