"""A set of files as one world: its objects, and what can be known of those that are not in it.

What can be known: files are often a part of what a cluster holds, so a name that leads nowhere
is an error only where the files claim to be everything. A namespace is *whole* when the set
holds its Namespace object and nothing in the set puts unseen objects there (a HelmRelease, a
remote kustomization). References into a whole namespace must resolve; into any other they are
not judged. What is found is always compared, whole or not: an event name with its EventSource, a
parameter with its template. `complete` makes every namespace whole.

Names that others make: `driftloop-platform`, `driftloop-git`, `driftloop-signing`, what Kubernetes and Istio put in every namespace,
what a controller makes of an object in the set (a SealedSecret its Secret), and what an
annotation names, on the referring object or on the Namespace: `driftloop.dev/external:
Secret/registry, ConfigMap/settings`.
"""

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from driftloop.check.finding import RuleMatch
from driftloop.check.grants import grants_creation, list_accounts, list_subjects
from driftloop.check.schema import Catalogue, Misfit, Schema, misfits
from driftloop.contract.names import EXTERNAL_ANNOTATION
from driftloop.text.node import YamlNode
from driftloop.text.read import MAX_BYTES, ReadProblem, read

Kind = tuple[str, str]
"""API group and kind."""

NAMESPACE: Kind = ("", "Namespace")
SERVICE: Kind = ("", "Service")
CONFIG_MAP: Kind = ("", "ConfigMap")
SECRET: Kind = ("", "Secret")
SERVICE_ACCOUNT: Kind = ("", "ServiceAccount")
CLAIM: Kind = ("", "PersistentVolumeClaim")
KNATIVE_SERVICE: Kind = ("serving.knative.dev", "Service")
EVENT_SOURCE: Kind = ("argoproj.io", "EventSource")
EVENT_BUS: Kind = ("argoproj.io", "EventBus")
SENSOR: Kind = ("argoproj.io", "Sensor")
WORKFLOW: Kind = ("argoproj.io", "Workflow")
TEMPLATE: Kind = ("argoproj.io", "WorkflowTemplate")
CLUSTER_TEMPLATE: Kind = ("argoproj.io", "ClusterWorkflowTemplate")
CRON: Kind = ("argoproj.io", "CronWorkflow")
BROKER: Kind = ("eventing.knative.dev", "Broker")
TRIGGER: Kind = ("eventing.knative.dev", "Trigger")
SELDON: Kind = ("machinelearning.seldon.io", "SeldonDeployment")
VIRTUAL_SERVICE: Kind = ("networking.istio.io", "VirtualService")
DESTINATION_RULE: Kind = ("networking.istio.io", "DestinationRule")
SERVICE_ENTRY: Kind = ("networking.istio.io", "ServiceEntry")
GATEWAY: Kind = ("networking.istio.io", "Gateway")
FLUX: Kind = ("kustomize.toolkit.fluxcd.io", "Kustomization")
POD_MONITOR: Kind = ("monitoring.coreos.com", "PodMonitor")
SERVICE_MONITOR: Kind = ("monitoring.coreos.com", "ServiceMonitor")
PROMETHEUS_RULE: Kind = ("monitoring.coreos.com", "PrometheusRule")
HELM: Kind = ("helm.toolkit.fluxcd.io", "HelmRelease")
KUSTOMIZE: Kind = ("kustomize.config.k8s.io", "Kustomization")
KUSTOMIZATION_FILES = ("kustomization.yaml", "kustomization.yml", "Kustomization")

_CHANGES = (
    "commonLabels", "labels", "patches", "patchesStrategicMerge", "patchesJson6902", "components", "transformers",
    "generators", "replacements", "helmCharts", "commonMetadata",
)  # fmt: skip
"""Fields of a kustomization after which objects are not what the files say."""

CLUSTER_WIDE = ("default", "kube-system", "kube-public", "kube-node-lease")
"""Namespaces that every cluster has, with objects that no file shows."""
EVERYWHERE = {
    (*CONFIG_MAP, "kube-root-ca.crt"), (*CONFIG_MAP, "istio-ca-root-cert"), (*CONFIG_MAP, "driftloop-platform"),
    (*SECRET, "driftloop-platform"), (*SECRET, "driftloop-git"), (*SECRET, "driftloop-signing"), (*SERVICE_ACCOUNT, "default"),
}  # fmt: skip
_ROLE, _BINDING = (("rbac.authorization.k8s.io", kind) for kind in ("Role", "RoleBinding"))


@dataclass(frozen=True, eq=False)
class Object:
    """One Kubernetes object and where it stands."""

    path: str
    node: YamlNode
    group: str
    version: str
    kind: str
    name: str
    namespace: str
    """Empty when the files don't say."""
    host: "Object | None" = None
    """The object it is written in: a Sensor's Workflow, the manifest of a resource template."""

    @property
    def type(self) -> Kind:
        return self.group, self.kind

    @property
    def subject(self) -> str:
        """As findings name it."""
        name = f"{self.namespace}/{self.name}" if self.namespace else self.name
        inside = f" in {self.host.subject}" if self.host is not None else ""
        return f"{self.kind} {name or '(without a name)'}{inside}"

    @property
    def spec(self) -> YamlNode:
        return self.node.get("spec")

    def at(self, node: YamlNode, what: str, *, fix: str | None = None) -> RuleMatch:
        """A finding at a value of this object."""
        line, column = node.place
        return RuleMatch(self.path, line, column, self.subject, what, fix)


@dataclass(frozen=True)
class File:
    """A file and what could be read of it."""

    path: str
    documents: tuple[YamlNode, ...]
    problems: tuple[ReadProblem, ...]


class World:
    """Everything in a set of files. `others` are files that exist too; `within` the folders that
    are given whole."""

    def __init__(
        self,
        files: Mapping[str, str | bytes],
        *,
        others: frozenset[str] = frozenset(),
        within: tuple[str, ...] = ("",),
        complete: bool = False,
        catalogue: Catalogue | None = None,
    ) -> None:
        self.within = within
        self.catalogue = catalogue
        self.complete = complete
        self.paths = frozenset(files) | others
        charts = {
            posixpath.dirname(path)
            for path in self.paths
            if posixpath.basename(path) == "Chart.yaml"
        }
        readings = {
            path: read(content) for path, content in files.items() if not _of_chart(path, charts)
        }
        self.files = tuple(
            File(path, reading.documents, reading.problems)
            for path, reading in readings.items()
            if not (reading.problems and _templated(files[path]))
        )
        self.skipped = tuple(sorted(files.keys() - {file.path for file in self.files}))
        """Templates of YAML, such as the files of a Helm chart."""
        namespaces = self._kustomized()
        objects = [
            item
            for file in self.files
            for node in file.documents
            for item in _objects(file.path, node)
        ]
        renamed = [
            Object(
                item.path,
                item.node,
                item.group,
                item.version,
                item.kind,
                item.name,
                namespaces[item.path],
                item.host,
            )
            if item.path in namespaces and item.type != NAMESPACE
            else item
            for item in objects
        ]
        self.written = (*renamed, *(inner for item in renamed for inner in _embedded(item)))
        """Every object, also those of patches, which say a part of one."""
        patches = {
            path for folder, node in self.kustomizations.items() for path in _patches(folder, node)
        }
        self.objects = tuple(item for item in self.written if item.path not in patches)
        self._named: dict[tuple[str, str, str], list[Object]] = defaultdict(list)
        self._kinds: dict[Kind, list[Object]] = defaultdict(list)
        self._asked: set[Kind] = set()
        for item in self.objects:
            self._kinds[item.type].append(item)
            if item.host is None:
                self._named[(*item.type, item.name)].append(item)

    def of(self, *kinds: Kind) -> Iterator[Object]:
        """Every object of these kinds, in the order of the files; those written in others too."""
        self._asked.update(kinds)
        for kind in kinds:
            yield from self._kinds.get(kind, ())

    def named(self, kind: Kind, name: str, namespace: str) -> tuple[Object, ...]:
        """The objects of that name: those of the namespace, or else those whose namespace the
        files don't say."""
        namesakes = self._named.get((*kind, name), [])
        exact = tuple(item for item in namesakes if item.namespace == namespace)
        return exact or tuple(item for item in namesakes if not item.namespace or not namespace)

    def target(
        self, kind: Kind, name: str, of: Object, namespace: str | None = None, *, made: bool = False
    ) -> tuple[Object, ...] | None:
        """Return the objects that a reference names: () when surely none exists, None when that
        is unknown.

        `made` is for kinds that others make without the set showing it, such as Secrets.
        """
        where = of.namespace if namespace is None else namespace
        if not name or "{{" in name or "$" in name:
            return None
        matches = self.named(kind, name, where)
        if matches:
            return matches
        if not self.whole(where) or self.external(kind, name, where, of):
            return None
        return None if made and not self.complete and self._others_make(kind, where) else ()

    def whole(self, namespace: str) -> bool:
        """Return True if the set holds everything of a namespace."""
        return self.complete or namespace in self._whole

    def external(self, kind: Kind, name: str, namespace: str, of: Object | None = None) -> bool:
        """Return True if somebody else makes that object."""
        if (*kind, name) in EVERYWHERE or (kind[1], namespace, name) in self._generated:
            return True
        hosts = [*self.named(NAMESPACE, namespace, "")]
        hosts += [owner for owner in (of, of.host if of else None) if owner is not None]
        listed = (
            host.node.get("metadata", "annotations", EXTERNAL_ANNOTATION).text for host in hosts
        )
        return any(f"{kind[1]}/{name}" in text.replace(" ", "").split(",") for text in listed)

    def given(self, folder: str) -> bool:
        """Return True if what is not in a folder does not exist, since all of it was given."""
        return any(folder == top or not top or folder.startswith(f"{top}/") for top in self.within)

    def applied(self, path: str) -> bool:
        """Return True if a kustomization.yaml or a Flux Kustomization applies a file."""
        folder = posixpath.dirname(path)
        roots = {
            posixpath.normpath(item.spec.get("path").text).lstrip("/") for item in self.of(FLUX)
        }
        return any(
            folder == root or not root or folder.startswith(f"{root}/")
            for root in (*self.kustomizations, *(roots - {"."}))
        )

    def exists(self, path: str) -> bool:
        """Return True if a path is a file or a folder of the set."""
        return path in self.paths or path in self.folders

    @cached_property
    def misfits(self) -> "tuple[tuple[Object, Misfit], ...]":
        """Places at which objects do not fit the given schemas."""
        pairs: list[tuple[Object, Misfit]] = []
        for item in self.objects:
            schema = self._schema(item)
            if schema is not None and item.host is None:
                pairs += [(item, misfit) for misfit in misfits(*schema, item.node)]
        return tuple(pairs)

    @cached_property
    def unknown_kinds(self) -> tuple[str, ...]:
        """API version and kind of the objects that no schema was given for."""
        kinds = {
            f"{item.node.get('apiVersion').text} {item.kind}"
            for item in self.objects
            if item.host is None
            and item.group not in ("kustomize.config.k8s.io", "driftloop.dev")
            and self._schema(item) is None
        }
        return tuple(sorted(kinds)) if self.catalogue is not None else ()

    def _schema(self, one: Object) -> "tuple[Schema, Mapping[str, Schema]] | None":
        if self.catalogue is None:
            return None
        return self.catalogue.find_schema(one.node.get("apiVersion").text, one.kind)

    def list_unread(self) -> "tuple[Object, ...]":
        """Return the objects of kinds that no rule has asked for, and no schema was given for: once all rules have
        run, of these only YAML, names and labels were looked at."""
        return tuple(
            item
            for item in self.objects
            if item.host is None
            and item.type not in self._asked
            and item.group not in ("kustomize.config.k8s.io", "driftloop.dev")
            and self._schema(item) is None
        )

    @cached_property
    def folders(self) -> frozenset[str]:
        """Every folder that holds a file."""
        paths: set[str] = {""}
        for path in self.paths:
            here = posixpath.dirname(path)
            while here and here not in paths:
                paths.add(here)
                here = posixpath.dirname(here)
        return frozenset(paths)

    @cached_property
    def kustomizations(self) -> dict[str, YamlNode]:
        """Folder -> its kustomization.yaml."""
        return {
            posixpath.dirname(file.path): file.documents[0]
            for file in self.files
            if posixpath.basename(file.path) in KUSTOMIZATION_FILES and len(file.documents) == 1
            if not file.documents[0].get("apiVersion").text.startswith("kustomize.toolkit.")
        }

    def kustomization_file(self, folder: str) -> str:
        """The path of a folder's kustomization.yaml, however it is spelt."""
        names = (posixpath.join(folder, name) for name in KUSTOMIZATION_FILES)
        return next(path for path in names if path in self.paths)

    @cached_property
    def changed(self) -> frozenset[str]:
        """Files that a kustomization changes on their way into the cluster."""
        paths: set[str] = set()
        for folder, node in self.kustomizations.items():
            if any(node.get(field) for field in _CHANGES):
                paths |= self.taken(folder)
        for item in self.of(FLUX):
            if any(item.spec.get(field) for field in (*_CHANGES, "postBuild", "images")):
                root = posixpath.normpath(item.spec.get("path").text).lstrip("/")
                paths |= {
                    path for path in self.paths if root in (".", "") or path.startswith(f"{root}/")
                }
                paths |= self.taken("" if root == "." else root)
        return frozenset(paths)

    def taken(self, folder: str) -> set[str]:
        """Every file that the kustomization of a folder takes in, by way of others too."""
        names: set[str] = set()
        left, seen = [folder], {folder}
        while left:
            here = left.pop()
            node = self.kustomizations.get(here)
            if node is None:
                names |= {path for path in self.paths if posixpath.dirname(path) == here}
                continue
            for field in ("resources", "bases", "components"):
                for item in node.get(field).list:
                    path = posixpath.normpath(posixpath.join(here, item.text))
                    path = "" if path == "." else path
                    if path in self.paths:
                        names.add(path)
                    elif path not in seen:
                        seen.add(path)
                        left.append(path)
        return names

    @cached_property
    def _whole(self) -> frozenset[str]:
        declared = {entry.name for entry in self.of(NAMESPACE)} - set(CLUSTER_WIDE)
        unseen = {
            entry.spec.get("targetNamespace").text or entry.namespace for entry in self.of(HELM)
        }
        for folder, node in self.kustomizations.items():
            if any(
                "://" in item.text or item.text.startswith("github.com/")
                for item in node.get("resources").list
            ):
                unseen |= {
                    entry.namespace for entry in self.objects if entry.path.startswith(f"{folder}/")
                }
                unseen |= {
                    entry.name
                    for entry in self.of(NAMESPACE)
                    if entry.path.startswith(f"{folder}/")
                }
        return frozenset(declared - unseen - self._applied_elsewhere())

    def _applied_elsewhere(self) -> set[str]:
        """Return the namespaces into which Flux applies folders that are not in the set, by an
        account that is bound there."""
        accounts = list_accounts(
            item
            for item in self.of(FLUX)
            if not self.exists(posixpath.normpath(item.spec.get("path").text).lstrip("/"))
        )
        return {item.namespace for item in self.of(_BINDING) if list_subjects(item) & accounts}

    def _others_make(self, kind: Kind, namespace: str) -> bool:
        """Return True if the set shows none of a kind, or lets somebody but Flux make some."""
        made = any(name[:2] == (kind[1], namespace) for name in self._generated)
        if not made and all(entry.namespace != namespace for entry in self.of(kind)):
            return True
        accounts = list_accounts(self.of(FLUX))
        applying = {
            item.node.get("roleRef", "name").text
            for item in self.of(_BINDING)
            if item.namespace == namespace and list_subjects(item) <= accounts
        }
        roles = (r for r in self.of(_ROLE) if r.namespace == namespace and r.name not in applying)
        return grants_creation(roles, kind[1].lower() + "s")

    @cached_property
    def _generated(self) -> frozenset[tuple[str, str, str]]:
        """(kind, namespace, name) of what something in the set makes."""
        keys: set[tuple[str, str, str]] = set()
        for entry in self.objects:
            match entry.kind:
                case "SealedSecret":
                    keys.add(("Secret", entry.namespace, entry.name))
                case "ExternalSecret":
                    keys.add(
                        (
                            "Secret",
                            entry.namespace,
                            entry.spec.get("target", "name").text or entry.name,
                        )
                    )
                case "Certificate" | "Bundle":
                    keys.add(("Secret", entry.namespace, entry.spec.get("secretName").text))
        for folder, node in self.kustomizations.items():
            namespace = node.get("namespace").text
            for field, kind in (("configMapGenerator", "ConfigMap"), ("secretGenerator", "Secret")):
                for item in node.get(field).list:
                    name = item.get("name").text
                    places = {
                        entry.namespace
                        for entry in self.objects
                        if entry.path.startswith(f"{folder}/" if folder else "")
                    }
                    for place in places | {namespace, item.get("namespace").text}:
                        keys.add((kind, place, name))
        return frozenset(keys)

    def _kustomized(self) -> dict[str, str]:
        """Path -> the namespace its kustomization.yaml puts its objects in."""
        owners: dict[str, str] = {}
        for folder, node in self.kustomizations.items():
            namespace = node.get("namespace").text
            if namespace:
                for item in node.get("resources").list:
                    owners[posixpath.normpath(posixpath.join(folder, item.text))] = namespace
        return owners


def _patches(folder: str, kustomization: YamlNode) -> Iterator[str]:
    """The files of patches that a kustomization.yaml names."""
    named = [node.get("path") for node in kustomization.get("patches").list]
    named += kustomization.get("patchesStrategicMerge").list
    for node in named:
        if node.text and "\n" not in node.text:
            yield posixpath.normpath(posixpath.join(folder, node.text))


_TEMPLATE = re.compile(
    r"\{\{-?\s*(?:/\*|if|range|with|end|define|include|template|else|block|toYaml|\.|\$)"
)


def _templated(content: str | bytes) -> bool:
    """Return True if a file that is not YAML is a Go template of some."""
    if len(content) > MAX_BYTES:
        return False
    text = content.decode("utf-8", "replace") if isinstance(content, bytes) else content
    return _TEMPLATE.search(text) is not None


def _of_chart(path: str, charts: set[str]) -> bool:
    here = posixpath.dirname(path)
    while here:
        parent, name = posixpath.split(here)
        if name == "templates" and parent in charts:
            return True
        here = parent
    return False


def is_object(node: YamlNode) -> bool:
    """Return True if a document is a Kubernetes object, by its two keys."""
    return bool(node.get("apiVersion").text and node.get("kind").text)


def _objects(path: str, node: YamlNode, host: Object | None = None) -> Iterator[Object]:
    if not is_object(node):
        return
    kind = node.get("kind").text
    if kind.endswith("List") and isinstance(node.get("items").value, list):
        for item in node.get("items").list:
            yield from _objects(path, item, host)
        return
    group, _, version = node.get("apiVersion").text.rpartition("/")
    metadata = node.get("metadata")
    name = metadata.get("name").text or metadata.get("generateName").text
    namespace = metadata.get("namespace").text or (host.namespace if host is not None else "")
    yield Object(path, node, group, version, kind, name, namespace, host)


def _embedded(one: Object) -> Iterator[Object]:
    """Objects that an object creates: those of a Sensor's triggers, those of Argo's resource
    templates."""
    if one.type == SENSOR:
        for trigger in one.spec.get("triggers").list:
            for field in ("k8s", "argoWorkflow"):
                yield from _objects(
                    one.path, trigger.get("template", field, "source", "resource"), one
                )
    elif one.group == "argoproj.io" and one.kind in (
        "Workflow",
        "WorkflowTemplate",
        "CronWorkflow",
    ):
        for key, node in one.spec.mappings():
            manifest = node.get("manifest") if key == "resource" else None
            if manifest and manifest.text and manifest.literal:
                reading = read(manifest.text, line=manifest.line)
                for document in () if reading.problems else reading.documents:
                    yield from _objects(one.path, document, one)
