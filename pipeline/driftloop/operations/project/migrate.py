"""Rewrite in files what `validate` knows to be dead, and say what only a person can."""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from driftloop.check import Finding
from driftloop.check.migration import (
    CODES,
    MigratedText,
    Rewrite,
    find_damage,
    migrate_references,
    migrate_text,
)
from driftloop.contract import trees
from driftloop.errors import RenderError
from driftloop.operations.project.linting import LintSettings
from driftloop.operations.project.manifests import check_paths, list_contents
from driftloop.render import FileChange

PASSES = 4
"""An edit may show another finding: a field that the new version does not have."""


@dataclass(frozen=True)
class LeftFinding:
    """Something dead that is not rewritten, and why."""

    finding: Finding
    reason: str


@dataclass(frozen=True)
class Migration:
    """What was rewritten in which files, and what is left."""

    changes: tuple[FileChange, ...]
    """Paths are as findings have them."""
    rewrites: tuple[tuple[str, Rewrite], ...]
    """With the path of the file."""
    left: tuple[LeftFinding, ...]
    files: int
    """Files that were read."""


@dataclass
class _Work:
    contents: dict[Path, bytes]
    rewritten: dict[Path, bytes] = field(default_factory=dict)
    rewrites: list[tuple[str, Rewrite]] = field(default_factory=list)
    damaged: dict[Path, str] = field(default_factory=dict)

    def take(self, file: Path, text: str, migrated: MigratedText) -> None:
        """Keep the new text of a file, unless it is damaged."""
        if (damage := next(find_damage(text, migrated.text), None)) is not None:
            self.damaged[file] = f"the rewritten file would be damaged: {damage}"
            return
        if migrated.text != text:
            self.rewritten[file] = migrated.text.encode()
            name = os.path.relpath(file)
            self.rewrites += ((name, rewrite) for rewrite in migrated.rewrites)


def plan_migration(paths: Iterable[Path], settings: LintSettings) -> Migration:
    """Return what would be rewritten below these paths; nothing is written.

    What settings or comments leave out of `validate` is left alone, and so is what driftloop rendered.
    """
    paths = tuple(paths)
    work = _Work(list_contents(paths, settings))
    left: dict[Finding, str] = {}
    for _ in range(PASSES):
        report = check_paths(paths, settings, instead=work.rewritten)
        found: dict[Path, list[Finding]] = {}
        for finding in report.findings:
            if finding.code in CODES:
                found.setdefault(Path(os.path.abspath(finding.path)), []).append(finding)
        before, left = len(work.rewrites), {}
        for file, findings in found.items():
            left |= _migrate_file(work, file, findings)
        if len(work.rewrites) == before:
            break
    for file, content in work.contents.items():
        text = work.rewritten.get(file, content).decode("utf-8", "replace")
        if "\ufffd" not in text and not trees.is_generated(text):
            work.take(file, text, migrate_references(text))
    changes = [
        FileChange(
            os.path.relpath(file), work.contents[file].decode(), work.rewritten[file].decode()
        )
        for file in sorted(work.rewritten)
    ]
    told = sorted(work.rewrites, key=lambda item: (item[0], item[1].line))
    reasons = [LeftFinding(finding, left[finding]) for finding in sorted(left)]
    return Migration(tuple(changes), tuple(told), tuple(reasons), len(work.contents))


def _migrate_file(work: _Work, file: Path, findings: list[Finding]) -> dict[Finding, str]:
    """Rewrite a file; return what is left, with the reasons."""
    content = work.rewritten.get(file, work.contents.get(file, b""))
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return dict.fromkeys(findings, "the file is not UTF-8")
    if trees.is_generated(text):
        return dict.fromkeys(findings, "driftloop has rendered it: commit its spec again")
    migrated = migrate_text(text, findings)
    work.take(file, text, migrated)
    if file in work.damaged:
        return dict.fromkeys(findings, work.damaged[file])
    return dict(migrated.left)


def write_migration(migration: Migration) -> None:
    """Write the files; RenderError when one has changed since it was read."""
    files = {Path(change.path).resolve(): change for change in migration.changes}
    try:
        for file, change in files.items():
            if file.read_bytes() != (change.old or "").encode():
                raise RenderError(
                    f"{change.path} was written meanwhile",
                    hint="run the command again; nothing was written",
                )
        for file, change in files.items():
            beside = file.with_name(f".{file.name}.new")
            beside.write_bytes((change.new or "").encode())
            shutil.copymode(file, beside)
            beside.replace(file)
    except OSError as error:
        raise RenderError(f"{error.filename} can't be written: {error.strerror}") from error
