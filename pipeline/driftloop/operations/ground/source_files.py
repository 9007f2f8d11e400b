"""Files that sources of data have: looked at and fetched, whatever they are then kept in."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from driftloop.clients import s3
from driftloop.clients.buckets import BucketObject, BucketPlace
from driftloop.clients.downloads import DownloadedFile, Report, WebFiles
from driftloop.contract.sources import (
    CREDENTIAL_NAMES,
    SourceSettings,
    authority_variable,
    credential_variable,
    parse_address,
)
from driftloop.errors import StepError


@dataclass(frozen=True)
class SourceFile:
    """A file that a source has, before it is fetched."""

    url: str
    name: str
    """Name or path below the source's folder."""
    fetch: Callable[[Path, str, int], DownloadedFile | None]
    """Fetches it to a file, unless it is what it was at a tag; the bound is in bytes."""
    tag: str = ""
    """What the source says of its content before it is asked for it."""
    size: int = 0


@dataclass(frozen=True)
class SourceReader:
    """Reads sources with the credentials of an environment."""

    environment: Mapping[str, str] = field(repr=False)
    report: Report

    def list_files(self, source: SourceSettings, limit: int) -> list[SourceFile]:
        """Return the files of a source; StepError when there are none, two have one name, or all together have more
        bytes than the limit."""
        files = list(self._list_offers(source))
        _refuse_same_names(source, files)
        if (total := sum(file.size for file in files)) > limit:
            raise StepError(
                f"source {source.name}: {total} bytes at {source.urls[0]}, at most {limit} more are read",
                hint="raise `data.maxSize` in the spec, or name less",
            )
        return files

    def _list_offers(self, source: SourceSettings) -> Iterator[SourceFile]:
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

                    yield SourceFile(f"{root}/{entry.path}", name, fetch, entry.tag, entry.size)

    def _read_credentials(self, source: SourceSettings) -> dict[str, str]:
        names = {name: credential_variable(source.name, name) for name in CREDENTIAL_NAMES}
        return {
            name: self.environment[variable]
            for name, variable in names.items()
            if self.environment.get(variable)
        }


def fetch_sources(
    sources: Sequence[SourceSettings], reader: SourceReader, folder: Path, limit: int
) -> int:
    """Fetch all files of sources into a folder, as a run has them there; their number."""
    count = 0
    for source in sources:
        for file in reader.list_files(source, limit):
            fetched = file.fetch(s3.join_inside(folder / source.name, file.name), "", limit)
            limit -= fetched.size if fetched is not None else 0
            count += 1
    return count


def _offer_web(source: SourceSettings, web: WebFiles, url: str, report: Report) -> SourceFile:
    name = source.file or unquote(parse_address(url).last)
    if not name or "/" in name or name.startswith("."):
        raise StepError(
            f"{url} names no file", hint="give the batch a name: `file: penguins.csv` at the source"
        )
    return SourceFile(
        url,
        name,
        lambda file, tag, limit: web.fetch(url, file, tag=tag, limit=limit, report=report),
    )


def _offer_local(path: Path, environment: Mapping[str, str]) -> Iterator[SourceFile]:
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

        yield SourceFile(f"file://{place}", name or path.name, fetch, tag, facts.st_size)


def _refuse_same_names(source: SourceSettings, offers: Sequence[SourceFile]) -> None:
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
