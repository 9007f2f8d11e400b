"""`cluster/upstream.json`: the platform's files as driftloop wrote them, which an upgrade compares a
repository's own with."""

import json
from dataclasses import dataclass
from pathlib import Path

from driftloop import __version__
from driftloop.contract import trees
from driftloop.contract.documents import (
    LONGEST_FILE,
    DocumentError,
    document_key,
    from_json,
    is_text,
    is_texts,
    parse_json,
    to_json,
)
from driftloop.errors import RenderError
from driftloop.operations.platform.layout import PROFILES, PlatformSettings, write_layout

UPSTREAM = f"{trees.CLUSTER}/upstream.json"


def _is_clusters(value: object) -> bool:
    return isinstance(value, dict) and all(profile in PROFILES for profile in value.values())


def _is_files(value: object) -> bool:
    return isinstance(value, dict) and all(
        is_texts(lines) and _is_path(path) for path, lines in value.items()
    )


def _is_path(path: str) -> bool:
    inside = path == trees.SOURCE_IGNORE or path.startswith(f"{trees.CLUSTER}/")
    return inside and not {"", ".", ".."} & set(path.split("/"))


def _read_lines(files: dict[str, list[str]]) -> dict[str, str]:
    return {path: "".join(lines) for path, lines in files.items()}


def _write_lines(files: dict[str, str]) -> dict[str, list[str]]:
    return {path: text.splitlines(keepends=True) for path, text in files.items()}


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """What a version of driftloop wrote into a repository."""

    version: str = document_key("version", "a version of driftloop", is_text)
    """Version that wrote it."""
    clusters: dict[str, str] = document_key(
        "clusters", f"profiles ({', '.join(PROFILES)}) by cluster", _is_clusters
    )
    """Folder below `cluster/` -> profile."""
    registry: str | None = document_key(
        "registry", "a registry, or null", lambda v: v is None or is_text(v), default=None
    )
    """Registry of the platform's own images."""
    files: dict[str, str] = document_key(
        "files",
        "lists of lines by path below cluster/",
        _is_files,
        read=_read_lines,
        write=_write_lines,
    )
    """Path -> text."""

    @classmethod
    def make(cls, settings: PlatformSettings) -> "Upstream":
        """Return what this version writes."""
        return cls(
            version=__version__,
            clusters=dict(settings.clusters),
            registry=settings.registry,
            files=write_layout(settings),
        )

    @property
    def settings(self) -> PlatformSettings:
        """What the files were filled in with."""
        return PlatformSettings(self.clusters, self.registry)

    def format(self) -> str:
        """Return the record as JSON, one line of a file on a line."""
        return json.dumps(to_json(self), indent=1, ensure_ascii=False) + "\n"


def read_upstream(folder: Path) -> Upstream | None:
    """Read the record of a repository; None without, RenderError when it can't be understood."""
    file = folder / UPSTREAM
    try:
        if file.stat().st_size > LONGEST_FILE:
            raise RenderError(f"{file} is larger than {LONGEST_FILE} bytes")
        return from_json(
            Upstream,
            parse_json(file.read_bytes(), label=UPSTREAM, longest=LONGEST_FILE),
            label=UPSTREAM,
            closed=False,
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RenderError(f"{file} can't be read: {error.strerror}") from error
    except DocumentError as error:
        raise RenderError(
            f"{file}: {error.message}", hint="restore it from git: `git log -- " + UPSTREAM + "`"
        ) from error
