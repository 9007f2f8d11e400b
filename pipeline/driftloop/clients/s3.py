"""S3 as everything here uses it: folders in, folders out, digests, and errors a user can act on.

A folder is a key prefix. boto3 is imported with the first store, since it is the heaviest
library of the process.
"""

import functools
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from driftloop.contract.platform import ACCESS_KEY, S3_ENDPOINT, S3_REGION, SECRET_KEY
from driftloop.errors import StoreError

if TYPE_CHECKING:
    from boto3.session import Session
    from mypy_boto3_s3 import S3Client

CHUNK = 1024 * 1024

IN_PARTS = 8 * CHUNK
"""Bytes above which a file is sent in parts."""

T = TypeVar("T")


class MissingObjectError(StoreError):
    """An object, folder or bucket that does not exist."""


class StoppedError(StoreError):
    """Whoever asked for this does not want it any more."""


@dataclass(frozen=True, slots=True)
class StoreLocation:
    """A bucket and a key or prefix in it (without a leading slash)."""

    bucket: str
    key: str = ""

    def relative_key(self, key: str) -> str:
        """Return the name, within this folder, of a key that lies in it."""
        return key[len(_as_folder(self).key) :]

    def __truediv__(self, name: str) -> "StoreLocation":
        """The location `name` below this one."""
        return StoreLocation(self.bucket, f"{self.key.rstrip('/')}/{name}" if self.key else name)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


_IDENTITY = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
)
"""Variables by which a cloud tells a pod how to get credentials of its own."""


@dataclass(frozen=True, slots=True)
class StoreObject:
    """One stored object; `size` in bytes, `etag` without quotes, `modified` in seconds since 1970."""

    key: str
    size: int
    etag: str
    modified: float = 0.0


def parse_location(uri: str) -> StoreLocation:
    """`s3://bucket/key` taken apart; StoreError when it is something else."""
    scheme, found, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not found or not bucket:
        raise StoreError(f"`{uri}` is not an S3 URI", hint="write s3://<bucket>/<prefix>")
    return StoreLocation(bucket, key)


@dataclass(frozen=True)
class ObjectStore:
    """One S3 endpoint. Methods block and raise StoreError; MissingObjectError when what was
    asked for is not there."""

    client: "S3Client"
    endpoint: str
    stop: threading.Event | None = None
    """Once it is set, calls end with StoppedError: before the next object, in the middle of a
    large one."""

    @classmethod
    def from_endpoint(
        cls,
        endpoint: str,
        *,
        access_key: str | None,
        secret_key: str | None,
        region: str = "us-east-1",
        attempts: int = 8,
        patience: float = 60,
    ) -> "ObjectStore":
        """The store at an URL with scheme; every call is tried `attempts` times, about ten
        seconds in all, and a server that says nothing is waited for `patience` seconds each."""
        from botocore.config import Config

        config = Config(
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": attempts, "mode": "standard"},
            connect_timeout=5,
            read_timeout=patience,
            # the trailing checksums that boto3 adds by default are beyond many S3 servers
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        # a session may make clients for one thread at a time
        with _ONE_AT_A_TIME:
            client = _open_session().client(
                "s3",
                endpoint_url=endpoint,
                region_name=region,
                aws_access_key_id=access_key,
                aws_secret_access_key=secret_key,
                config=config,
            )
        return cls(client, endpoint)

    def until_stopped(self, stop: threading.Event) -> "ObjectStore":
        """The same store, for somebody who may lose interest."""
        return replace(self, stop=stop)

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str], *, attempts: int = 8, patience: float = 60
    ) -> "ObjectStore":
        """The store that a container's environment names (docs/architecture.md, Platform
        addresses), by its keys or the identity that a cloud gives its
        pod; every call is tried `attempts` times, each for `patience` seconds."""
        has_identity = any(environment.get(name) for name in _IDENTITY)
        needed = (S3_ENDPOINT,) if has_identity else (S3_ENDPOINT, ACCESS_KEY, SECRET_KEY)
        names = tuple(setting.environment for setting in needed)
        if missing := [name for name in names if not environment.get(name)]:
            raise StoreError(
                f"{', '.join(missing)} not set",
                hint="in a pod they come from the ConfigMap and the Secret `driftloop-platform`",
            )
        endpoint = environment[S3_ENDPOINT.environment]
        region = environment.get(S3_REGION.environment) or "us-east-1"
        return cls.from_endpoint(
            endpoint,
            access_key=environment.get(ACCESS_KEY.environment) or None,
            secret_key=environment.get(SECRET_KEY.environment) or None,
            region=region,
            attempts=attempts,
            patience=patience,
        )

    def list_objects(self, prefix: StoreLocation) -> Iterator[StoreObject]:
        """Objects whose key starts with the prefix, in the order of their keys; folder markers
        are left out."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=prefix.bucket, Prefix=prefix.key
        )
        pending = iter(pages)
        while (page := self._ask_store(prefix, lambda: next(pending, None))) is not None:
            for entry in page.get("Contents", []):
                if not entry["Key"].endswith("/"):
                    etag, modified = entry["ETag"].strip('"'), entry["LastModified"].timestamp()
                    yield StoreObject(entry["Key"], entry["Size"], etag, modified)

    def list_folder(self, prefix: StoreLocation) -> list[StoreObject]:
        """The objects below `<prefix>/`: never a neighbour whose name only starts alike."""
        return list(self.list_objects(_as_folder(prefix)))

    def list_folders(self, prefix: StoreLocation) -> tuple[str, ...]:
        """Return the names of the folders right below `<prefix>/`, sorted."""
        folder = _as_folder(prefix)
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=folder.bucket, Prefix=folder.key, Delimiter="/"
        )
        pending, names = iter(pages), []
        while (page := self._ask_store(folder, lambda: next(pending, None))) is not None:
            for entry in page.get("CommonPrefixes", []):
                names.append(entry["Prefix"].removeprefix(folder.key).rstrip("/"))
        return tuple(sorted(names))

    def has_object(self, at: StoreLocation) -> bool:
        """Return True if there is an object with exactly this key."""
        try:
            self._ask_store(at, lambda: self.client.head_object(Bucket=at.bucket, Key=at.key))
        except MissingObjectError:
            return False
        return True

    def read_object(self, at: StoreLocation, *, limit: int = 64 * CHUNK) -> bytes:
        """An object's bytes; StoreError when it is larger than `limit` bytes."""

        def fetch() -> bytes:
            answer = self.client.get_object(Bucket=at.bucket, Key=at.key)
            if answer["ContentLength"] > limit:
                answer["Body"].close()
                raise StoreError(
                    f"{at} has {answer['ContentLength']} bytes, must be at most {limit}"
                )
            return answer["Body"].read()

        return self._ask_store(at, fetch)

    def read_json(self, at: StoreLocation) -> Any:
        """An object parsed as JSON."""
        try:
            return json.loads(self.read_object(at))
        except ValueError as error:
            raise StoreError(f"{at} is not JSON: {error}") from error

    def write_object(self, at: StoreLocation, data: bytes) -> None:
        """Put bytes at a key, over whatever was there."""
        self._ask_store(at, lambda: self.client.put_object(Bucket=at.bucket, Key=at.key, Body=data))

    def write_json(self, at: StoreLocation, value: Any) -> None:
        """Put a value as JSON with sorted keys."""
        self.write_object(at, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())

    def get_file(self, at: StoreLocation, file: Path) -> str:
        """Fetch an object to a file, streaming; it appears whole or not at all. Returns its
        SHA-256 in hex."""

        def fetch() -> str:
            body = self.client.get_object(Bucket=at.bucket, Key=at.key)["Body"]
            file.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name[:60]}.")
            digest = hashlib.sha256()
            try:
                os.fchmod(handle, 0o644)
                with os.fdopen(handle, "wb") as out:
                    for chunk in body.iter_chunks(CHUNK):
                        self._go_on(at)
                        digest.update(chunk)
                        out.write(chunk)
                os.replace(temporary, file)
            finally:
                Path(temporary).unlink(missing_ok=True)
            return digest.hexdigest()

        return self._ask_store(at, fetch)

    def put_file(self, file: Path, at: StoreLocation) -> None:
        """Send a file to a key; large files go in parts."""
        from boto3.s3.transfer import TransferConfig

        def send() -> None:
            if file.stat().st_size <= IN_PARTS:
                with file.open("rb") as body:
                    self.client.put_object(Bucket=at.bucket, Key=at.key, Body=body)
                return
            # without its own threads: many steps send at once
            config = TransferConfig(use_threads=False)
            self.client.upload_file(
                str(file), at.bucket, at.key, Config=config, Callback=lambda _: self._go_on(at)
            )

        self._ask_store(at, send)

    def get_folder(self, prefix: StoreLocation, folder: Path) -> int:
        """Fetch everything below `<prefix>/` into a folder; returns the number of files. Missing
        when there is none."""
        entries = self.list_folder(prefix)
        if not entries:
            raise MissingObjectError(f"{_as_folder(prefix)} contains no objects")
        folder.mkdir(parents=True, exist_ok=True)
        for entry in entries:
            self.get_file(
                StoreLocation(prefix.bucket, entry.key),
                folder / _relative_path(prefix.relative_key(entry.key), prefix),
            )
        return len(entries)

    def put_folder(self, folder: Path, prefix: StoreLocation, *, mirror: bool = False) -> int:
        """Send every file below a folder; returns their number. `mirror` removes what else is
        there."""
        files = files_below(folder)
        target = _as_folder(prefix)
        for name in files:
            self.put_file(folder / name, StoreLocation(prefix.bucket, target.key + name))
        if mirror:
            for entry in self.list_folder(prefix):
                if target.relative_key(entry.key) not in files:
                    self.delete_object(StoreLocation(prefix.bucket, entry.key))
        return len(files)

    def copy_folder(self, source: StoreLocation, target: StoreLocation) -> int:
        """Copy everything below one prefix to below another, inside the store; returns the
        number of objects."""
        entries = self.list_folder(source)
        for entry in entries:
            to = _as_folder(target).key + source.relative_key(entry.key)
            origin = {"Bucket": source.bucket, "Key": entry.key}
            self._ask_store(
                target,
                lambda to=to, origin=origin: self.client.copy_object(
                    Bucket=target.bucket, Key=to, CopySource=origin
                ),  # type: ignore[misc]
            )
        return len(entries)

    def delete_object(self, at: StoreLocation) -> None:
        """Remove an object; nothing happens when there is none."""
        self._ask_store(at, lambda: self.client.delete_object(Bucket=at.bucket, Key=at.key))

    def digest_object(self, at: StoreLocation) -> str:
        """An object's SHA-256 in hex, streaming."""

        def fetch() -> str:
            digest = hashlib.sha256()
            for chunk in self.client.get_object(Bucket=at.bucket, Key=at.key)["Body"].iter_chunks(
                CHUNK
            ):
                digest.update(chunk)
            return digest.hexdigest()

        return self._ask_store(at, fetch)

    def digest_folder(self, prefix: StoreLocation) -> str:
        """The digest of a stored folder: the same as `folder_digest` of the files it was made
        from."""
        return combined_digest(
            {
                prefix.relative_key(o.key): self.digest_object(StoreLocation(prefix.bucket, o.key))
                for o in self.list_folder(prefix)
            }
        )

    def create_bucket(self, bucket: str) -> None:
        """The bucket exists afterwards."""
        try:
            self._ask_store(StoreLocation(bucket), lambda: self.client.head_bucket(Bucket=bucket))
        except MissingObjectError:
            self._ask_store(StoreLocation(bucket), lambda: self.client.create_bucket(Bucket=bucket))

    def _ask_store(self, at: StoreLocation, call: Callable[[], T]) -> T:
        """Run one call and say its failure in our words."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        self._go_on(at)
        try:
            return call()
        except ClientError as error:
            raise self._translate_refusal(at, error.response) from error
        except (HTTPClientError, BotoCoreError) as error:
            raise StoreError(
                f"no answer from S3 at {self.endpoint} for {at}: {error}",
                hint="check that the object store is running",
            ) from error
        except Boto3Error as error:
            cause = error.__context__
            if isinstance(cause, ClientError):
                raise self._translate_refusal(at, cause.response) from error
            raise StoreError(
                f"{at}: {error}", hint="check that the object store is running"
            ) from error
        except OSError as error:
            raise StoreError(f"{at}: {error}", hint="check the free space on the disk") from error

    def _go_on(self, at: StoreLocation) -> None:
        if self.stop is not None and self.stop.is_set():
            raise StoppedError(f"{at}: stopped")

    def _translate_refusal(self, at: StoreLocation, response: Mapping[str, Any]) -> StoreError:
        detail = response.get("Error", {})
        code = str(detail.get("Code", ""))
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status == 404 or code in ("NoSuchKey", "NoSuchBucket", "404"):
            return MissingObjectError(
                f"{at} does not exist", hint=f"the object store is {self.endpoint}"
            )
        if status == 403:
            return StoreError(
                f"{at}: the object store denies access ({code})",
                hint="check the keys in the Secret `driftloop-platform`; a namespace's key opens its own "
                "buckets, and those of `driftloop secrets init --data-bucket`",
            )
        if status == 507 or code in ("InsufficientStorage", "XMinioStorageFull"):
            return StoreError(
                f"{at}: the object store is full", hint="free some space; stored objects are kept"
            )
        text = (
            f"{at}: the object store answered {code or status}: {detail.get('Message', '')}".rstrip(
                ": "
            )
        )
        hint = None
        if status is not None and status >= 500:
            # rclone, for one, has no other answer when there is no room, and a step's message has no hint
            text += "; the disk of the store may be full"
            hint = "check the log of the object store, and its free disk space"
        return StoreError(text, hint=hint)


def files_below(folder: Path) -> list[str]:
    """Relative names ("/" between parts) of all regular files, sorted.

    StoreError names a link that leads out of the folder or nowhere, and what is neither a file
    nor a folder: nothing is left out in silence, and nothing else's files get in.
    """
    root = folder.resolve()
    names = []
    for path in folder.rglob("*"):
        if path.is_symlink() and not (path.exists() and path.resolve().is_relative_to(root)):
            raise StoreError(
                f"{path} is a link to `{path.readlink()}`, must name a file inside {folder}",
                hint="put a copy of the file in its place",
            )
        if path.is_symlink() and path.is_dir():
            raise StoreError(
                f"{path} is a link to a folder", hint="put the folder itself in its place"
            )
        if path.is_dir():
            continue
        if not path.is_file():
            raise StoreError(
                f"{path} is a named pipe, a socket or a device, not a plain file",
                hint="remove it, or put a plain file in its place",
            )
        names.append(path.relative_to(folder).as_posix())
    return sorted(names)


def join_inside(folder: Path, name: str) -> Path:
    """Return the path of a relative name below a folder; StoreError for one that leads out of it."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts:
        raise StoreError(f"`{name}` is not a path inside a folder")
    return folder / path


def file_digest(file: Path) -> str:
    """SHA-256 in hex of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """`sha256:<hex>` over the names and contents of all files below a folder."""
    return combined_digest({name: file_digest(folder / name) for name in files_below(folder)})


def combined_digest(digests: Mapping[str, str]) -> str:
    """`sha256:<hex>` of a folder whose files have these SHA-256 digests, whatever the order they
    are given in."""
    whole = hashlib.sha256()
    for name in sorted(digests):
        whole.update(f"{digests[name]}  {name}\n".encode())
    return f"sha256:{whole.hexdigest()}"


_ONE_AT_A_TIME = threading.Lock()


@functools.cache
def _open_session() -> "Session":
    """Return the session of this process: with one of its own each client would read and keep 12 MB of
    descriptions, in 60 ms."""
    import boto3

    return boto3.session.Session()


def _as_folder(prefix: StoreLocation) -> StoreLocation:
    return (
        prefix
        if not prefix.key or prefix.key.endswith("/")
        else StoreLocation(prefix.bucket, prefix.key + "/")
    )


def _relative_path(name: str, prefix: StoreLocation) -> PurePosixPath:
    """A key's rest as a relative path; a key that climbs out of the folder is refused."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise StoreError(f"{prefix} holds the key `{name}`, which is not a path inside a folder")
    return path
