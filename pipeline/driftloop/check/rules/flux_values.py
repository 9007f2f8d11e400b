"""DL705 to DL708: where Flux looks for values, what it replaces, and when a stage is ready."""

import posixpath
import re
from collections.abc import Iterator

from driftloop.check.finding import RuleMatch, Severity, rule
from driftloop.check.world import CONFIG_MAP, FLUX, HELM, SECRET, Kind, Object, World
from driftloop.text.node import YamlNode

_SEALED: Kind = ("bitnami.com", "SealedSecret")
_KINDS: dict[str, Kind] = {"ConfigMap": CONFIG_MAP, "Secret": SECRET}
_VARIABLE = re.compile(r"(?<!\$)\$\{([A-Za-z_]\w*)([^}]*)\}")
_OFF = "kustomize.toolkit.fluxcd.io/substitute"


@rule(
    "DL705",
    "Flux replaces a variable by nothing",
    fix="write `$${NAME}` to keep it, set it under `postBuild.substitute`, or annotate the object "
    "`kustomize.toolkit.fluxcd.io/substitute: disabled`",
)
def replaced_by_nothing(world: World) -> Iterator[RuleMatch]:
    """With `postBuild`, Flux replaces every `${NAME}` in what it applies, also those that a shell
    or a program in a pod was to read; a name it has no value for becomes empty."""
    told: set[tuple[str, int]] = set()
    for stage in world.of(FLUX):
        names = _substituted(world, stage)
        if not names:
            continue
        paths = stage_files(world, stage)
        for item in world.objects:
            if item.path not in paths or item.host is not None or _disabled(item):
                continue
            for node in item.node.texts():
                for match in _VARIABLE.finditer(node.text):
                    if match[1] in names or re.match(r":?[-=]", match[2]):
                        continue
                    place = _place(node, match.start())
                    if (item.path, place.line) not in told:
                        told.add((item.path, place.line))
                        yield item.at(place, f"{stage.subject} has no value for `{match[0]}`")


def _substituted(world: World, stage: Object) -> set[str]:
    """The names that a stage has values for; none when some are not in the set."""
    build = stage.spec.get("postBuild")
    names = set(build.get("substitute").map)
    for reference in build.get("substituteFrom").list:
        kind = _KINDS.get(reference.get("kind").text)
        sources = (
            world.named(kind, reference.get("name").text, stage.namespace)
            if kind == CONFIG_MAP
            else ()
        )
        if not sources:
            return set()
        names |= {key for source in sources for key in source.node.get("data").map}
    return names


def _disabled(one: Object) -> bool:
    metadata = one.node.get("metadata")
    return any(metadata.get(field, _OFF).text == "disabled" for field in ("annotations", "labels"))


def _place(node: YamlNode, start: int) -> YamlNode:
    if not node.literal:
        return node
    return YamlNode(
        node.value, node.line + 1 + node.text[:start].count("\n"), 1, source=node.source
    )


def stage_files(world: World, stage: Object) -> set[str]:
    """The files that a Flux Kustomization applies, whichever folder above it is the root."""
    node = stage.spec.get("path")
    folder = posixpath.normpath(node.text.lstrip("/")).lstrip("/")
    if not node.text or "$" in node.text or folder == ".":
        return set()
    root = posixpath.dirname(stage.path)
    while True:
        place = posixpath.join(root, folder)
        if place in world.folders:
            return (
                world.taken(place)
                if place in world.kustomizations
                else {path for path in world.paths if path.startswith(f"{place}/")}
            )
        if not root:
            return set()
        root = posixpath.dirname(root)


@rule(
    "DL706",
    "Values are looked for in another namespace",
    fix="move the ConfigMap or Secret into the namespace of the Flux object",
)
def values_elsewhere(world: World) -> Iterator[RuleMatch]:
    """Flux looks for `valuesFrom` and `substituteFrom` in the namespace of the object itself, not
    in `targetNamespace`: it reports that they are not found, and applies nothing."""
    for item in world.of(HELM, FLUX):
        references = (
            *item.spec.get("valuesFrom").list,
            *item.spec.get("postBuild", "substituteFrom").list,
        )
        for reference in references:
            name, kind = reference.get("name"), _KINDS.get(reference.get("kind").text)
            if kind is None or not name.text or reference.get("optional").value is True:
                continue
            if world.named(kind, name.text, item.namespace) or world.external(
                kind, name.text, item.namespace, item
            ):
                continue
            others = [
                other.namespace
                for other in world.of(kind)
                if other.name == name.text and other.namespace and other.host is None
            ]
            if others and item.namespace:
                yield item.at(
                    name,
                    f"{kind[1]} {name.shown} is in namespace `{others[0]}`, "
                    f"looked for in `{item.namespace}`",
                )


@rule(
    "DL707",
    "A stage waits for one that is ready too early",
    severity=Severity.WARNING,
    fix="give the stage that is waited for `wait: true`, or `healthChecks` of its releases",
)
def ready_too_early(world: World) -> Iterator[RuleMatch]:
    """Without `wait`, a Kustomization is ready as soon as its HelmRelease is written down, long
    before what the chart brings is there: what waits for it fails until then."""
    stages = {(stage.namespace, stage.name): stage for stage in world.of(FLUX)}
    told: set[Object] = set()
    for stage in world.of(FLUX):
        for item in stage.spec.get("dependsOn").list:
            where = item.get("namespace").text or stage.namespace
            before = stages.get((where, item.get("name").text))
            if before is None or before in told or before.path in world.changed:
                continue
            spec = before.spec
            if spec.get("wait").value is True or spec.get("healthChecks").list:
                continue
            files = stage_files(world, before)
            release = next((each for each in world.of(HELM) if each.path in files), None)
            if release is not None:
                told.add(before)
                yield stage.at(
                    item.get("name"),
                    f"{before.subject} does not wait for {release.subject}",
                )


@rule(
    "DL708",
    "A SealedSecret is sealed for another name or namespace",
    fix="seal it again for this name and namespace, or with a wider scope (`kubeseal --scope`)",
)
def sealed_elsewhere(world: World) -> Iterator[RuleMatch]:
    """A Secret sealed in the strict scope opens under its own name in its own namespace only: the
    controller reports `no key could decrypt secret`, and no Secret is made."""
    for item in world.of(_SEALED):
        metadata = item.spec.get("template", "metadata")
        wide, here = (
            item.node.get("metadata", "annotations", f"sealedsecrets.bitnami.com/{scope}-wide").text
            for scope in ("cluster", "namespace")
        )
        if wide == "true":
            continue
        fields = ("namespace",) if here == "true" else ("namespace", "name")
        for field in fields:
            node = metadata.get(field)
            own = item.name if field == "name" else item.namespace
            if node.text and own and node.text != own and "$" not in node.text:
                yield item.at(node, f"{field} {node.shown} in the template, `{own}` outside")
