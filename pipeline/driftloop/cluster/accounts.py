"""Accounts of the NATS that comes with the platform: a namespace's users in one sealed value,
joined with the others' when the cluster unseals them.

The server reads hashes only; the passwords are in the Secrets of those who connect.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

import bcrypt

from driftloop.contract.accounts import KNATIVE_USER, RIGHTS, NatsAccount, NatsRole
from driftloop.contract.names import FLUX_NAMESPACE, NATS_NAMESPACE, OWN_LABELS
from driftloop.kube.base import ObjectMeta
from driftloop.kube.sealed import PlainSecret, SealedSecret

SECRET_NAME = "nats-users"  # noqa: S105 (a name)
FILE = f"{SECRET_NAME}.sealedsecret.yaml"
CONFIG = "users.conf"
"""Key of the Secret that the server's configuration includes: all accounts."""
KNATIVE_SECRET = "nats-knative"  # noqa: S105 (a name)
KNATIVE_FILE = f"{KNATIVE_SECRET}.sealedsecret.yaml"
KNATIVE_PASSWORD = "NATS_KNATIVE_PASSWORD"  # noqa: S105 (a name)
"""Variable that Flux puts into Knative's settings: they take a password nowhere else."""
_KNATIVE_KEY = f"_{KNATIVE_USER}.conf"
_JOINED = "accounts {\n{{ range . }}{{ . }}{{ end }}}\n"
_ROUNDS = 5
"""A password has 256 random bits: rounds would only slow down each connection."""


@dataclass(frozen=True)
class NatsPasswords:
    """Passwords of a namespace's users."""

    values: Mapping[NatsRole, str] = field(
        default_factory=lambda: {role: secrets.token_urlsafe(32) for role in NatsRole}, repr=False
    )


def secret(passwords: Mapping[str, NatsPasswords], knative: str | None) -> PlainSecret:
    """Return the Secret of the accounts of some namespaces, and of Knative's with its password."""
    values = {key(name): _namespace_accounts(name, own) for name, own in passwords.items()}
    if knative is not None:
        values[_KNATIVE_KEY] = _account(KNATIVE_USER, [_user(KNATIVE_USER, knative)])
    return PlainSecret(
        metadata=ObjectMeta(name=SECRET_NAME, namespace=NATS_NAMESPACE, labels=OWN_LABELS),
        values={name: text.encode() for name, text in values.items()},
    )


def knative_secret(password: str) -> PlainSecret:
    """Return the Secret from which Flux fills in Knative's settings."""
    labels = {**OWN_LABELS, "reconcile.fluxcd.io/watch": "Enabled"}
    return PlainSecret(
        metadata=ObjectMeta(name=KNATIVE_SECRET, namespace=FLUX_NAMESPACE, labels=labels),
        values={KNATIVE_PASSWORD: password.encode()},
    )


def merge(old: SealedSecret | None, fresh: SealedSecret) -> SealedSecret:
    """Return the old accounts, with the fresh ones added or replacing those of the same
    namespaces, and the template that joins them."""
    values = dict(old.spec.encrypted_data) if old is not None else {}
    values |= fresh.spec.encrypted_data
    template = fresh.spec.template.model_copy(update={"data": {CONFIG: _JOINED}})
    spec = fresh.spec.model_copy(
        update={"encrypted_data": dict(sorted(values.items())), "template": template}
    )
    return fresh.model_copy(update={"spec": spec})


def has_knative(sealed: SealedSecret) -> bool:
    """Return true if Knative has its user."""
    return _KNATIVE_KEY in sealed.spec.encrypted_data


def has_users(sealed: SealedSecret, namespace: str) -> bool:
    """Return true if the namespace has its users."""
    return key(namespace) in sealed.spec.encrypted_data


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
