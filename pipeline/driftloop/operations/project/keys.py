"""Keys of a pipeline's callers: made once, listed and revoked in its spec."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import TypeAdapter, ValidationError

from driftloop.contract.keys import encode_part, write_unsigned_key
from driftloop.contract.suggestions import suggest_closest
from driftloop.contract.times import format_time
from driftloop.errors import SpecError
from driftloop.operations.ground import files
from driftloop.operations.project.edited import EditedSpec
from driftloop.plan import make_plan
from driftloop.spec import Document
from driftloop.spec.access import ApiKey
from driftloop.spec.keys import Records, write_keys
from driftloop.spec.values import KeyName


@dataclass(frozen=True)
class NewKey:
    """A key that was made, and the spec that knows it."""

    name: str
    pipeline: str
    text: str = field(repr=False)
    """The key itself, which nothing keeps."""
    expires: str | None
    first: bool
    """The pipeline asked for no login before."""


@dataclass(frozen=True)
class RevokedKey:
    """A key that a spec no longer knows."""

    name: str
    pipeline: str
    left: int
    """Keys that still open the pipeline."""


def add_key(
    spec: Path, name: str, *, person: str, now: datetime, lifetime: timedelta | None
) -> NewKey:
    """Make a key and write its public half into a spec; SpecError when there is one of this name."""
    document, keys = _read_keys(spec)
    _check_name(name)
    if name in keys:
        raise SpecError(
            f"{spec}: there is a key `{name}` already, made {keys[name].made} by {keys[name].by}",
            hint=f"`driftloop access revoke {name} --from {spec}` takes it back",
        )
    names = make_plan(document).names
    expires = None if lifetime is None else now + lifetime
    pair = Ed25519PrivateKey.generate()
    unsigned = write_unsigned_key(
        name,
        names.own_issuer,
        int(now.timestamp()),
        None if expires is None else int(expires.timestamp()),
    )
    record = {
        "public": encode_part(pair.public_key().public_bytes_raw()),
        "made": format_time(now),
        "by": person,
        **({} if expires is None else {"expires": format_time(expires)}),
    }
    _write_keys(spec, {**_to_records(keys), name: record})
    return NewKey(
        name,
        names.pipeline,
        f"{unsigned}.{encode_part(pair.sign(unsigned.encode()))}",
        record.get("expires"),
        not _is_closed(document),
    )


def list_keys(spec: Path) -> Mapping[str, ApiKey]:
    """Return the keys of a spec by name."""
    return _read_keys(spec)[1]


def revoke_key(spec: Path, name: str) -> RevokedKey:
    """Take a key out of a spec; SpecError when it has none of this name."""
    document, keys = _read_keys(spec)
    if name not in keys:
        known = f"must be one of: {', '.join(keys)}" if keys else "it has none"
        raise SpecError(
            f"{spec}: there is no key `{name}`, {suggest_closest(name, keys) or known}",
            hint=f"`driftloop access list {spec}` shows them",
        )
    left = {other: key for other, key in keys.items() if other != name}
    _write_keys(spec, _to_records(left))
    return RevokedKey(name, document.pipeline.metadata.name, len(left))


def _check_name(name: str) -> None:
    try:
        TypeAdapter(KeyName).validate_python(name)
    except ValidationError as error:
        words = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise SpecError(
            f"`{name}` {words}", hint="it is the caller's name, such as acme"
        ) from error


def _read_keys(spec: Path) -> tuple[Document, Mapping[str, ApiKey]]:
    document = files.read_spec(spec)
    access = document.pipeline.spec.access
    return document, (access.api_keys or {}) if access is not None else {}


def _is_closed(document: Document) -> bool:
    access = document.pipeline.spec.access
    return access is not None and access.closed


def _to_records(keys: Mapping[str, ApiKey]) -> Records:
    return {
        name: key.model_dump(mode="json", by_alias=True, exclude_none=True)
        for name, key in keys.items()
    }


def _write_keys(spec: Path, keys: Records) -> None:
    EditedSpec.edit(spec, lambda text: write_keys(text, keys, path=str(spec))).write_file()
