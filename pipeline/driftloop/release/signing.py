"""Signatures of releases by the platform's key: made when a release is committed, checked before it is
served."""

from collections.abc import Iterable

from driftloop.contract.documents import DocumentError
from driftloop.contract.integrity import describe_distrust
from driftloop.errors import ReleaseError
from driftloop.release.minisign import PublicKey, SignatureError, SigningKey, find_signer
from driftloop.release.record import Release, Version
from driftloop.release.statement import SignedPart, Statement, state_version

_HINT = (
    "somebody changed release.yaml, or the rendered files, without the platform's key: find out who can write there, "
    "and `git revert` it. After a change of keys, `signing-keys` of `driftloop-platform` must still have the old one"
)


class DistrustError(ReleaseError):
    """A release whose signature is not the platform's."""


def sign_version(release: Release, version: Version, key: SigningKey) -> Version:
    """Return the version with its signature."""
    statement = state_version(release.namespace, release.name, version)
    return version.model_copy(update={"signature": key.sign(statement.text)})


def verify_version(release: Release, version: Version, keys: Iterable[PublicKey]) -> PublicKey:
    """Return the key that signed all that release.yaml says of a version; DistrustError."""
    statement = state_version(release.namespace, release.name, version)
    if version.signature is None:
        raise _distrust(version.id, statement.full_name, "it has no signature")
    try:
        return find_signer(statement.text, version.signature, keys)
    except SignatureError as error:
        raise _distrust(version.id, statement.full_name, error.message) from error


def verify_part(text: str, signature: str, part: SignedPart, keys: Iterable[PublicKey]) -> str:
    """Return the digest that a part's files must have, by a signed statement's text; DistrustError
    when it is not signed, or of another release."""
    name = f"{part.namespace}/{part.pipeline}"
    try:
        statement = Statement.parse(text)
    except DocumentError as error:
        raise _distrust(part.release, name, "its statement can't be read") from error
    try:
        find_signer(text, signature, keys)
    except SignatureError as error:
        raise _distrust(part.release, name, error.message) from error
    if (statement.full_name, statement.release) != (name, part.release):
        other = f"the signature is of {statement.release} of {statement.full_name}"
        raise _distrust(part.release, name, other)
    digest = statement.digest_of(part.part)
    if digest is None:
        raise _distrust(part.release, name, f"the signature is of no {part.part}")
    return digest


def _distrust(release: str, pipeline: str, reason: str) -> DistrustError:
    return DistrustError(describe_distrust(release, pipeline, reason), hint=_HINT)
