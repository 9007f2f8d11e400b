"""Copy what is new at the sources of a pipeline into its bucket, each content once."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from driftloop.clients import s3
from driftloop.clients.buckets import BucketObject, BucketPlace
from driftloop.clients.downloads import DownloadedFile, WebFiles
from driftloop.clients.s3 import ObjectStore, StoreLocation
from driftloop.contract.documents import to_json
from driftloop.contract.sources import (
    CREDENTIAL_NAMES,
    CollectedFile,
    CollectedFiles,
    SourceSettings,
    authority_variable,
    credential_variable,
    parse_address,
)
from driftloop.contract.trees import collected_key, kept_key
from driftloop.errors import StepError
from driftloop.retrain.batches import read_collected

Report = Callable[[str], None]

MOST_NAMED = 5
"""Files that a line names."""


@dataclass(frozen=True)
class _Offer:
    """A file that a source has, before it is fetched."""

    url: str
    name: str
    """Name or path below the source's folder."""
    fetch: Callable[[Path, str, int], DownloadedFile | None]
    """Fetches it to a file, unless it is what it was at a tag; the bound is in bytes."""
    tag: str = ""
    """What the source says of its content before it is asked for it."""
    size: int = 0


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
                f"{len(gone)} files are gone at their sources and are no batches any more: {_name_some(gone)}"
            )
        return collected

    def _collect_source(
        self,
        source: SourceSettings,
        known: Mapping[tuple[str, str], CollectedFile],
        scratch: Path,
    ) -> list[CollectedFile]:
        offers = list(self._list_offers(source))
        _refuse_same_names(source, offers)
        total = sum(offer.size for offer in offers)
        if total > self._left:
            raise StepError(
                f"source {source.name}: {total} bytes at {source.urls[0]}, at most {self._left} more are read",
                hint="raise `data.maxSize` in the spec, or name less",
            )
        files, fresh = [], []
        for offer in offers:
            before = known.get((source.name, offer.url))
            file = self._collect_file(source, offer, before, scratch)
            if before is None or before.sha256 != file.sha256:
                fresh.append(offer.url)
            self._left -= file.size
            files.append(file)
        listed = f": {_name_some(fresh)}" if fresh else ""
        self.report(
            f"source {source.name}: {len(fresh)} of {len(files)} files are new or changed{listed}"
        )
        return files

    def _collect_file(
        self, source: SourceSettings, offer: _Offer, before: CollectedFile | None, scratch: Path
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

    def _list_offers(self, source: SourceSettings) -> Iterator[_Offer]:
        address, credentials = source.address, self._read_credentials(source)
        authority = self.environment.get(authority_variable(source.name), "")
        match address.kind:
            case "https":
                web = WebFiles.with_credentials(source.redirects, credentials, authority)
                for url in source.urls:
                    yield _offer_web(source, web, url, self.report)
            case "file":
                yield from _offer_local(Path("/") / address.path, self.environment)
            case kind:
                place = BucketPlace(
                    kind,
                    address.bucket,
                    source.urls[0],
                    source.endpoint,
                    source.region,
                    source.account,
                    authority,
                )
                bucket = place.open(credentials)
                root = source.urls[0].removesuffix("/").removesuffix(address.path).rstrip("/")
                for entry in bucket.list_objects(address.path):
                    name = entry.path.removeprefix(address.path).strip("/") or address.last

                    def fetch(
                        file: Path, tag: str, limit: int, entry: BucketObject = entry
                    ) -> DownloadedFile:
                        if entry.size > limit:
                            raise StepError(f"{entry.path} has {entry.size} bytes, at most {limit}")
                        return bucket.fetch(entry, file, report=self.report)

                    yield _Offer(f"{root}/{entry.path}", name, fetch, entry.tag, entry.size)

    def _read_credentials(self, source: SourceSettings) -> dict[str, str]:
        names = {name: credential_variable(source.name, name) for name in CREDENTIAL_NAMES}
        return {
            name: self.environment[variable]
            for name, variable in names.items()
            if self.environment.get(variable)
        }


def _offer_web(source: SourceSettings, web: WebFiles, url: str, report: Report) -> _Offer:
    name = source.file or unquote(parse_address(url).last)
    if not name or "/" in name or name.startswith("."):
        raise StepError(
            f"{url} names no file", hint="give the batch a name: `file: penguins.csv` at the source"
        )
    return _Offer(
        url,
        name,
        lambda file, tag, limit: web.fetch(url, file, tag=tag, limit=limit, report=report),
    )


def _offer_local(path: Path, environment: Mapping[str, str]) -> Iterator[_Offer]:
    if "KUBERNETES_SERVICE_HOST" in environment:
        raise StepError(
            f"file://{path} is a path of one machine, and this is a pod",
            hint="put the files into the bucket with `driftloop data put`, or behind https or an object store",
        )
    if not path.exists():
        raise StepError(
            f"file://{path} does not exist", hint="name a file or folder of this machine"
        )
    names = [""] if path.is_file() else s3.files_below(path)
    for name in names:
        place = path / name if name else path
        facts = place.stat()
        tag = f"modified {facts.st_mtime_ns} {facts.st_size}"

        def fetch(
            file: Path, known: str, limit: int, place: Path = place, tag: str = tag
        ) -> DownloadedFile:
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(place, file)
            return DownloadedFile(tag, file.stat().st_size, s3.file_digest(file))

        yield _Offer(f"file://{place}", name or path.name, fetch, tag, facts.st_size)


def _refuse_same_names(source: SourceSettings, offers: Sequence[_Offer]) -> None:
    if not offers:
        raise StepError(
            f"source {source.name}: no files below {source.urls[0]}",
            hint="check the address; take the source out of `data.sources` if it is empty for good",
        )
    first: dict[str, str] = {}
    for offer in offers:
        s3.join_inside(Path(source.name), offer.name)
        if (other := first.setdefault(offer.name, offer.url)) != offer.url:
            raise StepError(
                f"source {source.name}: {other} and {offer.url} have the same name, {offer.name}",
                hint="give each a source of its own",
            )


def _name_some(urls: Sequence[str]) -> str:
    more = f" and {len(urls) - MOST_NAMED} more" if len(urls) > MOST_NAMED else ""
    return ", ".join(urls[:MOST_NAMED]) + more
