"""A pipeline's own keys for its callers: tokens that are signed once, by a key pair that only the
public half is kept of.

So git holds nothing that opens a pipeline, nobody can make a second key of the same name, and the
gateway checks them as it checks an issuer's tokens.
"""

import base64
import json
from collections.abc import Mapping


def encode_part(data: bytes) -> str:
    """Return Base64 as tokens have it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_part(text: str) -> bytes:
    """Return the bytes of a part; ValueError when it is none."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def write_key_set(keys: Mapping[str, str]) -> str:
    """Return the public halves, by the name of their keys, as a JSON Web Key Set."""
    sets = [
        {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": name, "x": public}
        for name, public in sorted(keys.items())
    ]
    return json.dumps({"keys": sets}, separators=(",", ":"))


def write_unsigned_key(name: str, issuer: str, made: int, expires: int | None) -> str:
    """Return what is signed: the key's name, whose it is, when it was made, when it ends (Unix
    seconds)."""
    claims = {"iss": issuer, "sub": name, "iat": made}
    if expires is not None:
        claims["exp"] = expires
    parts = ({"alg": "EdDSA", "kid": name}, claims)
    return ".".join(encode_part(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
