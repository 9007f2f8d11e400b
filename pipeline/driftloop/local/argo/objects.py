"""Applied objects, from the file run/objects.json that the reconciler replaces with every
commit."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

POLL = 0.2
"""Seconds between two reads of the file."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Objects:
    """Applied objects of one commit, by (kind, namespace, name)."""

    revision: str = ""
    by_key: Mapping[tuple[str, str, str], Json] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> "Objects":
        """Read the file; empty before the first commit is applied."""
        try:
            document = json.loads(file.read_text())
        except FileNotFoundError:
            return cls()
        keyed = {
            (item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]): item
            for item in document["objects"]
        }
        return cls(document.get("revision") or "", keyed)

    def find(self, kind: str, namespace: str, name: str) -> Json | None:
        """Return one object, or None."""
        return self.by_key.get((kind, namespace, name))

    def of(self, kind: str) -> Iterator[Json]:
        """Yield all objects of a kind."""
        return (item for (item_kind, _, _), item in self.by_key.items() if item_kind == kind)


async def watch(file: Path) -> AsyncIterator[Objects]:
    """Yield the objects now, then again after every replacement of the file."""
    seen: tuple[int, int] | None = None
    first = True
    while True:
        try:
            stat = file.stat()
            now = (stat.st_mtime_ns, stat.st_ino)
        except FileNotFoundError:
            now = None
        if first or now != seen:
            first, seen = False, now
            yield Objects.read(file)
        await asyncio.sleep(POLL)
