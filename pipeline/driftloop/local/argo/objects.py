"""What is applied: the file run/objects.json, which the reconciler replaces with every commit."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

POLL = 0.2
"""Seconds between two looks at the file."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Objects:
    """The applied objects of one commit, by (kind, namespace, name)."""

    revision: str = ""
    by_key: Mapping[tuple[str, str, str], Json] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> "Objects":
        """As the file says now; empty before the first commit is applied."""
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
        """One object, or None."""
        return self.by_key.get((kind, namespace, name))

    def of(self, kind: str) -> Iterator[Json]:
        """All objects of a kind."""
        return (item for (found, _, _), item in self.by_key.items() if found == kind)


async def watch(file: Path) -> AsyncIterator[Objects]:
    """The objects now, then again after every replacement of the file."""
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
