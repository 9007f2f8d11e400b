"""Read Kubernetes YAML from files and folders, and validate it."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from driftloop.check import Finding, World, check_world
from driftloop.check.ignoring import leave_out
from driftloop.contract import trees
from driftloop.contract.names import API_GROUP
from driftloop.errors import RenderError
from driftloop.operations.project.linting import LintSettings
from driftloop.platform.file import is_platform
from driftloop.text.read import MAX_BYTES

NO_SCHEMAS = "API schemas are not checked: name them with --schemas DIR"
ENDINGS = (".yaml", ".yml")
_API = re.compile(
    rb"^(?:- |\xef\xbb\xbf)?[\"']?apiVersion[\"']?:[ \t]*[\"']?([\w.\-/]+)", re.MULTILINE
)
_JSON = re.compile(rb"\s*\{")
_JSON_API = re.compile(rb"\"apiVersion\"\s*:\s*\"([\w.\-/]+)\"")


@dataclass(frozen=True)
class ManifestReport:
    """Findings in files, and the numbers of files and objects."""

    findings: tuple[Finding, ...]
    files: int
    objects: int
    notes: tuple[str, ...]
    specs: tuple[Path, ...] = ()
    """Specs among the manifests."""
    platforms: Mapping[Path, str] = field(default_factory=dict)
    """Platform files among the manifests: the path of each, and its path in the repository."""
    ignored: int = 0
    """Findings that comments, options or settings leave out."""
    unread: Mapping[str, int] = field(default_factory=dict)
    """Number of objects by kind that no rule knows."""


@dataclass(frozen=True)
class SchemaFolder:
    """Schemas of an API server in a folder: JSON, one file per group and version.

    Either with an `index.json` ("apps/v1/Deployment" -> file name; each file `{"roots": …,
    "schemas": …}`), or as the server's own `/openapi/v3/apis/<group>/<version>` answers.
    """

    folder: Path
    _read: dict[str, Any] = field(default_factory=dict, compare=False)

    def find_schema(
        self, api_version: str, kind: str
    ) -> tuple[Mapping[str, Any], Mapping[str, Mapping[str, Any]]] | None:
        """Return the schema of a kind and the schemas it refers to; None when it is not defined."""
        name = f"{api_version}/{kind}"
        file = self._schema_files.get(name)
        if file is None:
            return None
        roots, schemas = self._read_schemas(file)
        return ({"$ref": f"#/{roots[name]}"}, schemas) if name in roots else None

    @cached_property
    def _schema_files(self) -> dict[str, str]:
        index = self.folder / "index.json"
        if index.is_file():
            return {str(name): str(file) for name, file in self._read_json(index).items()}
        files = sorted(self.folder.rglob("*.json"))
        return {
            name: str(file.relative_to(self.folder))
            for file in files
            for name in self._read_schemas(str(file.relative_to(self.folder)))[0]
        }

    def _read_schemas(self, file: str) -> tuple[dict[str, str], dict[str, Any]]:
        if file not in self._read:
            document = self._read_json(self.folder / file)
            schemas = document.get("schemas") or document.get("components", {}).get("schemas", {})
            self._read[file] = (document.get("roots") or _list_roots(schemas), schemas)
        document_schemas: tuple[dict[str, str], dict[str, Any]] = self._read[file]
        return document_schemas

    def _read_json(self, file: Path) -> dict[str, Any]:
        try:
            document = json.loads(file.read_bytes())
        except OSError as error:
            raise RenderError(f"{file} can't be read: {error.strerror}") from error
        except ValueError as error:
            raise RenderError(f"{file} is not JSON: {error}") from error
        if not isinstance(document, dict):
            raise RenderError(
                f"{file} has no schemas",
                hint="`kubectl get --raw /openapi/v3/apis/apps/v1` writes one",
            )
        return document


def _list_roots(schemas: Mapping[str, Any]) -> dict[str, str]:
    """Return schema names by "apps/v1/Deployment", as an API server marks them."""
    return {
        "/".join(
            part for part in (kind.get("group", ""), kind["version"], kind["kind"]) if part
        ): name
        for name, schema in schemas.items()
        for kind in schema.get("x-kubernetes-group-version-kind", ())
    }


def is_spec(file: Path) -> bool:
    """Return True for a file whose apiVersion is ours, or that has none; False for a platform file."""
    if file.name in (trees.KUSTOMIZATION, "kustomization.yml"):
        return False
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES)
    except OSError:
        return True
    if is_platform(content.decode("utf-8", "replace")):
        return False
    versions = (_JSON_API if _JSON.match(content) else _API).findall(content)
    return not versions or any(version.startswith(b"driftloop.dev/") for version in versions)


def check_text(content: bytes, name: str, settings: LintSettings) -> ManifestReport:
    """Validate a stream of objects by itself; `name` is what findings call it."""
    catalogue = SchemaFolder(settings.schemas) if settings.schemas is not None else None
    world = World({name: content}, complete=settings.complete, catalogue=catalogue)
    return _report_world(world, {name: content}, {}, settings)


def check_paths(
    paths: Iterable[Path],
    settings: LintSettings,
    *,
    instead: Mapping[Path, bytes] = MappingProxyType({}),
) -> ManifestReport:
    """Validate everything in these files and folders, each git repository by itself; `instead` has contents that
    count in place of what files have, by absolute path."""
    schemas = settings.schemas
    roots: dict[Path, list[Path]] = {}
    absolute = [Path(os.path.abspath(path)) for path in paths]
    for path in absolute:
        roots.setdefault(_find_root(path), []).append(path)
    if len(roots) > 1 and not any((root / ".git").exists() for root in roots):
        roots = {Path(os.path.commonpath(list(roots))): absolute}
    catalogue = SchemaFolder(schemas) if schemas is not None else None
    results = [
        _check_root(root, inside, settings, catalogue, instead) for root, inside in roots.items()
    ]
    notes = [] if schemas is not None else [NO_SCHEMAS]
    return join_reports(results, notes)


def join_reports(reports: Sequence[ManifestReport], notes: Sequence[str] = ()) -> ManifestReport:
    """Return one report of several, each note once."""
    unread: Counter[str] = Counter()
    for report in reports:
        unread.update(report.unread)
    return ManifestReport(
        tuple(finding for report in reports for finding in report.findings),
        sum(report.files for report in reports),
        sum(report.objects for report in reports),
        tuple(dict.fromkeys([*notes, *(note for report in reports for note in report.notes)])),
        tuple(spec for report in reports for spec in report.specs),
        {path: name for report in reports for path, name in report.platforms.items()},
        sum(report.ignored for report in reports),
        dict(sorted(unread.items())),
    )


def list_contents(paths: Iterable[Path], settings: LintSettings) -> dict[Path, bytes]:
    """Return the files that `check_paths` reads, by absolute path."""
    return {
        file: _read_content(file)
        for path in map(os.path.abspath, paths)
        for file, is_read in _select_files(Path(path), settings)
        if is_read
    }


def _select_files(path: Path, settings: LintSettings) -> Iterator[tuple[Path, bool]]:
    """Yield the files of a path that are not left out, and whether each is read."""
    for file in _list_files(path):
        if file == path or not settings.is_excluded(file):
            yield file, file.suffix in ENDINGS or file == path or _is_object(file)


def _check_root(
    root: Path,
    paths: list[Path],
    settings: LintSettings,
    catalogue: SchemaFolder | None,
    instead: Mapping[Path, bytes],
) -> ManifestReport:
    files: dict[str, bytes] = {}
    others: set[str] = set()
    for path in paths:
        for file, is_read in _select_files(path, settings):
            name = file.relative_to(root).as_posix()
            if is_read:
                files[name] = instead[file] if file in instead else _read_content(file)
            else:
                others.add(name)
    within = tuple(
        path.relative_to(root).as_posix().removeprefix(".") for path in paths if path.is_dir()
    )
    world = World(
        files,
        others=frozenset(others),
        within=within,
        complete=settings.complete,
        catalogue=catalogue,
    )
    return _report_world(
        world, files, {name: os.path.relpath(root / name) for name in files}, settings
    )


def _report_world(
    world: World, files: Mapping[str, bytes], shown: Mapping[str, str], settings: LintSettings
) -> ManifestReport:
    """Return what a world's rules find; `shown` are paths as people call them."""
    notes = []
    if world.skipped:
        notes.append(f"{len(world.skipped)} files are templates of YAML and were not read")
    if world.unknown_kinds:
        notes.append(f"no schema for {', '.join(world.unknown_kinds)}")
    texts = {
        shown.get(name, name): content.decode("utf-8", "replace")
        for name, content in files.items()
        if b"driftloop:" in content
    }
    found = (
        replace(finding, path=shown.get(finding.path, finding.path))
        for finding in check_world(world)
    )
    findings, ignored, unknown = leave_out(found, texts, settings.ignore)
    notes += unknown
    unread = Counter(
        f"{item.node.get('apiVersion').text} {item.kind}" for item in world.list_unread()
    )
    objects = [item for item in world.objects if item.host is None]
    ours = [item for item in objects if item.group == API_GROUP and item.path in shown]
    return ManifestReport(
        findings,
        len(files) - len(world.skipped),
        len(objects),
        tuple(notes),
        tuple(Path(shown[item.path]) for item in ours if item.kind == "Pipeline"),
        {Path(shown[item.path]): item.path for item in ours if item.kind == "Platform"},
        ignored,
        dict(sorted(unread.items())),
    )


def _is_object(file: Path) -> bool:
    """Return True for a JSON file of Kubernetes, among other JSON."""
    if file.suffix != ".json":
        return False
    content = _read_content(file)
    return b'"kind"' in content and _JSON_API.search(content) is not None


def _find_root(path: Path) -> Path:
    """Return the git repository of a path, or else its folder."""
    here = path if path.is_dir() else path.parent
    return next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), here)


def _list_files(path: Path) -> Iterable[Path]:
    if not path.is_dir():
        if not path.is_file():
            raise RenderError(f"{path} can't be read: it does not exist")
        yield path
        return
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name != "node_modules"
        )
        for name in sorted(names):
            file = Path(folder, name)
            if file.is_file():
                yield file


def _read_content(file: Path) -> bytes:
    """Return the bytes of a file, at most one more than is allowed."""
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise RenderError(f"{file} can't be read: {error.strerror}") from error
