"""How manifests are validated: what is left out, from options and from the nearest `.driftloop.yaml`."""

import os
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from driftloop.check.ignoring import CODES, IgnoreRule, describe_unknown
from driftloop.errors import SpecError
from driftloop.text.node import YamlNode
from driftloop.text.read import read
from driftloop.text.words import suggest_names

FILE = ".driftloop.yaml"
KEYS = ("complete", "exclude", "ignore", "schemas")


@dataclass(frozen=True)
class LintSettings:
    """What a run of `validate` asks for and leaves out."""

    complete: bool = False
    schemas: Path | None = None
    ignore: tuple[IgnoreRule, ...] = ()
    """Codes that are not told; their paths are as findings have them."""
    exclude: tuple[str, ...] = ()
    """Patterns of absolute paths that are not read."""

    def is_excluded(self, file: Path) -> bool:
        """Return True if a file is not read."""
        return any(fnmatchcase(str(file), pattern) for pattern in self.exclude)


def make_rules(codes: Iterable[str]) -> tuple[IgnoreRule, ...]:
    """Return rules for codes everywhere; ValueError names one that is not defined."""
    rules = []
    for code in (code.strip().upper() for text in codes for code in text.split(",")):
        if code not in CODES:
            raise ValueError(describe_unknown(code))
        rules.append(IgnoreRule(code))
    return tuple(rules)


def find_settings(start: Path) -> Path | None:
    """Return the nearest settings file in a folder or above it, within its git repository."""
    here = Path(os.path.abspath(start))
    for folder in (here, *here.parents):
        if (folder / FILE).is_file():
            return folder / FILE
        if (folder / ".git").exists():
            return None
    return None


def choose_settings(paths: Sequence[Path], config: Path | None) -> LintSettings:
    """Return the settings of a file, or of the nearest one at or above the first path; those without any when there is
    none."""
    start = paths[0] if paths else Path()
    file = config or find_settings(start if start.is_dir() else start.parent)
    return read_settings(file) if file is not None else LintSettings()


def read_settings(file: Path) -> LintSettings:
    """Read a settings file; SpecError says what is wrong in it, and where."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise SpecError(f"{file} can't be read: {error.strerror}") from error
    reading = read(content)
    if reading.problems:
        problem = reading.problems[0]
        raise SpecError(f"{file}:{problem.line}:{problem.column}: {problem.said}")
    reader = _Reader(file)
    root = reading.documents[0] if reading.documents else YamlNode(None, 1, 1)
    reader.check_keys(root, ("validate",), "")
    settings = root.get("validate")
    reader.check_keys(settings, KEYS, "validate.")
    folder = file.parent
    schemas = settings.get("schemas")
    return LintSettings(
        complete=reader.read_flag(settings.get("complete")),
        schemas=folder / reader.read_text(schemas) if schemas else None,
        ignore=tuple(reader.read_rules(settings.get("ignore"))),
        exclude=tuple(str(folder / text) for text in reader.read_texts(settings.get("exclude"))),
    )


@dataclass(frozen=True)
class _Reader:
    file: Path

    def refuse(self, node: YamlNode, what: str) -> SpecError:
        line, column = node.place
        return SpecError(f"{self.file}:{line}:{column}: {what}")

    def check_keys(self, node: YamlNode, allowed: tuple[str, ...], at: str) -> None:
        if node.value is not None and not isinstance(node.value, dict):
            raise self.refuse(node, f"{at.rstrip('.') or 'the file'} must be a mapping")
        for name, member in node.map.items():
            if name not in allowed:
                key = YamlNode(None, member.key_line or member.line, member.key_column or 1)
                meant = suggest_names(name, allowed) or f"must be one of: {', '.join(allowed)}"
                raise self.refuse(key, f"{at}{name} is not a known key, {meant}")

    def read_flag(self, node: YamlNode) -> bool:
        if node.value not in (None, True, False):
            raise self.refuse(node, f"{node.shown} must be true or false")
        return bool(node.value)

    def read_text(self, node: YamlNode) -> str:
        if not isinstance(node.value, str):
            raise self.refuse(node, f"{node.shown} must be text")
        return node.value

    def read_texts(self, node: YamlNode) -> Iterator[str]:
        return self._read_list(node, self.read_text)

    def read_rules(self, node: YamlNode) -> Iterator[IgnoreRule]:
        return self._read_list(node, self._read_rule)

    def _read_list(self, node: YamlNode, read_item: Callable[[YamlNode], Any]) -> Iterator[Any]:
        if node.value is not None and not isinstance(node.value, list):
            raise self.refuse(node, "must be a list")
        return (read_item(item) for item in node.list)

    def _read_rule(self, node: YamlNode) -> IgnoreRule:
        code, paths = node, tuple[str, ...]()
        if isinstance(node.value, dict):
            self.check_keys(node, ("code", "in"), "ignore.")
            code = node.get("code")
            prefix = os.path.relpath(self.file.parent)
            paths = tuple(
                posixpath.normpath(posixpath.join(prefix, text))
                for text in self.read_texts(node.get("in"))
            )
        name = self.read_text(code).upper()
        if name not in CODES:
            raise self.refuse(code, describe_unknown(name))
        return IgnoreRule(name, paths)
