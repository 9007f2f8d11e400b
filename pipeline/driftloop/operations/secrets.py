"""Write the platform's settings and its sealed credentials into a working copy of the cluster
repository."""

import secrets as random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from driftloop.cluster import platform, sealing
from driftloop.cluster.platform import Addresses, PlatformCredentials
from driftloop.errors import PipelineError

DEFAULTS = Addresses(git_url="https://example.invalid/x")
"""The platform's own addresses; the git URL has no default."""


@dataclass(frozen=True)
class SealedPlatform:
    """The rendered files by path, and whether the release step has a git credential."""

    files: Mapping[str, str]
    has_git_password: bool


def seal_platform(
    cluster: str,
    namespaces: tuple[str, ...],
    addresses: Addresses,
    *,
    certificate: bytes,
    environment: Mapping[str, str],
) -> SealedPlatform:
    """Render ConfigMap and SealedSecret `driftloop-platform` for each namespace.

    `certificate` is the controller's (PEM); the credentials come from `environment`.
    PipelineError when the object store is not the platform's own and its keys are not set.
    """
    own_store = addresses.s3_endpoint == DEFAULTS.s3_endpoint
    credentials = read_credentials(environment, own_store=own_store)
    key = sealing.certificate(certificate)
    files = platform.tree(
        cluster,
        namespaces,
        addresses,
        credentials,
        lambda secret, scope: sealing.seal(secret, key, scope),
        own_store=own_store,
    )
    return SealedPlatform(files, bool(credentials.git_password))


def write_platform(sealed: SealedPlatform, folder: Path, *, force: bool) -> Sequence[str]:
    """Write the files below a folder and return their paths; PipelineError when one exists,
    unless `force`."""
    existing = next((path for path in sealed.files if (folder / path).exists()), None)
    if existing is not None and not force:
        raise PipelineError(
            f"{existing} exists already",
            hint="--force overwrites it; running parts keep the old token until they restart",
        )
    for path, text in sealed.files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return tuple(sealed.files)


def read_credentials(environment: Mapping[str, str], *, own_store: bool) -> PlatformCredentials:
    """Return the credentials of the environment; those of the platform's own store are random by
    default."""
    access, secret = (
        environment.get("AWS_ACCESS_KEY_ID", ""),
        environment.get("AWS_SECRET_ACCESS_KEY", ""),
    )
    if bool(access) != bool(secret):
        raise PipelineError("only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set")
    if not access and not own_store:
        raise PipelineError(
            "the keys of the object store are not set",
            hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    token = environment.get("DRIFTLOOP_WEBHOOK_TOKEN", "")
    return PlatformCredentials(
        access_key=access or random.token_hex(10),
        secret_key=secret or random.token_urlsafe(30),
        git_username=environment.get("DRIFTLOOP_GIT_USERNAME", ""),
        git_password=environment.get("DRIFTLOOP_GIT_PASSWORD", ""),
        **({"webhook_token": token} if token else {}),
    )
