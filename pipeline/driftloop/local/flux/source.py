"""The cluster repository as Flux reads it: a branch tip, the Kustomizations of one cluster, the
objects they hold.
"""

import graphlib
import io
import posixpath
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from driftloop.contract.names import FLUX_APPLIED_ONCE, FLUX_NAMESPACE, TOKEN_SECRET
from driftloop.contract.trees import ACCESS, CLUSTER, KUSTOMIZATION
from driftloop.errors import LocalError, PipelineError, RenderError
from driftloop.local.flux import admission
from driftloop.local.ground import binaries, files, kinds
from driftloop.local.ground.files import describe_irregular
from driftloop.local.istio.login import LOGIN_KINDS, refuse_two_gateways, validate_login
from driftloop.local.kubelet import images
from driftloop.render.patches import ObjectPatch, PatchError, apply_all
from driftloop.render.patching import read_kustomization
from driftloop.text.load import load_documents

KUSTOMIZE = "kustomize.toolkit.fluxcd.io"
SOURCE = "source.toolkit.fluxcd.io"

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

KEPT_TREES = 5
"""Checkouts that stay on disk."""

BY_TAG = "images here are made from folders and have no digest: each goes by its tag, whatever its pin says"
MALFORMED = (KeyError, TypeError, ValueError, AttributeError, RecursionError)
"""Errors raised by reading an object of the wrong shape."""

# Kustomizations of the cluster's own parts: the local platform takes their place.
_INFRASTRUCTURE = "infra"

_ACCESS = frozenset(
    {
        ("", "Namespace"),
        ("", "ServiceAccount"),
        ("rbac.authorization.k8s.io", "Role"),
        ("rbac.authorization.k8s.io", "RoleBinding"),
    }
)

_ACTED = frozenset({"path", "prune", "sourceRef", "dependsOn", "suspend"})
_NO_EFFECT = frozenset(
    {
        "interval", "retryInterval", "timeout", "wait", "healthChecks", "healthCheckExprs", "force", "deletionPolicy",
        "serviceAccountName",
    }
)  # fmt: skip


class SourceError(LocalError):
    """A commit can't be fetched now, which says nothing about the commit."""


@dataclass(frozen=True)
class FluxDependency:
    """Another Kustomization that must be ready first."""

    name: str
    once: bool
    """True if it is ready once it was applied at all, and not only at the same commit."""


@dataclass(frozen=True)
class FluxKustomization:
    """A Flux Kustomization: which folder, and after which others."""

    name: str
    namespace: str
    path: str
    depends_on: tuple[FluxDependency, ...]
    suspended: bool
    file: str


@dataclass(frozen=True)
class ReadKustomization:
    """Objects of one Kustomization's folder, or the error that keeps it from being applied."""

    kustomization: FluxKustomization
    objects: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    """Kinds that were accepted without effect, and why."""
    files: Mapping[tuple[str, str, str, str], str] = field(default_factory=dict)
    """Path of the file in the tree that holds an object, by its identity."""
    error: PipelineError | None = None


@dataclass(frozen=True)
class ClusterCommit:
    """One commit of the branch."""

    sha: str
    subject: str = ""
    trailers: Mapping[str, str] = field(default_factory=dict)


class ClusterRepository:
    """A bare repository on this machine, read only."""

    def __init__(self, folder: Path, branch: str, trees: Path) -> None:
        self._folder = folder
        self.branch = branch
        self._trees = trees
        self._git = binaries.find_git()

    def read_tip(self) -> str | None:
        """The branch's commit, or None when there is no such branch.

        LocalError when git's files can't be read, or hold something else.
        """
        name = f"refs/heads/{self.branch}"
        try:
            return self._read_loose(name) or self._read_packed(name)
        except OSError as error:
            raise LocalError(
                f"branch `{self.branch}` of {self._folder} can't be read: {error}",
                hint="it is tried again all the time",
            ) from error

    def _read_loose(self, name: str) -> str | None:
        try:
            text = files.read_file(self._folder / name).decode(errors="replace").strip()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return self._require_commit(name, text)

    def _read_packed(self, name: str) -> str | None:
        try:
            packed = files.read_file(self._folder / "packed-refs").decode(errors="replace")
        except FileNotFoundError:
            return None
        for line in packed.splitlines():
            sha, _, ref = line.partition(" ")
            if ref == name:
                return self._require_commit(name, sha)
        return None

    def _require_commit(self, name: str, text: str) -> str:
        if _COMMIT.fullmatch(text) is None:
            raise LocalError(
                f"{name} of {self._folder} holds {text!r}, which is not a commit",
                hint=f"push the branch again, or `git --git-dir {self._folder} update-ref {name} COMMIT`",
            )
        return text

    def read_commit(self, sha: str) -> ClusterCommit:
        """Subject and trailers of a commit."""
        text = self._run_git(
            "log", "-1", "--format=%s%x00%(trailers:only,unfold)", "--end-of-options", sha
        ).decode(errors="replace")
        subject, _, trailers = text.partition("\0")
        pairs = (line.partition(": ") for line in trailers.splitlines() if ": " in line)
        return ClusterCommit(sha, subject, {name: value for name, _, value in pairs})

    def list_commits_since(self, old: str | None, new: str) -> list[str]:
        """Commits after `old` up to `new`, oldest first; only `new` when `old` is not an
        ancestor."""
        if old is None:
            return [new]
        result = (
            self._run_git(
                "rev-list",
                "--reverse",
                "--first-parent",
                "--end-of-options",
                f"{old}..{new}",
                check=False,
            )
            .decode()
            .split()
        )
        return result or [new]

    def check_out_tree(self, sha: str, *, anew: bool = False) -> Path:
        """A checkout of the commit, made on first use, or again; older ones are removed."""
        folder = self._trees / sha
        if anew:
            shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            archive = self._run_git("archive", "--format=tar", "--end-of-options", sha)
            temporary = self._trees / f".{sha}"
            shutil.rmtree(temporary, ignore_errors=True)
            try:
                temporary.mkdir(parents=True)
                # tarfile takes an archive without files for a damaged one
                if self._run_git("ls-tree", "--end-of-options", sha):
                    _extract_archive(archive, temporary, sha)
                temporary.rename(folder)
            except (OSError, tarfile.TarError) as error:
                raise SourceError(f"{folder} can't be written: {error}") from error
        for old in sorted(self._trees.glob("[0-9a-f]*"), key=lambda path: path.stat().st_mtime)[
            :-KEPT_TREES
        ]:
            if old != folder:
                shutil.rmtree(old, ignore_errors=True)
        return folder

    def _run_git(self, *arguments: str, check: bool = True) -> bytes:
        try:
            result = subprocess.run(
                [self._git, f"--git-dir={self._folder}", *arguments],
                capture_output=True,
                check=False,
            )
        except OSError as error:
            raise SourceError(f"git {arguments[0]} can't be started: {error}") from error
        if check and result.returncode != 0:
            words = result.stderr.decode(errors="replace").strip()
            raise SourceError(
                f"git {arguments[0]} in {self._folder}: {words}", hint="is the repository whole?"
            )
        return result.stdout


def _extract_archive(archive: bytes, folder: Path, sha: str) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            _refuse_outside(member, sha)
        # Python 3.11.3 and older have no filters and ignore this
        tar.extraction_filter = lambda member, path: member
        tar.extractall(folder)  # noqa: S202 - every member was looked at


def _refuse_outside(member: tarfile.TarInfo, sha: str) -> None:
    """Raise LocalError for a link that leaves the tree; git itself refuses such paths of files."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(member.name), member.linkname))
    if member.issym() and (member.linkname.startswith("/") or target.split("/")[0] == ".."):
        raise LocalError(
            f"commit {sha[:12]}: `{member.name}` is a link to `{member.linkname}`",
            hint="links must stay inside the repository",
        )


def read_kustomizations(tree: Path, cluster: str) -> tuple[ReadKustomization, ...]:
    """All Kustomizations of a cluster in an order that respects dependsOn, each with its objects or
    its error.

    LocalError when the cluster's own folder can't be read: then nothing of the commit counts.
    """
    try:
        return _read_cluster(tree, cluster)
    except MALFORMED as error:
        raise build_shape_error(f"{CLUSTER}/{cluster}", error) from error


def build_shape_error(where: str, error: Exception) -> LocalError:
    """A shape that an API server would have refused, met while reading it."""
    return LocalError(
        f"{where}: an object has the wrong shape: {type(error).__name__}: {error}",
        hint="check the tree with the API's schemas",
    )


def _read_cluster(tree: Path, cluster: str) -> tuple[ReadKustomization, ...]:
    root = tree / CLUSTER / cluster
    if not root.is_dir():
        raise LocalError(
            f"{CLUSTER}/{cluster} does not exist in this commit",
            hint="`driftloop commit SPEC` writes it",
        )
    kustomizations: dict[str, FluxKustomization] = {}
    for file in sorted(root.rglob("*.yaml")):
        if FLUX_NAMESPACE in file.relative_to(root).parts:
            continue
        if file.parent == root / ACCESS:
            continue
        for item in _read_documents(file, tree):
            if kinds.object_kind(item)[0] == SOURCE:
                continue
            kustomization = _parse_kustomization(item, file.relative_to(tree).as_posix())
            if kustomization.name in kustomizations:
                raise LocalError(
                    f"{kustomization.file}: Kustomization {kustomization.name} is also in "
                    f"{kustomizations[kustomization.name].file}",
                    hint="names are unique in a cluster",
                )
            kustomizations[kustomization.name] = kustomization
    entries: list[ReadKustomization] = []
    owners: dict[tuple[str, str, str, str], str] = {}
    for kustomization in _order_kustomizations(kustomizations):
        if kustomization.name.startswith(_INFRASTRUCTURE):
            note = f"Kustomization {kustomization.name}: the local platform takes its place"
            entries.append(ReadKustomization(kustomization, notes=(note,)))
            continue
        entry = _read_objects_or_error(kustomization, tree)
        for item in entry.objects:
            if (
                owner := owners.setdefault(kinds.object_identity(item), kustomization.name)
            ) != kustomization.name:
                error = LocalError(
                    f"{kustomization.path}: {kinds.format_object(item)} also belongs to Kustomization {owner}",
                    hint="two Kustomizations must not hold the same object",
                )
                entry = ReadKustomization(kustomization, error=error)
        entries.append(entry)
    return tuple(entries)


def read_logins(tree: Path, cluster: str) -> tuple[dict[str, Any], ...]:
    """Return the gateway's RequestAuthentications and AuthorizationPolicies of a cluster.

    LocalError for what the gateway here would not do, and for anything else beside them but
    namespaces, accounts, their rights and their tokens: here everything runs as one user, and what a
    step is given is in its template.
    """
    files = sorted((tree / CLUSTER / cluster / ACCESS).glob("*.yaml"))
    try:
        logins = tuple(item for file in files for item in _read_file_logins(file, tree))
        refuse_two_gateways(logins)
    except MALFORMED as error:
        raise build_shape_error(f"{CLUSTER}/{cluster}/{ACCESS}", error) from error
    return logins


def _read_file_logins(file: Path, tree: Path) -> Iterator[dict[str, Any]]:
    name = file.relative_to(tree).as_posix()
    for item in _read_documents(file, tree):
        if kinds.object_kind(item) in LOGIN_KINDS:
            try:
                validate_login(item)
            except LocalError as error:
                raise admission.locate_error(name, error) from error
            yield item
        elif kinds.object_kind(item) not in _ACCESS and item.get("type") != TOKEN_SECRET:
            raise LocalError(
                f"{name}: {kinds.format_object(item)} among namespaces, accounts and the gateway's login",
                hint=f"what a pipeline runs belongs in its own folders, not under {CLUSTER}/",
            )


def _parse_kustomization(item: Mapping[str, Any], file: str) -> FluxKustomization:
    group, kind = kinds.object_kind(item)
    if (group, kind) != (KUSTOMIZE, "Kustomization"):
        raise LocalError(
            f"{file}: {kind or 'an object without kind'} among the cluster's Kustomizations",
            hint="only Flux Kustomizations belong under cluster/<cluster>/",
        )
    name = item["metadata"]["name"]
    spec = item.get("spec") or {}
    for field_name in spec:
        if field_name not in _ACTED | _NO_EFFECT:
            raise LocalError(
                f"{file}: Kustomization {name}: `spec.{field_name}` is not supported by the local runtime",
                hint=f"supported: {', '.join(sorted(_ACTED | _NO_EFFECT))}",
            )
    if spec.get("prune") is not True:
        raise LocalError(
            f"{file}: Kustomization {name}: spec.prune must be true here",
            hint="write `prune: true`",
        )
    return FluxKustomization(
        name=name,
        namespace=item["metadata"].get("namespace", FLUX_NAMESPACE),
        path=str(spec.get("path", "")).removeprefix("./").strip("/"),
        depends_on=tuple(
            _parse_dependency(entry, f"{file}: Kustomization {name}")
            for entry in spec.get("dependsOn") or ()
        ),
        suspended=bool(spec.get("suspend", False)),
        file=file,
    )


def _parse_dependency(entry: Mapping[str, Any], where: str) -> FluxDependency:
    for field_name in entry:
        if field_name not in ("name", "readyExpr"):
            raise LocalError(
                f"{where}: `spec.dependsOn[].{field_name}` is not understood by the local runtime",
                hint="supported: name, readyExpr",
            )
    expression = entry.get("readyExpr")
    if expression not in (None, FLUX_APPLIED_ONCE):
        raise LocalError(
            f"{where}: `spec.dependsOn[].readyExpr` `{expression}` is not understood by the local "
            "runtime",
            hint=f"must be one of: {FLUX_APPLIED_ONCE}",
        )
    return FluxDependency(entry["name"], once=expression is not None)


def _order_kustomizations(
    kustomizations: Mapping[str, FluxKustomization],
) -> list[FluxKustomization]:
    sorter: graphlib.TopologicalSorter[str] = graphlib.TopologicalSorter()
    for name, kustomization in sorted(kustomizations.items()):
        sorter.add(name)
        for other in (dependency.name for dependency in kustomization.depends_on):
            if other in kustomizations:
                sorter.add(name, other)
            elif not other.startswith(_INFRASTRUCTURE):
                raise LocalError(
                    f"{kustomization.file}: Kustomization {name} depends on {other}, which does not exist",
                    hint=f"must be one of: {', '.join(sorted(kustomizations))}",
                )
    try:
        return [kustomizations[name] for name in sorter.static_order()]
    except graphlib.CycleError as error:
        # each name of the cycle is a dependency of the next
        circle = " -> ".join(reversed(error.args[1]))
        raise LocalError(
            f"Kustomizations depend on each other in a circle: {circle}",
            hint="remove one `dependsOn`",
        ) from error


def _read_objects_or_error(kustomization: FluxKustomization, tree: Path) -> ReadKustomization:
    try:
        return _read_objects(kustomization, tree)
    except LocalError as error:
        return ReadKustomization(kustomization, error=error)
    except MALFORMED as error:
        return ReadKustomization(kustomization, error=build_shape_error(kustomization.path, error))


def _read_objects(kustomization: FluxKustomization, tree: Path) -> ReadKustomization:
    folder = tree / kustomization.path
    if not folder.is_dir():
        raise LocalError(
            f"{kustomization.file}: Kustomization {kustomization.name}: path {kustomization.path} does not exist",
            hint="a folder goes after its Kustomization: `driftloop remove NAME` keeps that order",
        )
    objects: list[dict[str, Any]] = []
    files: dict[tuple[str, str, str, str], str] = {}
    patches = _read_patches(folder, tree)
    applied = f"patches of {kustomization.path}/{KUSTOMIZATION} are applied: {len(patches)}"
    notes = [applied] if patches else []
    for file in _list_files(folder, tree, patched=True):
        name = file.relative_to(tree).as_posix()
        for written in _read_documents(file, tree):
            item = _patch_object(written, patches, name)
            if not (item.get("metadata") or {}).get("name"):
                raise LocalError(
                    f"{name}: {item.get('kind')} without metadata.name",
                    hint="every object needs a name",
                )
            reason = admission.admit_object(item, name)
            if reason is None:
                objects.append(item)
                files[kinds.object_identity(item)] = name
                notes += [BY_TAG] if any(map(images.by_digest, _find_image_refs(item))) else []
            else:
                notes.append(f"{item['kind']} has no effect here: {reason}")
    return ReadKustomization(kustomization, tuple(objects), tuple(dict.fromkeys(notes)), files)


def _find_image_refs(value: Any) -> Iterator[str]:
    """Yield every value of a key `image`."""
    if isinstance(value, list):
        for item in value:
            yield from _find_image_refs(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "image" and isinstance(item, str):
                yield item
            else:
                yield from _find_image_refs(item)


def _read_patches(folder: Path, tree: Path) -> tuple[ObjectPatch, ...]:
    """Return the patches of a folder's kustomization.yaml."""
    listing = folder / KUSTOMIZATION
    if not listing.exists():
        return ()
    name = listing.relative_to(tree).as_posix()
    (content,) = _read_documents(listing, tree) or ({},)
    try:
        return read_kustomization(content, name)
    except RenderError as error:
        raise LocalError(error.message, hint=error.hint) from error


def _patch_object(
    item: dict[str, Any], patches: tuple[ObjectPatch, ...], name: str
) -> dict[str, Any]:
    """Return an object as kustomize builds it; LocalError where a patch can't be applied."""
    try:
        return apply_all(item, patches)
    except PatchError as error:
        raise LocalError(
            f"{name}: a patch of {KUSTOMIZATION}: {error.message}", hint=error.hint
        ) from error


def _list_files(folder: Path, tree: Path, *, patched: bool = False) -> list[Path]:
    """Return the files that kustomize would build.

    They are the listed resources, or every YAML file below a folder without a list. `patched` is the folder whose
    patches are applied: patches of folders in it are not supported.
    """
    listing = folder / KUSTOMIZATION
    if not listing.exists():
        return sorted(folder.rglob("*.yaml"))
    name = listing.relative_to(tree).as_posix()
    (content,) = _read_documents(listing, tree) or ({},)
    for field_name in content:
        if field_name not in (
            "apiVersion",
            "kind",
            "resources",
            *(("patches",) if patched else ()),
        ):
            raise LocalError(
                f"{name}: `{field_name}` is not supported by the local runtime",
                hint="list plain files in `resources`",
            )
    files: list[Path] = []
    for entry in content.get("resources") or ():
        target = (folder / entry).resolve()
        if not target.is_relative_to(tree.resolve()) or not target.exists():
            raise LocalError(
                f"{name}: resource {entry} does not exist",
                hint="paths are relative to the kustomization.yaml",
            )
        files += (
            _list_files(target, tree)
            if target.is_dir()
            else [tree / target.relative_to(tree.resolve())]
        )
    return files


def _read_documents(file: Path, tree: Path) -> list[dict[str, Any]]:
    name = file.relative_to(tree).as_posix()
    hint = "nothing of this folder is applied"
    if not file.is_file():
        kind = describe_irregular(file.resolve()) or "a link to nothing"
        raise LocalError(f"{name} is {kind}, must be a regular file", hint=hint)
    documents = load_documents(file.read_bytes(), name, error=LocalError, hint=hint)
    objects: list[dict[str, Any]] = []
    for item in documents:
        if not isinstance(item, dict):
            raise LocalError(
                f"{name}: a document is not an object",
                hint="every document needs apiVersion and kind",
            )
        if item.get("kind") == "List":
            objects += item.get("items") or []
        else:
            objects.append(item)
    return objects
