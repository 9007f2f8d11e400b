"""Copy what is new at the sources of a pipeline into its bucket, each content once."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from driftloop.clients.downloads import Report
from driftloop.clients.s3 import ObjectStore, StoreLocation
from driftloop.contract.documents import to_json
from driftloop.contract.sources import CollectedFile, CollectedFiles, SourceSettings
from driftloop.contract.trees import collected_key, kept_key
from driftloop.errors import StepError
from driftloop.operations.ground.source_files import SourceFile, SourceReader
from driftloop.retrain.batches import read_collected
from driftloop.text.words import join_some

MOST_NAMED = 5
"""Files that a line names."""


@dataclass
class Collection:
    """One look at all sources of a pipeline."""

    store: ObjectStore
    bucket: StoreLocation
    pipeline: str
    max_bytes: int
    report: Report
    environment: Mapping[str, str]
    """Has the credentials of the sources."""
    _kept: set[str] = field(default_factory=set)
    _left: int = 0

    def collect(self, sources: Sequence[SourceSettings]) -> CollectedFiles:
        """Copy what is new and store the list of what there is; StepError or StoreError names the source."""
        earlier = read_collected(self.store, self.bucket, self.pipeline)
        known = {(each.source, each.url): each for each in earlier.files}
        folder = self.bucket / kept_key(self.pipeline, "")
        self._kept = {folder.relative_key(entry.key) for entry in self.store.list_folder(folder)}
        self._left = self.max_bytes
        files: list[CollectedFile] = []
        with tempfile.TemporaryDirectory(prefix="driftloop-sources-") as scratch:
            for source in sources:
                files += self._collect_source(source, known, Path(scratch))
        files.sort(key=lambda each: each.key)
        here, names = {(each.source, each.url) for each in files}, {each.name for each in sources}
        gone = tuple(url for name, url in known if name in names and (name, url) not in here)
        collected = CollectedFiles(tuple(files), gone)
        self.store.write_json(self.bucket / collected_key(self.pipeline), to_json(collected))
        if gone:
            self.report(
                f"{len(gone)} files are gone at their sources and are no batches any more: {join_some(gone, MOST_NAMED)}"
            )
        return collected

    def _collect_source(
        self,
        source: SourceSettings,
        known: Mapping[tuple[str, str], CollectedFile],
        scratch: Path,
    ) -> list[CollectedFile]:
        reader = SourceReader(self.environment, self.report)
        offers = reader.list_files(source, self._left)
        files, fresh = [], []
        for offer in offers:
            before = known.get((source.name, offer.url))
            file = self._collect_file(source, offer, before, scratch)
            if before is None or before.sha256 != file.sha256:
                fresh.append(offer.url)
            self._left -= file.size
            files.append(file)
        listed = f": {join_some(fresh, MOST_NAMED)}" if fresh else ""
        self.report(
            f"source {source.name}: {len(fresh)} of {len(files)} files are new or changed{listed}"
        )
        return files

    def _collect_file(
        self, source: SourceSettings, offer: SourceFile, before: CollectedFile | None, scratch: Path
    ) -> CollectedFile:
        key = f"{source.name}/{offer.name}"
        if before is not None and (before.key != key or before.sha256 not in self._kept):
            before = None
        if source.sha256 is not None and before is not None and before.sha256 != source.sha256:
            before = None
        if before is not None and offer.tag and offer.tag == before.tag:
            return before
        file = scratch / Path(offer.name).name
        fetched = offer.fetch(file, before.tag if before is not None else "", self._left)
        if fetched is None:
            if before is None:
                raise StepError(f"{offer.url}: the server says that it has not changed, unasked")
            return before
        if source.sha256 is not None and fetched.sha256 != source.sha256:
            raise StepError(
                f"{offer.url} has digest sha256:{fetched.sha256}, `sha256` of source {source.name} is {source.sha256}",
                hint="it is another file than the one that the spec names: look at it, then change `sha256`",
            )
        if fetched.sha256 not in self._kept:
            self.store.put_file(file, self.bucket / kept_key(self.pipeline, fetched.sha256))
            self._kept.add(fetched.sha256)
        file.unlink()
        return CollectedFile(
            source=source.name,
            url=offer.url,
            key=key,
            tag=fetched.tag,
            size=fetched.size,
            sha256=fetched.sha256,
        )
