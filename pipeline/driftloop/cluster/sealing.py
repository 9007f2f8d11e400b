"""The ciphertext of SealedSecrets, byte for byte as kubeseal writes it, without asking a
cluster.

A value is `uint16 length of C1 | C1 | C2` in base64: C1 is a fresh 32-byte session key under
RSA-OAEP (SHA-256, the scope as label), C2 the text under AES-256-GCM with that key. The nonce is
zero, since no key is ever used twice.
"""

import base64
import binascii
import struct
from collections.abc import Iterable
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from driftloop.kube.sealed import PlainSecret, Scope, SealedSecret, SealError, scope_of, seal_secret

_NONCE = bytes(12)


def certificate(pem: bytes, *, now: datetime | None = None) -> rsa.RSAPublicKey:
    """The public key of a controller's certificate, the first of a bundle. SealError when it
    can't seal."""
    try:
        first = x509.load_pem_x509_certificates(pem)[0]
    except (ValueError, IndexError) as error:
        raise SealError(
            "the certificate is not in PEM format",
            hint="fetch the certificate of the controller: `kubeseal --fetch-cert > cluster.pem`",
        ) from error
    until = first.not_valid_after_utc
    if until < (now or datetime.now(UTC)):
        raise SealError(
            f"the certificate expired on {until:%Y-%m-%d}",
            hint="fetch the newest certificate of the controller: `kubeseal --fetch-cert`",
        )
    key = first.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise SealError(f"the certificate's key is {type(key).__name__}, must be RSA")
    return key


def private_keys(pems: Iterable[bytes]) -> tuple[rsa.RSAPrivateKey, ...]:
    """The controller's private keys, as its Secrets' `tls.key` hold them."""
    keys = []
    for pem in pems:
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError) as error:
            raise SealError("the private key is not an unencrypted key in PEM format") from error
        if not isinstance(key, rsa.RSAPrivateKey):
            raise SealError(f"the key is {type(key).__name__}, must be RSA")
        keys.append(key)
    return tuple(keys)


def seal_value(value: bytes, key: rsa.RSAPublicKey, label: bytes) -> str:
    """One sealed value; another one each time, even for the same text."""
    session = AESGCM.generate_key(256)
    wrapped = key.encrypt(session, _oaep(label))
    return base64.b64encode(
        struct.pack(">H", len(wrapped)) + wrapped + AESGCM(session).encrypt(_NONCE, value, None)
    ).decode()


def open_value(text: str, keys: Iterable[rsa.RSAPrivateKey], label: bytes) -> bytes:
    """Return a sealed value's content, opened with the first key that fits this label; SealError
    when none does."""
    try:
        raw = base64.b64decode(text, validate=True)
        (size,) = struct.unpack(">H", raw[:2])
    except (binascii.Error, struct.error, ValueError) as error:
        raise SealError("the value is not a sealed value") from error
    wrapped, body = raw[2 : 2 + size], raw[2 + size :]
    for key in keys:
        try:
            return AESGCM(key.decrypt(wrapped, _oaep(label))).decrypt(_NONCE, body, None)
        except (ValueError, InvalidTag):
            continue
    raise SealError(
        "none of the keys opens this value",
        hint="a strict SealedSecret opens only under the name and namespace it was sealed for",
    )


def seal(secret: PlainSecret, key: rsa.RSAPublicKey, scope: Scope) -> SealedSecret:
    """The SealedSecret of a Secret. Strict and namespace-wide ones need a namespace."""
    namespace = secret.metadata.namespace
    if namespace is None and scope is not Scope.CLUSTER_WIDE:
        raise SealError(
            f"the Secret `{secret.metadata.name}` has no namespace, which a {scope} seal requires",
            hint="write `metadata.namespace`, or pass --namespace",
        )
    label = scope.encryption_label(namespace or "", secret.metadata.name)
    return seal_secret(
        secret, {k: seal_value(v, key, label) for k, v in secret.values.items()}, scope
    )


def reseal(
    old: SealedSecret, keys: Iterable[rsa.RSAPrivateKey], key: rsa.RSAPublicKey
) -> SealedSecret:
    """The same secret under another certificate; its text is in memory only."""
    keys = tuple(keys)
    label = scope_of(old.metadata.annotations).encryption_label(
        old.metadata.namespace or "", old.metadata.name
    )
    data = {
        k: seal_value(open_value(v, keys, label), key, label)
        for k, v in old.spec.encrypted_data.items()
    }
    return old.model_copy(update={"spec": old.spec.model_copy(update={"encrypted_data": data})})


def _oaep(label: bytes) -> padding.OAEP:
    return padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=label)
