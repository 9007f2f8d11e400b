"""DL7xx: Flux's Kustomizations and sources, and kustomization.yaml."""

import posixpath
from collections.abc import Iterator

from driftloop.check.finding import RuleMatch, Severity, rule
from driftloop.check.world import FLUX, HELM, KUSTOMIZATION_FILES, File, Object, World, is_object
from driftloop.text.node import YamlNode
from driftloop.text.words import suggest_names

_SOURCES = (
    "GitRepository",
    "OCIRepository",
    "Bucket",
    "HelmRepository",
    "HelmChart",
    "ExternalArtifact",
)
_LISTS = (
    "resources",
    "components",
    "bases",
    "crds",
    "configurations",
    "transformers",
    "generators",
    "validators",
)


@rule(
    "DL701",
    "A Flux Kustomization's path is not in the tree",
    fix="correct the path; it counts from the repository's root",
)
def path(world: World) -> Iterator[RuleMatch]:
    """Flux reports `kustomization path not found`: nothing is applied, and nothing of what it
    applied before is removed."""
    for kustomization in world.of(FLUX):
        node = kustomization.spec.get("path")
        folder = posixpath.normpath(node.text.lstrip("/")).lstrip("/")
        if not node.text or "$" in node.text or folder == "." or not _own(world, kustomization):
            continue
        places = [posixpath.join(root, folder) for root in _roots(kustomization.path)]
        first = folder.partition("/")[0]
        judged = [
            root
            for root in _roots(kustomization.path)
            if posixpath.join(root, first) in world.folders
            and world.given(posixpath.join(root, first))
        ]
        if judged and not any(place in world.folders for place in places):
            place = posixpath.join(judged[0], folder)
            there = [
                other
                for other in world.folders
                if posixpath.dirname(other) == posixpath.dirname(place) and other
            ]
            yield kustomization.at(
                node, f"folder `{place}` does not exist", fix=suggest_names(place, there)
            )


def _roots(path_: str) -> list[str]:
    """The folders around a file, nearest first: any of them may be the repository's root."""
    roots = []
    while path_:
        path_ = posixpath.dirname(path_)
        roots.append(path_)
    return roots


def _own(world: World, one: Object) -> bool:
    """Return True if a Kustomization reads this repository: its own Flux's source, or the only
    one."""
    source = one.spec.get("sourceRef")
    if source.get("kind").text != "GitRepository":
        return False
    others = [
        other
        for other in world.of(("source.toolkit.fluxcd.io", "GitRepository"))
        if other.name == source.get("name").text
    ]
    return source.get("name").text == "flux-system" or not others


@rule(
    "DL702",
    "A Flux object waits for one that is not there",
    fix="name a Kustomization, or HelmRelease, of the same kind and namespace",
)
def depends(world: World) -> Iterator[RuleMatch]:
    """It stays `dependency … not found` for ever: nothing of it is applied."""
    for kind in (FLUX, HELM):
        items = list(world.of(kind))
        crossing = _crossing(items)
        for entry in items:
            for item in entry.spec.get("dependsOn").list:
                name = item.get("name")
                where = item.get("namespace").text or entry.namespace
                if world.named(kind, name.text, where) or not name.text or "$" in name.text:
                    continue
                if world.complete or crossing or _above(items, entry):
                    names = [other.name for other in items if other.namespace == where]
                    yield entry.at(
                        name,
                        f"no {entry.kind} {name.shown} in namespace `{where}`",
                        fix=suggest_names(name.text, names),
                    )


def _crossing(found: list[Object]) -> bool:
    """Return True if stages in different files wait for each other, so that the stages are in
    the set."""
    paths: dict[tuple[str, str], set[str]] = {}
    for entry in found:
        paths.setdefault((entry.namespace, entry.name), set()).add(entry.path)
    return any(
        entry.path
        not in paths.get(
            (item.get("namespace").text or entry.namespace, item.get("name").text), {entry.path}
        )
        for entry in found
        for item in entry.spec.get("dependsOn").list
    )


def _above(found: list[Object], one: Object) -> bool:
    """Return True if a folder above holds stages too: the one that the cluster reads first."""
    here = posixpath.dirname(one.path)
    return any(
        other.path != one.path and here.startswith(f"{posixpath.dirname(other.path)}/")
        for other in found
        if posixpath.dirname(other.path)
    )


@rule(
    "DL703",
    "Flux objects wait for each other in a circle",
    fix="take one `dependsOn` of the circle away",
)
def circle(world: World) -> Iterator[RuleMatch]:
    """Each waits until the next is ready: none of them is ever applied."""
    for kind in (FLUX, HELM):
        waits: dict[tuple[str, str], list[tuple[tuple[str, str], Object, YamlNode]]] = {}
        for entry in world.of(kind):
            own = waits.setdefault((entry.namespace, entry.name), [])
            for item in entry.spec.get("dependsOn").list:
                own.append(
                    (
                        (item.get("namespace").text or entry.namespace, item.get("name").text),
                        entry,
                        item.get("name"),
                    )
                )
        reported: set[frozenset[tuple[str, str]]] = set()
        for first in waits:
            yield from _circles(waits, first, reported)


def _circles(
    waits: dict[tuple[str, str], list[tuple[tuple[str, str], Object, YamlNode]]],
    first: tuple[str, str],
    reported: set[frozenset[tuple[str, str]]],
) -> Iterator[RuleMatch]:
    """The circle through one object, once."""
    seen = {first}
    stack = [(target, [first], (item, node)) for target, item, node in waits[first]]
    while stack:
        here, path_, (item, node) = stack.pop()
        if here == first:
            members = frozenset(path_)
            if members not in reported:
                reported.add(members)
                yield item.at(node, " -> ".join([*(name for _, name in path_), first[1]]))
            return
        if here not in seen:
            seen.add(here)
            stack += [
                (target, [*path_, here], (item, node)) for target, _, _ in waits.get(here, [])
            ]


@rule(
    "DL704",
    "A Flux object's source is not there",
    fix="commit the source, or name one that is there",
)
def source(world: World) -> Iterator[RuleMatch]:
    """It stays `Source … not found`: nothing is ever fetched or applied."""
    for item in world.of(FLUX, HELM):
        for node in (
            item.spec.get("sourceRef"),
            item.spec.get("chart", "spec", "sourceRef"),
            item.spec.get("chartRef"),
        ):
            kind = node.get("kind").text
            name = node.get("name")
            where = node.get("namespace").text or item.namespace
            if (
                kind not in _SOURCES
                or not name.text
                or "$" in name.text
                or name.text == "flux-system"
            ):
                continue
            target = ("source.toolkit.fluxcd.io", kind)
            same = [other.name for other in world.of(target) if other.namespace == where]
            if not world.named(target, name.text, where) and (
                world.complete or (same and _declared(world, where))
            ):
                yield item.at(
                    name,
                    f"no {kind} {name.shown} in namespace `{where}`",
                    fix=suggest_names(name.text, same),
                )


def _declared(world: World, namespace: str) -> bool:
    return any(declared.name == namespace for declared in world.of(("", "Namespace")))


@rule(
    "DL711",
    "A kustomization.yaml lists what does not exist",
    fix="list files and folders that exist, relative to the file",
)
def listed_files(world: World) -> Iterator[RuleMatch]:
    """The build fails: nothing of the folder is applied."""
    for folder, kustomization in world.kustomizations.items():
        where = world.kustomization_file(folder)
        for node in _entries(kustomization):
            target = posixpath.normpath(posixpath.join(folder, node.text))
            if (
                "://" in node.text
                or "\n" in node.text
                or node.text.startswith(("github.com/", "git@", "/"))
                or "?ref=" in node.text
            ):
                continue
            if not target.startswith("..") and world.given(target) and not world.exists(target):
                there = [
                    posixpath.relpath(other, folder or ".")
                    for other in world.paths
                    if posixpath.dirname(other) == posixpath.dirname(target)
                ]
                line, column = node.place
                yield RuleMatch(
                    where,
                    line,
                    column,
                    "",
                    f"{node.shown} does not exist",
                    suggest_names(node.text, there),
                )


def _entries(kustomization: YamlNode) -> Iterator[YamlNode]:
    """Every path that a kustomization.yaml names."""
    for field in _LISTS:
        yield from (node for node in kustomization.get(field).list if node.text)
    for field in ("patches", "replacements"):
        yield from (
            node.get("path") for node in kustomization.get(field).list if node.get("path").text
        )
    for node in kustomization.get("patchesStrategicMerge").list:
        if node.text and "\n" not in node.text:
            yield node
    for node in kustomization.get("patchesJson6902").list:
        if node.get("path").text:
            yield node.get("path")
    for field in ("configMapGenerator", "secretGenerator"):
        for node in kustomization.get(field).list:
            for item in (*node.get("files").list, *node.get("envs").list, node.get("env")):
                if item.text:
                    yield YamlNode(
                        item.text.rpartition("=")[2], item.line, item.column, source=item.source
                    )


@rule(
    "DL712",
    "A manifest beside kustomization.yaml is not listed in it",
    severity=Severity.WARNING,
    fix="list it under `resources`, or move it elsewhere",
)
def unlisted(world: World) -> Iterator[RuleMatch]:
    """It is never applied: it looks committed, and is not."""
    for file, first in unused_files(world):
        folder, name = posixpath.split(file.path)
        yield RuleMatch(
            file.path,
            first.line,
            first.column,
            f"{first.get('kind').text} {first.get('metadata', 'name').text}",
            f"`{name}` is not listed in {world.kustomization_file(folder)}",
        )


def unused_files(world: World) -> Iterator[tuple[File, YamlNode]]:
    """Yield the files beside a kustomization.yaml that it does not list, with their first
    object."""
    used = {
        posixpath.normpath(posixpath.join(folder, node.text))
        for folder, resources in world.kustomizations.items()
        for node in _entries(resources)
    }
    for file in world.files:
        folder, name = posixpath.split(file.path)
        kustomization = world.kustomizations.get(folder)
        if (
            kustomization is None
            or name in KUSTOMIZATION_FILES
            or file.path in used
            or not kustomization.get("resources")
        ):
            continue
        first = next((node for node in file.documents if is_object(node)), None)
        api = first.get("apiVersion").text if first is not None else ""
        if first is not None and not api.startswith(("driftloop.dev/", "kustomize.config.k8s.io/")):
            yield file, first
