"""Who may ask a pipeline's model at the gateway."""

import re
from datetime import timedelta
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from driftloop.contract.keys import decode_part, encode_part
from driftloop.contract.names import OWN_ISSUER
from driftloop.spec.base import SpecModel, matching
from driftloop.spec.values import KeyName, PersonName, PositiveDuration

_NEAR = ("localhost", "127.0.0.1")


def _issuer(text: str) -> str:
    if not re.fullmatch(r"[!-~]+", text) or "*" in text:
        raise ValueError(
            "must be the claim `iss` of its tokens, letter by letter, such as https://login.example.org"
        )
    if text.startswith(OWN_ISSUER):
        raise ValueError(f"must not begin with `{OWN_ISSUER}`: those are the pipelines' own keys")
    return text


def _key_set(text: str) -> str:
    url = urlsplit(text)
    host = url.hostname or ""
    if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/[!-~]*", text):
        raise ValueError("must be an address, such as https://login.example.org/keys")
    if url.scheme == "http" and host not in _NEAR and not host.endswith((".svc", ".cluster.local")):
        raise ValueError(
            "must begin with https:// (http:// is for addresses of the cluster): whoever answers there decides whose tokens count"
        )
    return text


def _origin(text: str) -> str:
    if text != "*" and not re.fullmatch(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?", text):
        raise ValueError(
            "must be an origin as browsers send it, such as https://app.example.org, without a path; or `*`"
        )
    return text


def _public_half(text: str) -> str:
    try:
        whole = encode_part(decode_part(text)) == text
    except ValueError:
        whole = False
    if not whole:  # the gateway would refuse the keys of all pipelines with it
        raise ValueError("must be what `driftloop access add` wrote: 43 letters of Base64")
    return text


Issuer = Annotated[str, AfterValidator(_issuer), Field(min_length=1, max_length=300)]
"""The claim `iss` of tokens."""
KeySetUrl = Annotated[str, AfterValidator(_key_set), Field(max_length=500)]
"""Address of a JSON Web Key Set."""
Audience = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[!-)+-~]+$")]
"""The claim `aud` of tokens."""
Origin = Annotated[str, AfterValidator(_origin), Field(max_length=300)]
"""Scheme, host and port of a page."""
PublicHalf = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$"), AfterValidator(_public_half)]
"""An Ed25519 public key, as JSON Web Keys have it."""
Moment = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")]
"""A time (UTC), such as 2026-11-30T08:00:00Z."""
HeaderName = Annotated[
    str,
    matching(r"[a-z0-9-]+", "must be the name of a header in lower case, such as x-request-id"),
    Field(min_length=1, max_length=100),
]
"""Name of a header."""


class ApiKey(SpecModel):
    """What is kept of a key: nothing that opens the pipeline."""

    public: PublicHalf
    """The public half of the pair that signed the key, by which the gateway knows it."""
    made: Moment
    """Time at which it was made."""
    by: PersonName
    """Who made it, as git names him."""
    expires: Moment | None = None
    """Time at which it ends; it stands in the key itself, so that a change here changes nothing."""


class Jwt(SpecModel):
    """Tokens of an issuer, sent as `Authorization: Bearer …`. They need the claims `iss`, `aud` and `sub`."""

    issuer: Issuer
    """The claim `iss` of its tokens, letter by letter."""
    jwks_uri: KeySetUrl
    """Address of the issuer's public keys (a JSON Web Key Set), as its `.well-known/openid-configuration` names it."""
    audiences: Annotated[tuple[Audience, ...], Field(min_length=1, max_length=20)]
    """A token's `aud` must be one of these. Give each pipeline one of its own: it is what keeps another pipeline's
    callers out."""
    forward: bool = False
    """Leave the token in the request, for the model to read. Without it the gateway takes it out."""


class Cors(SpecModel):
    """Pages of other origins whose scripts may ask the model from a browser."""

    origins: Annotated[tuple[Origin, ...], Field(min_length=1, max_length=50)]
    """Origins of the pages: scheme, host and port; `*` is every page."""
    methods: Annotated[tuple[Literal["GET", "POST"], ...], Field(min_length=1, max_length=2)] = (
        "POST",
    )
    """Methods that scripts may use: `POST` for predictions, `GET` for the model's metadata."""
    headers: Annotated[tuple[HeaderName, ...], Field(max_length=20)] = ()
    """Headers that scripts may send besides `content-type`, `seldon-puid` and those of the login."""
    max_age: PositiveDuration = timedelta(minutes=10)
    """Time for which a browser need not ask again whether it may."""


class Access(SpecModel):
    """Who may ask the model at the gateway. Without a login there, everybody who reaches the gateway may."""

    jwt: Jwt | None = None
    """Callers bring a token of this issuer; all others are refused, but who has a key."""
    api_keys: Annotated[dict[KeyName, ApiKey], Field(max_length=200)] | None = None
    """Callers bring a key, as `x-api-key`; all others are refused, but who has a token. `driftloop access add` writes
    a key here, and `driftloop access revoke` takes it out; `{}` lets nobody in."""
    cors: Cors | None = None
    """Scripts of pages may ask, too; needs `backend: plain`. Without it browsers keep them from reading answers."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.jwt is None and self.api_keys is None and self.cors is None:
            raise ValueError(
                "must have `jwt`, `apiKeys` or `cors`: an empty `access` would keep nobody out"
            )
        return self

    @property
    def closed(self) -> bool:
        """Return True when callers must log in."""
        return self.jwt is not None or self.api_keys is not None
