"""Where images belong: below a registry that is named, or where a cluster pulls them from."""

from dataclasses import dataclass

from driftloop.plan.images import mirror_image, place_own_image
from driftloop.platform import PlatformFile

_HUB = "docker.io"


@dataclass(frozen=True)
class ImagePlaces:
    """The names that images get."""

    registry: str | None = None
    """Registry and path below which every image keeps its name and tag."""
    cluster: PlatformFile | None = None
    """Cluster that pulls them, in place of a registry."""

    def place_own(self, ref: str) -> str:
        """Return the name of one of the platform's own images."""
        if self.cluster is not None:
            return place_own_image(ref, self.cluster.spec.images)
        return self._place_below(ref)

    def place_users(self, ref: str) -> str:
        """Return the name of an image of a spec."""
        if self.cluster is not None:
            return mirror_image(ref, self.cluster.spec.images)
        return self._place_below(ref)

    def place_base(self, ref: str) -> str:
        """Return the name of a base of others: a mirror's, where the cluster has one of it."""
        if self.cluster is None:
            return ref
        whole = name_whole(ref)
        mirrored = mirror_image(whole, self.cluster.spec.images)
        return ref if mirrored == whole else mirrored

    def _place_below(self, ref: str) -> str:
        if self.registry is None or ref.startswith(f"{self.registry}/"):
            return ref
        return f"{self.registry}/{ref.rpartition('/')[2]}"


def name_whole(ref: str) -> str:
    """Return an image reference with its registry: `python:3.11` is one of docker.io/library."""
    host, slash, _ = ref.partition("/")
    if not slash:
        return f"{_HUB}/library/{ref}"
    return ref if "." in host or ":" in host or host == "localhost" else f"{_HUB}/{ref}"
