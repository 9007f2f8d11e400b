"""The folder of a pipeline's captured traffic in the object store."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from driftloop.clients.s3 import ObjectStore, StoreLocation, parse_location
from driftloop.contract.captures import TrafficPart, day_folder, traffic_key
from driftloop.contract.platform import S3_BUCKET
from driftloop.contract.trees import PROFILE_FILE
from driftloop.services.recorder.parts import read_parquet

ATTEMPTS = 2
"""Of each call: the recorder itself tries a part again until it is written."""


@dataclass(frozen=True)
class StoredPart:
    """A file of captured traffic and its size."""

    part: TrafficPart
    size: int


class TrafficFolder:
    """Files of captured traffic. Every method raises StoreError when the store is away or refuses."""

    def __init__(self, store: ObjectStore, place: StoreLocation) -> None:
        self._store = store
        self._place = place

    @classmethod
    def open(cls, environment: Mapping[str, str], pipeline: str) -> "TrafficFolder":
        """Open the folder in the store that a container's environment names."""
        bucket = S3_BUCKET.read(environment)
        store = ObjectStore.from_environment(environment, attempts=ATTEMPTS)
        return cls(store, StoreLocation(bucket, traffic_key(pipeline)))

    def write_part(self, part: TrafficPart, data: bytes) -> None:
        """Put a file at its key, over what was there."""
        self._store.write_object(self._place / part.key, data)

    def list_parts(self, day: str | None = None) -> list[StoredPart]:
        """Return the files of a day, or of all, in the order of their keys."""
        below = self._place if day is None else self._place / day_folder(day)
        found = []
        for entry in self._store.list_folder(below):
            part = TrafficPart.parse(self._place.relative_key(entry.key))
            if part is not None:
                found.append(StoredPart(part, entry.size))
        return found

    def read_part(self, part: TrafficPart) -> pa.Table:
        """Return the rows of a file."""
        return read_parquet(self._store.read_object(self._place / part.key))

    def delete_part(self, part: TrafficPart) -> None:
        """Delete one file."""
        self._store.delete_object(self._place / part.key)

    def read_profiles(self, uri: str) -> Iterator[bytes]:
        """Yield the bytes of each profile below a folder `s3://…`, in the order of their keys."""
        place = parse_location(uri)
        for entry in self._store.list_folder(place):
            if entry.key.rpartition("/")[2] == PROFILE_FILE:
                yield self._store.read_object(StoreLocation(place.bucket, entry.key))
