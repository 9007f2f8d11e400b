"""DL0xx: can the files be read, and is what they hold one object each?"""

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator

from driftloop.check.finding import RuleMatch, rule
from driftloop.check.world import KUSTOMIZATION_FILES, Object, World, is_object
from driftloop.text.read import Fault


def _faults(world: World, fault: Fault) -> Iterator[RuleMatch]:
    for file in world.files:
        concerned = not file.documents or any(is_object(node) for node in file.documents)
        concerned = concerned or posixpath.basename(file.path) in KUSTOMIZATION_FILES
        for problem in file.problems:
            if problem.fault == fault and concerned:
                yield RuleMatch(file.path, problem.line, problem.column, "", problem.said)


@rule("DL001", "A file is not YAML", fix="correct the syntax; YAML takes no tabs for indentation")
def syntax(world: World) -> Iterator[RuleMatch]:
    """Flux applies nothing of a Kustomization that holds a file it can't parse."""
    yield from _faults(world, "syntax")


@rule("DL002", "A file is not UTF-8 text", fix="save the file as UTF-8")
def encoding(world: World) -> Iterator[RuleMatch]:
    """Kubernetes reads YAML as UTF-8; other bytes are refused or turn into other characters."""
    yield from _faults(world, "encoding")


@rule(
    "DL003",
    "A file is too large to check",
    fix="split the file; an object of etcd has at most 1.5 MiB",
)
def size(world: World) -> Iterator[RuleMatch]:
    """The API server takes no request over 3 MiB, and nobody reviews such a file."""
    yield from _faults(world, "size")


@rule("DL004", "A file expands to too much", fix="write the values out instead of nesting aliases")
def expansion(world: World) -> Iterator[RuleMatch]:
    """Aliases of aliases, or endless nesting, exhaust the memory of whatever reads the file; the
    API server refuses them as an attack."""
    yield from _faults(world, "expansion")


@rule("DL005", "A key appears twice in one mapping", fix="remove one of the two")
def duplicate_key(world: World) -> Iterator[RuleMatch]:
    """Strict readers (kustomize, `kubectl apply --validate=strict`) refuse the file; others keep
    the last value and silently drop the first."""
    yield from _faults(world, "duplicate")


@rule("DL006", "A key is not text", fix="put `{{…}}` in quotes: unquoted braces are a YAML mapping")
def key(world: World) -> Iterator[RuleMatch]:
    """Objects are JSON in the API, whose keys are text; an unquoted `{{name}}` becomes a mapping
    with a mapping as its key."""
    yield from _faults(world, "key")


@rule(
    "DL007",
    "A document lacks `apiVersion` or `kind`",
    fix="say both: `apiVersion: apps/v1`, `kind: Deployment`",
)
def half_an_object(world: World) -> Iterator[RuleMatch]:
    """The API server can't tell which kind of object it is and refuses it."""
    for file in world.files:
        if posixpath.basename(file.path) in KUSTOMIZATION_FILES:
            continue
        for node in file.documents:
            has = {name for name in ("apiVersion", "kind") if node.get(name).text}
            if len(has) == 1 and node.get("metadata", "name"):
                (lacking,) = {"apiVersion", "kind"} - has
                yield RuleMatch(
                    file.path, node.line, node.column, "", f"the document has no `{lacking}`"
                )


@rule("DL008", "An object has no name", fix="give it `metadata.name`")
def no_name(world: World) -> Iterator[RuleMatch]:
    """The API server refuses it: every object has a name, or a `generateName` where it is
    created by hand."""
    for item in world.objects:
        if item.host is None and not item.name and not _not_an_object(item):
            yield item.at(
                item.node.get("metadata"), "neither `metadata.name` nor `generateName` is given"
            )


@rule(
    "DL009",
    "An object to be applied has only a `generateName`",
    fix="commit a template of it, such as a WorkflowTemplate",
)
def generated_name(world: World) -> Iterator[RuleMatch]:
    """Flux applies by name: kustomize refuses an object that has none, and with it the whole
    folder."""
    for item in world.objects:
        metadata = item.node.get("metadata")
        if (
            item.host is None
            and metadata.get("generateName")
            and not metadata.get("name")
            and _listed(world, item)
        ):
            yield item.at(
                metadata.get("generateName"),
                f"listed in kustomization.yaml, but named {item.name!r} + random",
            )


@rule("DL010", "An object is given twice", fix="keep one of them, or give them different names")
def twice(world: World) -> Iterator[RuleMatch]:
    """kustomize refuses two objects with the same id, and with them the whole folder."""
    namesakes: dict[tuple[str, str, str, str, str], list[Object]] = defaultdict(list)
    for item in world.objects:
        if (
            item.host is None
            and item.node.get("metadata", "name")
            and not _not_an_object(item)
            and _listed(world, item)
        ):
            namesakes[(*item.type, item.namespace, item.name, posixpath.dirname(item.path))].append(
                item
            )
    for same in namesakes.values():
        first = same[0]
        for other in same[1:]:
            name = other.node.get("metadata", "name")
            place = f"{first.path}:{first.node.get('metadata', 'name').line}"
            yield other.at(name, f"{other.subject} is already in {place}")


def _listed(world: World, one: Object) -> bool:
    folder, name = posixpath.split(one.path)
    node = world.kustomizations.get(folder)
    return node is not None and any(
        posixpath.normpath(item.text) == name for item in node.get("resources").list
    )


_APPLIED = re.compile(
    r"|apps|batch|policy|autoscaling|argoproj\.io|.*\.knative\.dev|machinelearning\.seldon\.io|(?!install).*\.istio\.io"
    r"|.*\.toolkit\.fluxcd\.io|(networking|rbac\.authorization|storage|scheduling|gateway\.networking)\.k8s\.io|bitnami\.com"
    r"|monitoring\.coreos\.com"
)


def _not_an_object(one: Object) -> bool:
    """Files that look like objects and are settings of a program, or of kinds we don't know."""
    return (
        _APPLIED.fullmatch(one.group) is None
        or posixpath.basename(one.path) in KUSTOMIZATION_FILES
        or one.type in (("", "Config"), ("", "Policy"))
    )
