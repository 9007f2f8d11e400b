"""Read Kubernetes YAML from files and folders, and validate it."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from driftloop.check import Finding, World, check_world
from driftloop.contract import trees
from driftloop.errors import RenderError
from driftloop.text.read import MAX_BYTES

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
    """Return True for a file whose apiVersion is ours, or that has none."""
    if file.name in (trees.KUSTOMIZATION, "kustomization.yml"):
        return False
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES)
    except OSError:
        return True
    versions = (_JSON_API if _JSON.match(content) else _API).findall(content)
    return not versions or any(version.startswith(b"driftloop.dev/") for version in versions)


def check_paths(paths: Iterable[Path], *, complete: bool, schemas: Path | None) -> ManifestReport:
    """Validate everything in these files and folders, each git repository by itself."""
    roots: dict[Path, list[Path]] = {}
    absolute = [Path(os.path.abspath(path)) for path in paths]
    for path in absolute:
        roots.setdefault(_find_root(path), []).append(path)
    if len(roots) > 1 and not any((root / ".git").exists() for root in roots):
        roots = {Path(os.path.commonpath(list(roots))): absolute}
    catalogue = SchemaFolder(schemas) if schemas is not None else None
    results = [
        _check_root(root, inside, complete=complete, catalogue=catalogue)
        for root, inside in roots.items()
    ]
    notes = (
        [] if schemas is not None else ["API schemas are not checked: name them with --schemas DIR"]
    )
    return ManifestReport(
        tuple(finding for result in results for finding in result.findings),
        sum(result.files for result in results),
        sum(result.objects for result in results),
        tuple(dict.fromkeys([*notes, *(note for result in results for note in result.notes)])),
        tuple(spec for result in results for spec in result.specs),
    )


def _check_root(
    root: Path, paths: list[Path], *, complete: bool, catalogue: SchemaFolder | None
) -> ManifestReport:
    files: dict[str, bytes] = {}
    others: set[str] = set()
    for path in paths:
        for file in _list_files(path):
            name = file.relative_to(root).as_posix()
            if file.suffix in ENDINGS or file == path or _is_object(file):
                files[name] = _read_content(file)
            else:
                others.add(name)
    within = tuple(
        path.relative_to(root).as_posix().removeprefix(".") for path in paths if path.is_dir()
    )
    world = World(
        files, others=frozenset(others), within=within, complete=complete, catalogue=catalogue
    )
    notes = []
    if world.skipped:
        notes.append(f"{len(world.skipped)} files are templates of YAML and were not read")
    if world.unknown_kinds:
        notes.append(f"no schema for {', '.join(world.unknown_kinds)}")
    shown = {name: os.path.relpath(root / name) for name in files}
    findings = tuple(
        replace(finding, path=shown.get(finding.path, finding.path))
        for finding in check_world(world)
    )
    objects = [item for item in world.objects if item.host is None]
    pipelines = [
        item for item in objects if (item.group, item.kind) == ("driftloop.dev", "Pipeline")
    ]
    specs = tuple(Path(shown[item.path]) for item in pipelines)
    return ManifestReport(
        findings, len(files) - len(world.skipped), len(objects), tuple(notes), specs
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
