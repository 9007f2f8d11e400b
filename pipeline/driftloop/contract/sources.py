"""Sources: places outside the pipeline's bucket that its batches come from.

The step `collect` copies what is new there into the bucket of runs, each content once, under its digest, and
lists what there is now in sources.json; snapshots are made of that list.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, assert_never, get_args
from urllib.parse import parse_qsl, urlsplit

from driftloop.contract.documents import (
    document_key,
    from_json,
    is_text,
    is_texts,
    is_whole,
    parse_json,
    texts_key,
    to_json,
)

SourceKind = Literal["https", "s3", "gs", "azure", "file"]
"""Way in which a source is read."""

CredentialName = Literal[
    "token",
    "user",
    "password",
    "access-key",
    "secret-key",
    "session-token",
    "service-account",
    "account-key",
    "sas",
]
CREDENTIAL_NAMES: tuple[CredentialName, ...] = get_args(CredentialName)
TAKEN: Mapping[SourceKind, tuple[tuple[CredentialName, ...], ...]] = {
    "https": (("token",), ("user", "password")),
    "s3": (("access-key", "secret-key"), ("access-key", "secret-key", "session-token")),
    "gs": (("service-account",),),
    "azure": (("account-key",), ("sas",)),
    "file": (),
}
"""Credentials that a source of a kind takes: one of these sets, or none of any."""
TAGGED = "sha256:"
"""Begin of the tag of a batch that was collected: its digest stands in the place of a store's tag."""
_SECRETS = frozenset(
    {
        "access_token",
        "api_key",
        "apikey",
        "password",
        "sig",
        "signature",
        "token",
        "x-amz-signature",
        "x-goog-signature",
    }
)
"""Names in a query, in lower case, whose values open something."""
_BUCKET = r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]"
_KEY = r"(/[A-Za-z0-9!_.*'()=@,+-]+)*/?"
_IN_CLUSTER = re.compile(
    r"[a-z0-9-]+(\.[a-z0-9-]+)?\.svc(\.cluster\.local)?|127\.0\.0\.1|localhost"
)


@dataclass(frozen=True)
class SourceAddress:
    """A source's URL taken apart."""

    kind: SourceKind
    bucket: str = ""
    """Bucket or container; of an `https` URL the host, with a port where it names one."""
    path: str = ""
    """Folder or file in it, without slashes at its ends."""
    account: str = ""
    """Storage account of Azure, where the URL names it."""

    @property
    def last(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[-1]


def parse_address(url: str) -> SourceAddress:
    """Take the URL of a source apart; ValueError says what it must be."""
    scheme = url.partition("://")[0]
    if re.match(r"[a-z0-9+.-]+://[^/@]*:[^/@]*@", url):
        raise ValueError(
            "must be without user and password: git keeps what a spec says; name a Secret's keys in `credentials`"
        )
    match scheme:
        case "https":
            return _parse_web(url)
        case "s3" | "gs":
            return _parse_bucket(url, "s3" if scheme == "s3" else "gs")
        case "az" | "abfs" | "abfss":
            return _parse_container(url)
        case "file":
            return _parse_file(url)
        case "http":
            raise ValueError(
                "must be https: over plain http anybody on the way can change the data that a model learns from"
            )
        case _:
            raise ValueError(
                "must be a URL with one of: https://, s3://, gs://, az://, abfs://, file:// and a whole path; files "
                "beside the spec go into the bucket with `driftloop data put`"
            )


def _parse_web(url: str) -> SourceAddress:
    if not re.fullmatch(
        r"https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?(\?[^#\s{}\"]*)?",
        url,
    ):
        raise ValueError(
            "must be the address of a file, such as https://data.example.org/penguins.csv"
        )
    parts = urlsplit(url)
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if name.lower() in _SECRETS:
            raise ValueError(
                f"must not hold `{name}`: git keeps what a spec says; name a Secret's key in `credentials`"
            )
    return SourceAddress("https", parts.netloc, parts.path.strip("/"))


def _parse_bucket(url: str, kind: Literal["s3", "gs"]) -> SourceAddress:
    if not re.fullmatch(rf"[a-z0-9]+://{_BUCKET}{_KEY}", url):
        raise ValueError(
            f"must be a bucket and a folder or file in it, such as {kind}://acme-exports/daily"
        )
    parts = urlsplit(url)
    return SourceAddress(kind, parts.netloc, _refuse_dots(parts.path))


def _parse_container(url: str) -> SourceAddress:
    if match := re.fullmatch(rf"az://({_BUCKET})({_KEY})", url):
        return SourceAddress("azure", match[1], _refuse_dots(match[2]))
    match = re.fullmatch(
        rf"abfss?://({_BUCKET})@([a-z0-9]{{3,24}})\.(dfs|blob)\.core\.windows\.net({_KEY})", url
    )
    if match is None:
        raise ValueError(
            "must be a container and a folder or file in it, such as az://exports/daily with `account`, or "
            "abfs://exports@acmedata.dfs.core.windows.net/daily"
        )
    return SourceAddress("azure", match[1], _refuse_dots(match[4]), match[2])


def _parse_file(url: str) -> SourceAddress:
    path = url.removeprefix("file://")
    if not path.startswith("/") or not path.isprintable() or any(mark in path for mark in "{}?#%"):
        raise ValueError(
            "must be file:// and a whole path, such as file:///srv/exports/penguins.csv; files beside the spec go "
            "into the bucket with `driftloop data put`"
        )
    return SourceAddress("file", "", _refuse_dots(path))


def _refuse_dots(path: str) -> str:
    if any(part in {".", ".."} for part in path.split("/")):
        raise ValueError("must not contain . or .. as a folder")
    return path.strip("/")


def check_endpoint(text: str) -> str:
    """Return the address of a store; ValueError for one that is none, and for plain http beyond the cluster."""
    match = re.fullmatch(r"(https?)://([A-Za-z0-9.-]+)(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*/?", text)
    if match is None:
        raise ValueError(
            "must be the address of an object store, such as https://minio.example.org:9000"
        )
    if match[1] == "http" and not _IN_CLUSTER.fullmatch(match[2]):
        raise ValueError(
            "must be https: over plain http anybody on the way reads the keys' signatures and can change the data; "
            "http is for Services of the cluster, such as http://minio.storage.svc.cluster.local:9000"
        )
    return text.rstrip("/")


def authority_variable(source: str) -> str:
    """Return the environment variable by which the steps that read a source get the certificates that they trust."""
    return f"DRIFTLOOP_SOURCE_{source}_AUTHORITY".upper().replace("-", "_")


def credential_variable(source: str, name: CredentialName) -> str:
    """Return the environment variable by which the steps that read a source get a credential of it."""
    return f"DRIFTLOOP_SOURCE_{source}_{name}".upper().replace("-", "_")


def _optional(key: str, what: str) -> Any:
    return document_key(key, what, lambda v: v is None or is_text(v), default=None, omits_none=True)


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """One source, as the steps that read it are told."""

    name: str = document_key("name", "a text", is_text)
    """Name in the spec: the folder of its batches."""
    urls: tuple[str, ...] = document_key(
        "urls", "a list of texts", lambda v: is_texts(v) and len(v) > 0, read=tuple, write=list
    )
    """Files, or one folder."""
    file: str | None = _optional("file", "a name")
    """Name of the batch."""
    sha256: str | None = _optional("sha256", "a digest in hex")
    """Digest that its one file must have."""
    endpoint: str | None = _optional("endpoint", "an address")
    """Address of the store."""
    region: str | None = _optional("region", "a text")
    """Region of the store."""
    account: str | None = _optional("account", "a text")
    """Storage account of Azure."""
    redirects: tuple[str, ...] = texts_key("redirects")
    """Other hosts that it may be sent on to."""

    @property
    def address(self) -> SourceAddress:
        """The first URL, taken apart."""
        return parse_address(self.urls[0])

    @classmethod
    def read(cls, document: object) -> "SourceSettings":
        """Read the settings from plain data; DocumentError."""
        return from_json(cls, document, label="a source")


def parse_sources(text: str) -> tuple[SourceSettings, ...]:
    """Read sources from JSON text; DocumentError."""
    document = parse_json(text, label="the sources")
    return tuple(map(SourceSettings.read, document if isinstance(document, list) else [document]))


@dataclass(frozen=True, kw_only=True)
class CollectedFile:
    """One file of a source, as it is kept in the bucket."""

    source: str = document_key("source", "a text", is_text)
    """Name of the source."""
    url: str = document_key("url", "a text", is_text)
    """URL of the file."""
    key: str = document_key("key", "a key", is_text)
    """Key of the batch: the source's name, and the file's name or its path in the source's folder."""
    tag: str = document_key("tag", "a text", lambda v: isinstance(v, str))
    """What its server says of its content (ETag, or time of the last change); empty when it says nothing."""
    size: int = document_key("size", "bytes, 0 or more", lambda v: is_whole(v, 0))
    """Bytes."""
    sha256: str = document_key("sha256", "a digest in hex", is_text)
    """Digest."""

    @classmethod
    def read(cls, document: object) -> "CollectedFile":
        """Read it from plain data; DocumentError."""
        return from_json(cls, document, label="a file of sources.json", closed=False)


@dataclass(frozen=True)
class CollectedFiles:
    """sources.json: the files of all sources of a pipeline."""

    files: tuple[CollectedFile, ...] = document_key(
        "files",
        "a list of files",
        lambda v: isinstance(v, list),
        read=lambda v: tuple(map(CollectedFile.read, v)),
        write=lambda v: [to_json(file) for file in v],
    )
    """Files, in the order of their keys."""
    gone: tuple[str, ...] = texts_key("gone")
    """URLs of files that were there the time before, and are no more."""

    @classmethod
    def read(cls, document: object) -> "CollectedFiles":
        """Read the files from plain data; DocumentError."""
        return from_json(cls, document, label="sources.json", closed=False)


def names_credentials(kind: SourceKind) -> str:
    """Return the credentials that a source of a kind takes, in words of the spec."""
    match kind:
        case "https":
            return "`token`, or `user` and `password`"
        case "s3":
            return "`accessKey` and `secretKey`, with `sessionToken` where there is one"
        case "gs":
            return "`serviceAccount`"
        case "azure":
            return "`accountKey` or `sas`"
        case "file":
            return "none"
        case _:
            assert_never(kind)
