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
    is_text_map,
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
        is_texts(lines) and not {"", ".", ".."} & set(path.split("/"))
        for path, lines in value.items()
    )


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
    paths: dict[str, str] | None = document_key(
        "paths",
        "folders by cluster, or null",
        lambda value: value is None or is_text_map(value),
        default=None,
        omits_none=True,
    )
    """Cluster -> folder that Flux reads, of those that are not below `cluster/`."""
    files: dict[str, str] = document_key(
        "files",
        "lists of lines by path",
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
            paths=dict(settings.paths) or None,
            files=write_layout(settings),
        )

    @property
    def settings(self) -> PlatformSettings:
        """What the files were filled in with."""
        return PlatformSettings(self.clusters, self.registry, self.paths or {})

    def format(self) -> str:
        """Return the record as JSON, one line of a file on a line."""
        return json.dumps(to_json(self), indent=1, ensure_ascii=False) + "\n"


def read_upstream(folder: Path) -> Upstream | None:
    """Read the record of a repository; None without, RenderError when it can't be understood."""
    file = folder / UPSTREAM
    try:
        if file.stat().st_size > LONGEST_FILE:
            raise RenderError(f"{file} is larger than {LONGEST_FILE} bytes")
        found = from_json(
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
            f"{file}: {error.message}", hint=f"restore it from git: `git log -- {UPSTREAM}`"
        ) from error
    homes = (trees.CLUSTER, *(found.paths or {}).values())
    for path in found.files:
        if path != trees.SOURCE_IGNORE and not path.startswith(tuple(f"{h}/" for h in homes)):
            raise RenderError(
                f"{file}: files has `{path}`, must be below: {', '.join(homes)}",
                hint=f"restore it from git: `git log -- {UPSTREAM}`",
            )
    return found
