"""Buckets of others: S3 of any endpoint, Google Cloud Storage, Azure Blob Storage; read only.

obstore speaks all three (docs/decisions/0083-data-from-elsewhere.md); it is imported with the first bucket. It takes
settings from the environment, where those of the platform's own store are: they are hidden from it.
"""

import contextlib
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, assert_never

from driftloop.clients.downloads import (
    BETWEEN_REPORTS,
    CHUNK,
    DownloadedFile,
    Report,
    describe_size,
)
from driftloop.errors import InstallationError, StoreError

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Store

    Store = S3Store | GCSStore | AzureStore

BucketKind = Literal["s3", "gs", "azure"]
MOST_OBJECTS = 50_000
_HIDDEN = ("AWS_", "AZURE_", "GOOGLE_", "SERVICE_ACCOUNT", "MSI_", "IDENTITY_")
_STATUS = re.compile(r"non-2xx status code: (\d{3}[^:\n]*)")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_REASON = re.compile(r'message: "([^"]+)"')
_TRUSTED = "SSL_CERT_FILE"
_AMAZON = "https://s3.{region}.amazonaws.com"


@dataclass(frozen=True)
class BucketObject:
    """An object of a bucket."""

    path: str
    """Key in the bucket."""
    size: int
    tag: str
    """Its ETag, or the time of its last change."""


@dataclass(frozen=True)
class BucketPlace:
    """A bucket, and what opens it."""

    kind: BucketKind
    bucket: str
    url: str
    """As messages name it."""
    endpoint: str | None = None
    region: str | None = None
    account: str | None = None
    authority: str = ""
    """Certificates (PEM) that are trusted in the place of the system's."""

    def open(self, credentials: Mapping[str, str]) -> "Bucket":
        """Return the bucket; StoreError for credentials that are none."""
        try:
            import obstore.store as stores
        except ModuleNotFoundError as error:
            raise InstallationError(
                f"{self.url} needs `obstore`, which the extra `local` adds"
            ) from error
        options: dict[str, Any] = {
            "client_options": {
                "allow_http": (self.endpoint or "").startswith("http://"),
                "connect_timeout": timedelta(seconds=20),
                "timeout": timedelta(hours=4),
            },
            "retry_config": {"max_retries": 4, "retry_timeout": timedelta(seconds=60)},
        }
        with _hide_settings(), _trust_authority(self.authority):
            try:
                store = self._open_store(stores, credentials, options)
            except Exception:  # what it says may hold the credentials
                raise StoreError(
                    f"{self.url}: the credentials can't be read as those of {self.kind}",
                    hint="check the Secret's keys that `credentials` of the source names",
                ) from None
        return Bucket(self, store, bool(credentials))

    def _open_store(
        self, stores: Any, credentials: Mapping[str, str], options: Mapping[str, Any]
    ) -> "Store":
        match self.kind:
            case "s3":
                region = self.region or "us-east-1"
                keys = {
                    "access_key_id": credentials.get("access-key"),
                    "secret_access_key": credentials.get("secret-key"),
                    "session_token": credentials.get("session-token"),
                }
                s3: S3Store = stores.S3Store(
                    self.bucket,
                    endpoint=self.endpoint or _AMAZON.format(region=region),
                    region=region,
                    virtual_hosted_style_request=False,
                    skip_signature=not credentials,
                    **{name: key for name, key in keys.items() if key},
                    **options,
                )
                return s3
            case "gs":
                key = credentials.get("service-account")
                if key is not None:
                    _check_service_account(key)
                gs: GCSStore = stores.GCSStore(
                    self.bucket,
                    **({"service_account_key": key} if key else {"skip_signature": True}),
                    **({"base_url": self.endpoint} if self.endpoint else {}),
                    **options,
                )
                return gs
            case "azure":
                keys = {
                    "account_key": credentials.get("account-key"),
                    "sas_key": credentials.get("sas"),
                    "endpoint": self.endpoint,
                }
                azure: AzureStore = stores.AzureStore(
                    self.bucket,
                    account_name=self.account,
                    skip_signature=not credentials,
                    **{name: key for name, key in keys.items() if key},
                    **options,
                )
                return azure
            case _:
                assert_never(self.kind)


@dataclass(frozen=True)
class Bucket:
    """An open bucket. Methods block and raise StoreError, which names the URL and what to do."""

    place: BucketPlace
    store: "Store"
    has_credentials: bool

    def list_objects(self, path: str) -> list[BucketObject]:
        """Return the objects below a folder, or the one that has this path; by their paths."""
        import obstore

        with self._translate(path):
            found = []
            for part in obstore.list(self.store, path or None):
                found += [_read_meta(meta) for meta in part]
                if len(found) > MOST_OBJECTS:
                    raise StoreError(
                        f"more than {MOST_OBJECTS} objects below {self.place.url}, at most these are read",
                        hint="name a folder with fewer, or join small files",
                    )
            if not found and path:
                found = [_read_meta(obstore.head(self.store, path))]
        return sorted(
            (each for each in found if not each.path.endswith("/")), key=lambda each: each.path
        )

    def fetch(self, entry: BucketObject, file: Path, *, report: Report) -> DownloadedFile:
        """Fetch an object to a file, in pieces."""
        import obstore

        digest, size, told = hashlib.sha256(), 0, time.monotonic()
        file.parent.mkdir(parents=True, exist_ok=True)
        with self._translate(entry.path), file.open("wb") as out:
            answer = obstore.get(self.store, entry.path)
            for chunk in answer.stream(min_chunk_size=CHUNK):
                size += len(chunk)
                if size > answer.meta["size"]:
                    raise StoreError(f"{self.place.url}: {entry.path} is longer than it was listed")
                digest.update(chunk)
                out.write(chunk)
                if (now := time.monotonic()) - told >= BETWEEN_REPORTS:
                    told = now
                    report(f"{entry.path}: {describe_size(size, answer.meta['size'])}")
        return DownloadedFile(entry.tag, size, digest.hexdigest())

    @contextlib.contextmanager
    def _translate(self, path: str) -> Iterator[None]:
        from obstore import exceptions

        try:
            yield
        except (FileNotFoundError, PermissionError, exceptions.BaseError) as error:
            raise self._explain(path, str(error)) from None

    def _explain(self, path: str, text: str) -> StoreError:
        """Return the error of the store, without its request: Azure's has the signature in its URL."""
        where = f"{self.place.url}: {path or self.place.bucket}"
        status = match[1].strip() if (match := _STATUS.search(text)) else ""
        code = match[1] if (match := _CODE.search(text)) else ""
        said = " ".join(filter(None, (status, code)))
        if status.startswith("404"):
            return StoreError(
                f"{where} does not exist ({said})",
                hint="check the address, and the `endpoint` of the source",
            )
        if status.startswith(("400", "401", "403")):
            hint = (
                "check the Secret's keys that `credentials` of the source names"
                if self.has_credentials
                else "it may not be public: name a Secret's keys in `credentials` of the source"
            )
            return StoreError(f"{where}: the store refuses the request ({said})", hint=hint)
        if status:
            return StoreError(
                f"{where}: the store answers {said}", hint="ask whoever runs it, and try again"
            )
        if "InvalidCertificate" in text:
            return StoreError(
                f"{where}: the store's certificate is not trusted",
                hint="if it is from an authority of your own, give its certificate: `authority` of the source",
            )
        reason = match[1] if (match := _REASON.search(text)) else "no answer"
        return StoreError(
            f"{where} can't be reached: {reason}",
            hint="check the `endpoint` of the source, and whether the pod's network lets it out",
        )


def _read_meta(meta: Mapping[str, Any]) -> BucketObject:
    changed = f"modified {meta['last_modified'].isoformat()} {meta['size']}"
    # Google's list has them without the quotes that an answer has
    tag = (meta["e_tag"] or "").strip('"')
    return BucketObject(meta["path"], meta["size"], f"etag {tag}" if tag else changed)


def _check_service_account(text: str) -> None:
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict) or "private_key" not in document:
        raise ValueError("the key of the service account is not the JSON file that Google gives")


@contextlib.contextmanager
def _trust_authority(certificates: str) -> Iterator[None]:
    """Have obstore trust certificates: it reads the file that a variable names when a store is made."""
    if not certificates:
        yield
        return
    before = os.environ.get(_TRUSTED)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(certificates)
        file.flush()
        os.environ[_TRUSTED] = file.name
        try:
            yield
        finally:
            os.environ.pop(_TRUSTED)
            if before is not None:
                os.environ[_TRUSTED] = before


@contextlib.contextmanager
def _hide_settings() -> Iterator[None]:
    hidden = {name: value for name, value in os.environ.items() if name.startswith(_HIDDEN)}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)
