"""Addresses of a cluster's parts, and the credentials that a namespace's pods have for them."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from driftloop.cluster.accounts import NatsPasswords
from driftloop.cluster.drafts import SecretDraft
from driftloop.contract import platform as contract
from driftloop.contract.accounts import NatsRole
from driftloop.contract.names import (
    GATEWAY_URL,
    GIT_SECRET,
    NATS_URL,
    OWN_LABELS,
    PLATFORM,
    STORAGE_URL,
    TRACKING_SECRET,
)
from driftloop.errors import PipelineError
from driftloop.kube.base import ObjectMeta
from driftloop.release.minisign import SigningKey, make_signing_key


@dataclass(frozen=True)
class Addresses:
    """Addresses of a cluster's parts; the defaults are those of cluster/infrastructure."""

    git_url: str
    git_branch: str = "main"
    s3_endpoint: str = STORAGE_URL
    s3_region: str = contract.S3_REGION.example
    nats_url: str = NATS_URL
    kubernetes_url: str = contract.KUBERNETES_URL.example
    gateway_url: str = GATEWAY_URL
    console_url: str = ""
    """Address of the console in a browser; empty without one."""

    def __post_init__(self) -> None:
        for name, schemes in (
            ("s3_endpoint", ("http", "https")),
            ("nats_url", ("nats", "tls")),
            ("git_url", ("http", "https", "ssh", "file")),
            ("console_url", ("http", "https")),
        ):
            if name == "console_url" and not self.console_url:
                continue
            url = urlsplit(getattr(self, name))
            if url.scheme not in schemes or not (url.netloc or url.scheme == "file"):
                raise PipelineError(
                    f"{name.replace('_', '-')} is `{getattr(self, name)}`, must be a URL with one of: "
                    + ", ".join(f"{scheme}://" for scheme in schemes)
                )
            if url.password is not None:
                raise PipelineError(
                    f"{name.replace('_', '-')} contains a password, which would be committed in plain text",
                    hint="pass credentials in the environment (see --help)",
                )

    @property
    def parts(self) -> dict[str, str]:
        """Addresses that a pipeline's pods call, by the names that NetworkPolicies have for
        them."""
        return {
            "s3": self.s3_endpoint,
            "nats": self.nats_url,
            "git": self.git_url,
            "kubernetes": self.kubernetes_url,
        }


OWN = Addresses(git_url="https://git.invalid/").parts
"""The addresses of cluster/infrastructure, which the rendered NetworkPolicies open; git is never
among them."""


@dataclass(frozen=True)
class PlatformCredentials:
    """Credentials of a namespace. The webhook token and the passwords of NATS are random unless given."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    git_username: str = field(default="", repr=False)
    git_password: str = field(default="", repr=False)
    webhook_token: str = field(default_factory=lambda: secrets.token_urlsafe(36), repr=False)
    nats: NatsPasswords = field(default_factory=NatsPasswords, repr=False)
    nats_username: str = field(default="", repr=False)
    """User of a NATS that is not the platform's, for all that connect to it."""
    nats_password: str = field(default="", repr=False)
    signing_key: SigningKey | None = field(default_factory=make_signing_key, repr=False)
    """Key that signs releases; None where it is not known here, or there is none."""


def draft_settings(
    namespace: str, addresses: Addresses, credentials: PlatformCredentials
) -> SecretDraft:
    """Credentials of all but git: the same keys in the spellings of boto3, Argo and Seldon's
    rclone."""
    access, key = contract.ACCESS_KEY.key, contract.SECRET_KEY.key
    values = {
        **_nats(namespace, addresses, credentials),
        contract.WEBHOOK_TOKEN.key: credentials.webhook_token,
    }
    if not credentials.access_key:
        return _draft(PLATFORM, namespace, values)
    stored = {access: credentials.access_key, key: credentials.secret_key}
    return SecretDraft(
        metadata=ObjectMeta(name=PLATFORM, namespace=namespace, labels=OWN_LABELS),
        values={name: text.encode() for name, text in {**stored, **values}.items()},
        templates=contract.rclone_settings(
            addresses.s3_endpoint, f"{{{{ .{access} }}}}", f"{{{{ .{key} }}}}"
        ),
        derive=lambda given: {
            name: text.encode()
            for name, text in contract.rclone_settings(
                addresses.s3_endpoint, given[access].decode(), given[key].decode()
            ).items()
        },
    )


def draft_git(namespace: str, credentials: PlatformCredentials) -> SecretDraft:
    """The credential of the cluster repository, in a Secret that nothing takes whole."""
    values = {
        contract.GIT_USERNAME.key: credentials.git_username,
        contract.GIT_PASSWORD.key: credentials.git_password,
    }
    return _draft(GIT_SECRET, namespace, values)


def draft_tracking(namespace: str, credential: Mapping[str, str]) -> SecretDraft:
    """The credential of a tracking server, which the decision's pod takes; by key."""
    return _draft(TRACKING_SECRET, namespace, credential)


def _draft(name: str, namespace: str, values: Mapping[str, str]) -> SecretDraft:
    return SecretDraft(
        metadata=ObjectMeta(name=name, namespace=namespace, labels=OWN_LABELS),
        values={key: value.encode() for key, value in values.items()},
    )


def _nats(namespace: str, addresses: Addresses, credentials: PlatformCredentials) -> dict[str, str]:
    """The users of NATS by key. Argo's bus is on the platform's own in any case."""
    own = {role: (role.of(namespace), credentials.nats.values[role]) for role in NatsRole}
    users = own
    if addresses.nats_url != NATS_URL:
        users = dict.fromkeys(own, (credentials.nats_username, credentials.nats_password))
    urls = {
        setting.key: contract.nats_url(addresses.nats_url, *users[role])
        if users[role][0]
        else addresses.nats_url
        for role, setting in contract.NATS_ROLES.items()
    }
    bus = contract.event_bus_credential(*own[NatsRole.BUS])
    return {**urls, contract.NATS_ROLES[NatsRole.BUS].key: bus}
