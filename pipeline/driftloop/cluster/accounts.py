"""Accounts of the NATS that comes with the platform: a namespace's users in one value,
joined with the others' by whoever makes the Secret.

The server reads hashes only; the passwords are in the Secrets of those who connect.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

import bcrypt

from driftloop.cluster.drafts import SecretDraft, SharedDraft
from driftloop.contract.accounts import KNATIVE_USER, RIGHTS, NatsAccount, NatsRole
from driftloop.contract.names import FLUX_NAMESPACE, NATS_NAMESPACE, OWN_LABELS
from driftloop.kube.base import ObjectMeta

SECRET_NAME = "nats-users"  # noqa: S105 (a name)
CONFIG = "users.conf"
"""Key of the Secret that the server's configuration includes: all accounts."""
KNATIVE_SECRET = "nats-knative"  # noqa: S105 (a name)
KNATIVE_PASSWORD = "NATS_KNATIVE_PASSWORD"  # noqa: S105 (a name)
"""Variable that Flux puts into Knative's settings: they take a password nowhere else."""
KNATIVE_KEY = f"_{KNATIVE_USER}.conf"
_JOINED = "accounts {\n{{ range . }}{{ . }}{{ end }}}\n"
_ROUNDS = 5
"""A password has 256 random bits: rounds would only slow down each connection."""


@dataclass(frozen=True)
class NatsPasswords:
    """Passwords of a namespace's users."""

    values: Mapping[NatsRole, str] = field(
        default_factory=lambda: {role: secrets.token_urlsafe(32) for role in NatsRole}, repr=False
    )


def draft_users(passwords: Mapping[str, NatsPasswords], knative: str | None) -> SharedDraft:
    """Return the Secret of the accounts of some namespaces, and of Knative's with its password."""
    values = {key(name): _namespace_accounts(name, own) for name, own in passwords.items()}
    owners = {key(name): name for name in passwords}
    if knative is not None:
        values[KNATIVE_KEY] = _account(KNATIVE_USER, [_user(KNATIVE_USER, knative)])
        owners[KNATIVE_KEY] = NATS_NAMESPACE
    return SharedDraft(
        metadata=ObjectMeta(name=SECRET_NAME, namespace=NATS_NAMESPACE, labels=OWN_LABELS),
        values={name: text.encode() for name, text in values.items()},
        templates={CONFIG: _JOINED},
        derive=_join,
        owners=owners,
        part="users",
    )


def _join(values: Mapping[str, bytes]) -> dict[str, bytes]:
    joined = "".join(values[name].decode() for name in sorted(values))
    return {CONFIG: f"accounts {{\n{joined}}}\n".encode()}


def draft_knative(password: str) -> SecretDraft:
    """Return the Secret from which Flux fills in Knative's settings."""
    labels = {**OWN_LABELS, "reconcile.fluxcd.io/watch": "Enabled"}
    return SecretDraft(
        metadata=ObjectMeta(name=KNATIVE_SECRET, namespace=FLUX_NAMESPACE, labels=labels),
        values={KNATIVE_PASSWORD: password.encode()},
    )


def key(namespace: str) -> str:
    """Return the key of a namespace's accounts in the Secret."""
    return f"{namespace}.conf"


def _namespace_accounts(namespace: str, passwords: NatsPasswords) -> str:
    return "".join(
        _account(
            account.of(namespace),
            [
                _user(
                    role.of(namespace),
                    passwords.values[role],
                    publish=rights.publish,
                    subscribe=rights.subscribe,
                )
                for role, rights in RIGHTS.items()
                if rights.account is account
            ],
        )
        for account in NatsAccount
    )


def _account(name: str, users: list[str]) -> str:
    return f'"{name}" {{ jetstream: enabled, users: [\n{"".join(users)}] }}\n'


def _user(
    name: str, password: str, *, publish: tuple[str, ...] = (), subscribe: tuple[str, ...] = ()
) -> str:
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(_ROUNDS)).decode()
    entry: dict[str, object] = {"user": name, "password": hashed}
    if publish:
        entry["permissions"] = {"publish": list(publish), "subscribe": list(subscribe)}
    return f"  {json.dumps(entry)}\n"
