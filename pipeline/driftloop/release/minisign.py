"""Ed25519 keys and signatures in the format of minisign, so that a person can make and read them with
a tool of others (https://jedisct1.github.io/minisign/).

A signature here is the first line of a signature file: there is no trusted comment, since what it
would say is in the text that is signed.
"""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from driftloop.errors import PipelineError

_KEY, _HASHED = b"Ed", b"ED"
"""First bytes of a key, and of a signature of BLAKE2b of the text."""
_NO_PASSWORD = b"\0\0"
_CHECKSUM = b"B2"
_ID, _PART, _SALT = 8, 32, 32 + 8 + 8
"""Bytes of a key's id, of half a key, and of what a password would be stretched with."""
_COMMENT = "untrusted comment:"


class SignatureError(PipelineError):
    """A key or a signature that can't be read, or a signature that is no trusted key's."""


@dataclass(frozen=True)
class PublicKey:
    """The half of a key that checks signatures."""

    id: bytes
    key: bytes

    @property
    def name(self) -> str:
        """The key's id as minisign shows it."""
        return self.id[::-1].hex().upper()

    @property
    def text(self) -> str:
        """The key as a line of text, `RW…`."""
        return base64.b64encode(_KEY + self.id + self.key).decode()


@dataclass(frozen=True)
class SigningKey:
    """The half of a key that signs."""

    id: bytes
    seed: bytes = field(repr=False)

    @property
    def public(self) -> PublicKey:
        """The other half."""
        return PublicKey(self.id, self._private.public_key().public_bytes_raw())

    @property
    def text(self) -> str:
        """The key as a line of text, `RW…`, without a password."""
        public = self.public.key
        whole = self.id + self.seed + public
        return base64.b64encode(
            _KEY + _NO_PASSWORD + _CHECKSUM + bytes(_SALT) + whole + _checksum(whole)
        ).decode()

    @property
    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)

    def sign(self, text: str) -> str:
        """Return the signature of a text, `RU…`: the same text has always the same one."""
        return base64.b64encode(_HASHED + self.id + self._private.sign(_digest(text))).decode()


def make_signing_key() -> SigningKey:
    """Make a new key."""
    return SigningKey(secrets.token_bytes(_ID), secrets.token_bytes(_PART))


def read_signing_key(text: str, *, label: str) -> SigningKey:
    """Read a key that signs, as `minisign -G -W` writes it; its comment may be there or not.
    SignatureError."""
    lines = _drop_comments(text)
    hint = "`minisign -G -W` makes one, without a password"
    if len(lines) != 1:
        raise SignatureError(f"{label} has {len(lines)} lines, must be one key", hint=hint)
    raw = _decode(lines[0], 6 + _SALT + _ID + 3 * _PART)
    if raw is None or raw[:2] != _KEY:
        raise SignatureError(f"{label} is not a minisign secret key", hint=hint)
    if raw[2:4] != _NO_PASSWORD:
        raise SignatureError(f"{label} has a password, which no step could type", hint=hint)
    whole, checksum = raw[6 + _SALT : -_PART], raw[-_PART:]
    key = SigningKey(whole[:_ID], whole[_ID : _ID + _PART])
    if checksum != _checksum(whole) or whole[_ID + _PART :] != key.public.key:
        raise SignatureError(f"{label} is damaged: its parts do not fit together", hint=hint)
    return key


def read_public_keys(text: str, *, label: str) -> tuple[PublicKey, ...]:
    """Read the keys of a text, one a line, with minisign's comments or without; SignatureError."""
    return tuple(_read_public_key(line, label) for line in _drop_comments(text))


def _read_public_key(text: str, label: str) -> PublicKey:
    raw = _decode(text, 2 + _ID + _PART)
    if raw is None or raw[:2] != _KEY:
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        raise SignatureError(
            f"{label}: {shown!r} is not a minisign public key",
            hint="a public key is 56 characters and begins with RW",
        )
    return PublicKey(raw[2 : 2 + _ID], raw[2 + _ID :])


def find_signer(text: str, signature: str, keys: Iterable[PublicKey]) -> PublicKey:
    """Return the key that signed a text; SignatureError says why none of them did."""
    raw = _decode(signature, 2 + _ID + 64)
    if raw is None or raw[:2] != _HASHED:
        raise SignatureError("the signature can't be read")
    id, signed = raw[2 : 2 + _ID], raw[2 + _ID :]
    trusted = [key for key in keys if key.id == id]
    for key in trusted:
        try:
            Ed25519PublicKey.from_public_bytes(key.key).verify(signed, _digest(text))
        except (InvalidSignature, ValueError):
            continue
        return key
    name = PublicKey(id, b"").name
    if trusted:
        raise SignatureError(f"the signature by key {name} does not fit")
    raise SignatureError(f"key {name} signed it, which is not trusted here")


def _decode(text: str, length: int) -> bytes | None:
    """Return the bytes of a text; None unless it is the one text of so many bytes."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == length and base64.b64encode(raw).decode() == text else None


def _drop_comments(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith((_COMMENT, "#"))]


def _digest(text: str) -> bytes:
    # a text of a command line may have half a surrogate pair
    return hashlib.blake2b(text.encode(errors="surrogatepass")).digest()


def _checksum(key: bytes) -> bytes:
    return hashlib.blake2b(_KEY + key, digest_size=_PART).digest()
