"""Room in the platform's JetStream: the store's size in the tree, and what pipelines reserve.

JetStream reserves each stream's bytes while the stream exists, and makes no stream that it has no
room for: the detector behind it can't start.
"""

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from driftloop.contract import trees
from driftloop.contract.names import FLUX_CONTROLLERS
from driftloop.contract.streams import (
    BROKER_BYTES,
    DEAD_LETTERS,
    DETECTOR_BYTES,
    MIB,
    RECORDER_BYTES,
)
from driftloop.operations.commits.impact import ImpactSurprise
from driftloop.spec.values import memory_bytes
from driftloop.text.load import load_documents
from driftloop.text.overlay import overlay_values

_RELEASE = "nats"
"""HelmRelease of the platform's NATS."""

Json = Mapping[str, Any]


@dataclass(frozen=True)
class StoreRoom:
    """Bytes that the streams of a cluster may reserve together, and what each pipeline reserves."""

    size: int
    pipelines: Mapping[str, int]

    @property
    def reserved(self) -> int:
        """Bytes that all pipelines reserve, each with dead letters of its own."""
        return sum(self.pipelines.values()) + DEAD_LETTERS.max_bytes * len(self.pipelines)

    @property
    def is_full(self) -> bool:
        """True if a stream of some pipeline can't be made."""
        return self.reserved > self.size

    def describe(self) -> str:
        """Return the sum in words."""
        return (
            f"the streams of {len(self.pipelines)} pipelines reserve {self.reserved // MIB}Mi of "
            f"the {self.size // MIB}Mi of JetStream's store"
        )


def decides_room(path: str) -> bool:
    """Return true for the files that `read_room` reads."""
    return path.startswith(f"{trees.CLUSTER}/") or trees.pipeline_of_spec(path) is not None


def find_room_surprises(
    tree: Mapping[str, str], new: Mapping[str, str], *, pipeline: str
) -> Iterator[ImpactSurprise]:
    """Yield a surprise for each cluster whose JetStream has no room for the streams of the
    rendered files `new` beside those of the tree; none where they reserve no more than before."""
    for cluster in sorted({name for path in new if (name := trees.cluster_of(path))}):
        room = read_room({**tree, **new}, cluster)
        if room is None or not room.is_full:
            continue
        before = read_room(tree, cluster)
        if before is not None and before.reserved >= room.reserved:
            continue
        yield ImpactSurprise(
            "jetstream-full",
            f"{room.describe()} in cluster `{cluster}`, {room.pipelines[pipeline] // MIB}Mi of them "
            f"{pipeline}'s",
            "a Broker, a detector or a recorder that finds no room does not start; lower `events.broker`, "
            "`events.detector` and `events.recorder`, or raise `config.jetstream.fileStore.maxSize` of the HelmRelease nats",
        )


def read_room(tree: Mapping[str, str], cluster: str) -> StoreRoom | None:
    """Return the room in the NATS that a cluster's tree installs; None when it installs none, or
    states its size in a way that is not read here."""
    size = _read_size(tree, cluster)
    if size is None:
        return None
    specs = {
        name: (path, text)
        for path, text in tree.items()
        if (name := trees.pipeline_of_spec(path)) and trees.flux_path(cluster, name) in tree
    }
    return StoreRoom(size, {name: count_reserved(*spec) for name, spec in sorted(specs.items())})


@lru_cache(maxsize=4096)
def count_reserved(path: str, text: str) -> int:
    """Return the bytes that the streams of a spec reserve; 0 for a text that is not a spec."""
    document = next(iter(load_documents(text, path)), None)
    spec = document.get("spec") if isinstance(document, dict) else None
    if not isinstance(spec, dict):
        return 0
    events, monitors = spec.get("events") or {}, spec.get("monitors") or {}
    broker = memory_bytes(events["broker"]) if "broker" in events else BROKER_BYTES
    detector = memory_bytes(events["detector"]) if "detector" in events else DETECTOR_BYTES
    recorder = memory_bytes(events["recorder"]) if "recorder" in events else RECORDER_BYTES
    recorded = isinstance(spec.get("capture"), dict)
    return (
        broker
        + recorder * recorded
        + detector * sum(monitor is not None for monitor in monitors.values())
    )


def _read_size(tree: Mapping[str, str], cluster: str) -> int | None:
    folder = _find_folder(tree, cluster)
    if folder is None:
        return None
    release = _merge_release(tree, folder)
    config = (((release or {}).get("spec") or {}).get("values") or {}).get("config") or {}
    store = (config.get("jetstream") or {}).get("fileStore") or {}
    size = store.get("maxSize") or (store.get("pvc") or {}).get("size")
    if size is None:
        return None
    servers = config.get("cluster") or {}
    count = servers.get("replicas", 3) if servers.get("enabled") else 1
    return memory_bytes(str(size)) * int(count)


def _find_folder(tree: Mapping[str, str], cluster: str) -> str | None:
    """Return the folder of the Kustomization that installs the controllers."""
    for path, text in tree.items():
        if not path.startswith(f"{trees.CLUSTER}/{cluster}/") or FLUX_CONTROLLERS not in text:
            continue
        for document in load_documents(text, path):
            if (
                isinstance(document, dict)
                and document.get("kind") == "Kustomization"
                and document["metadata"]["name"] == FLUX_CONTROLLERS
            ):
                return posixpath.normpath(str(document["spec"]["path"]))
    return None


def _merge_release(tree: Mapping[str, str], folder: str) -> Json | None:
    """Return the HelmRelease of NATS below a kustomize folder, strategic patches merged in."""
    listing = tree.get(f"{folder}/{trees.KUSTOMIZATION}")
    if listing is None:
        return None
    file = f"{folder}/{trees.KUSTOMIZATION}"
    content = next(iter(load_documents(listing, file)), None) or {}
    release: Json | None = None
    for entry in content.get("resources") or ():
        path = posixpath.normpath(posixpath.join(folder, str(entry)))
        document = (
            next(filter(_is_release, load_documents(tree[path], path)), None)
            if path in tree
            else _merge_release(tree, path)
        )
        release = document if document is not None else release
    for patch in _read_patches(tree, folder, content):
        if release is not None and _is_release(patch):
            release = overlay_values(release, patch)
    return release


def _read_patches(tree: Mapping[str, str], folder: str, file: Json) -> Iterator[Any]:
    for entry in file.get("patches") or ():
        inline = entry.get("patch")
        path = posixpath.normpath(posixpath.join(folder, str(entry.get("path", ""))))
        source = path if inline is None else f"{folder}/{trees.KUSTOMIZATION}"
        text = tree.get(path) if inline is None else inline
        if text is not None:
            yield from load_documents(text, source)


def _is_release(document: Any) -> bool:
    if not isinstance(document, dict) or document.get("kind") != "HelmRelease":
        return False
    return bool(document["metadata"]["name"] == _RELEASE)
