"""Kubernetes YAML on disk, as the check takes it: what `driftloop validate` reads for files and folders."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from driftloop.check import Finding, World, judged
from driftloop.errors import RenderError
from driftloop.text.read import MAX_BYTES

ENDINGS = (".yaml", ".yml")
_API = re.compile(rb"^(?:- |\xef\xbb\xbf)?[\"']?apiVersion[\"']?:[ \t]*[\"']?([\w.\-/]+)", re.MULTILINE)
_JSON = re.compile(rb"\s*\{")
_JSON_API = re.compile(rb"\"apiVersion\"\s*:\s*\"([\w.\-/]+)\"")


@dataclass(frozen=True)
class Checked:
    """What was looked at, and what was found."""

    findings: tuple[Finding, ...]
    files: int
    objects: int
    notes: tuple[str, ...]
    specs: tuple[Path, ...] = ()
    """Specs that stand among the manifests."""


@dataclass(frozen=True)
class Schemas:
    """Schemas of an API server in a folder: JSON, one file per group and version.

    Either with an `index.json` ("apps/v1/Deployment" -> file name; each file `{"roots": …, "schemas": …}`), or as the
    server's own `/openapi/v3/apis/<group>/<version>` answers.
    """

    folder: Path
    _read: dict[str, Any] = field(default_factory=dict, compare=False)

    def find(self, api_version: str, kind: str) -> tuple[Mapping[str, Any], Mapping[str, Mapping[str, Any]]] | None:
        """The schema of a kind and those it refers to."""
        name = f"{api_version}/{kind}"
        file = self._index.get(name)
        if file is None:
            return None
        roots, schemas = self._document(file)
        return ({"$ref": f"#/{roots[name]}"}, schemas) if name in roots else None

    @cached_property
    def _index(self) -> dict[str, str]:
        index = self.folder / "index.json"
        if index.is_file():
            return {str(name): str(file) for name, file in self._json(index).items()}
        files = sorted(self.folder.rglob("*.json"))
        return {
            name: str(file.relative_to(self.folder))
            for file in files
            for name in self._document(str(file.relative_to(self.folder)))[0]
        }

    def _document(self, file: str) -> tuple[dict[str, str], dict[str, Any]]:
        if file not in self._read:
            document = self._json(self.folder / file)
            schemas = document.get("schemas") or document.get("components", {}).get("schemas", {})
            self._read[file] = (document.get("roots") or _roots(schemas), schemas)
        found: tuple[dict[str, str], dict[str, Any]] = self._read[file]
        return found

    def _json(self, file: Path) -> dict[str, Any]:
        try:
            found = json.loads(file.read_bytes())
        except OSError as error:
            raise RenderError(f"{file} can't be read: {error.strerror}") from error
        except ValueError as error:
            raise RenderError(f"{file} is not JSON: {error}") from error
        if not isinstance(found, dict):
            raise RenderError(
                f"{file} holds no schemas", hint="`kubectl get --raw /openapi/v3/apis/apps/v1` writes one"
            )
        return found


def _roots(schemas: Mapping[str, Any]) -> dict[str, str]:
    """ "apps/v1/Deployment" -> schema name, as an API server marks them."""
    return {
        "/".join(part for part in (kind.get("group", ""), kind["version"], kind["kind"]) if part): name
        for name, schema in schemas.items()
        for kind in schema.get("x-kubernetes-group-version-kind", ())
    }


def is_spec(file: Path) -> bool:
    """Whether a file is to be taken for a spec: it says so, or it does not say that it is something else."""
    if file.name in ("kustomization.yaml", "kustomization.yml"):
        return False
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES)
    except OSError:
        return True
    found = (_JSON_API if _JSON.match(content) else _API).findall(content)
    return not found or any(name.startswith(b"driftloop.dev/") for name in found)


def checked(paths: Iterable[Path], *, complete: bool, schemas: Path | None) -> Checked:
    """Everything in these files and folders, each repository taken by itself."""
    roots: dict[Path, list[Path]] = {}
    given = [Path(os.path.abspath(path)) for path in paths]
    for path in given:
        roots.setdefault(_root(path), []).append(path)
    if len(roots) > 1 and not any((root / ".git").exists() for root in roots):
        roots = {Path(os.path.commonpath(list(roots))): given}
    catalogue = Schemas(schemas) if schemas is not None else None
    results = [_checked(root, inside, complete=complete, catalogue=catalogue) for root, inside in roots.items()]
    notes = [] if schemas is not None else ["API schemas are not checked: give them with --schemas DIR"]
    return Checked(
        tuple(finding for result in results for finding in result.findings),
        sum(result.files for result in results),
        sum(result.objects for result in results),
        tuple(dict.fromkeys([*notes, *(note for result in results for note in result.notes)])),
        tuple(spec for result in results for spec in result.specs),
    )


def _checked(root: Path, paths: list[Path], *, complete: bool, catalogue: Schemas | None) -> Checked:
    files: dict[str, bytes] = {}
    others: set[str] = set()
    for path in paths:
        for file in _walk(path):
            name = file.relative_to(root).as_posix()
            if file.suffix in ENDINGS or file == path or _is_object(file):
                files[name] = _content(file)
            else:
                others.add(name)
    within = tuple(path.relative_to(root).as_posix().removeprefix(".") for path in paths if path.is_dir())
    world = World(files, others=frozenset(others), within=within, complete=complete, catalogue=catalogue)
    notes = []
    if world.skipped:
        notes.append(f"{len(world.skipped)} files are templates of YAML and were not read")
    if world.unknown_kinds:
        notes.append(f"no schema for {', '.join(world.unknown_kinds)}")
    shown = {name: os.path.relpath(root / name) for name in files}
    found = tuple(replace(one, path=shown.get(one.path, one.path)) for one in judged(world))
    objects = [one for one in world.objects if one.host is None]
    specs = tuple(Path(shown[one.path]) for one in objects if (one.group, one.kind) == ("driftloop.dev", "Pipeline"))
    return Checked(found, len(files) - len(world.skipped), len(objects), tuple(notes), specs)


def _is_object(file: Path) -> bool:
    """Whether a file is JSON of Kubernetes, among all the other JSON that lies about."""
    if file.suffix != ".json":
        return False
    content = _content(file)
    return b'"kind"' in content and _JSON_API.search(content) is not None


def _root(path: Path) -> Path:
    """The repository a path is in, or the folder that was given."""
    here = path if path.is_dir() else path.parent
    return next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), here)


def _walk(path: Path) -> Iterable[Path]:
    if not path.is_dir():
        if not path.is_file():
            raise RenderError(f"{path} can't be read: there is no such file or folder")
        yield path
        return
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "node_modules")
        for name in sorted(names):
            file = Path(folder, name)
            if file.is_file():
                yield file


def _content(file: Path) -> bytes:
    """A file's bytes; of one that is too large as many as it takes to say so."""
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise RenderError(f"{file} can't be read: {error.strerror}") from error
