"""Applied objects, from the file run/objects.json that the reconciler replaces with every
commit."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from driftloop.contract.documents import DocumentError
from driftloop.errors import LocalError
from driftloop.local.ground import files

LOG = logging.getLogger("argo")

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
        """Read the file; empty before the first commit is applied, LocalError when it is
        damaged."""
        try:
            document = files.read_document(file)
            keyed = {
                (
                    item["kind"],
                    item["metadata"].get("namespace", ""),
                    item["metadata"]["name"],
                ): item
                for item in document["objects"]
            }
            return cls(document["revision"] or "", keyed)
        except FileNotFoundError:
            return cls()
        except (DocumentError, KeyError, TypeError, AttributeError) as error:
            reason = error.message if isinstance(error, DocumentError) else repr(error)
            hint = "an `up` that runs writes it anew, and so does the next one"
            raise LocalError(f"{file} can't be read: {reason}", hint=hint) from error

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
            stat = file.lstat()
            now = (stat.st_mtime_ns, stat.st_ino)
        except FileNotFoundError:
            now = None
        if first or now != seen:
            first, seen = False, now
            try:
                objects = Objects.read(file)
            except LocalError as error:
                # what was applied goes on until the reconciler has written the file anew
                LOG.warning("%s", error.message)
            else:
                yield objects
        await asyncio.sleep(POLL)
