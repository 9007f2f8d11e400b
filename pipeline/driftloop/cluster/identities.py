"""Identities of the SeaweedFS that comes with the platform: one for each namespace, in one
SealedSecret that grows without being unsealed.

Each namespace has one sealed value of its own, a configuration of one identity. The controller
joins them when it unseals, by the template that the object carries.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from driftloop.contract.names import API_GROUP, FLUX_NAMESPACE, OWN_LABELS, STORAGE_NAMESPACE
from driftloop.kube.base import ObjectMeta
from driftloop.kube.core import ConfigMap
from driftloop.kube.sealed import PlainSecret, SealedSecret, SealError, read_sealed
from driftloop.text.dump import dump_yaml
from driftloop.text.load import load_mapping

SECRET_NAME = "seaweedfs-s3-config"  # noqa: S105 (a name)
FILE = f"{SECRET_NAME}.sealedsecret.yaml"
CONFIG = "seaweedfs_s3_config"
"""Key of the Secret that SeaweedFS reads: the configuration of all identities."""
EARLIER = "earlier_identities"
"""Key of a configuration from before each namespace had an identity of its own."""
RESTART = "seaweedfs-identities"
"""ConfigMap of values that the HelmRelease of the store takes: its pod is replaced when they
change, since SeaweedFS reads its identities only when it starts."""
RESTART_FILE = f"{RESTART}.configmap.yaml"
_JOINED = (
    "{{ $all := list }}{{ range . }}{{ $all = concat $all (fromJson .).identities }}{{ end }}"
    '{"identities": {{ toJson $all }}}'
)


@dataclass(frozen=True)
class StoreKey:
    """The key of an identity, and the buckets that it opens."""

    access: str = field(repr=False)
    secret: str = field(repr=False)
    buckets: tuple[str, ...]


def configuration(namespace: str, key: StoreKey) -> bytes:
    """Return a configuration of one identity, which has the namespace's name.

    It may do all in its buckets, and make them: `Admin` of a bucket is that bucket's only.
    """
    identity = {
        "name": namespace,
        "credentials": [{"accessKey": key.access, "secretKey": key.secret}],
        "actions": [f"Admin:{bucket}" for bucket in key.buckets],
    }
    return json.dumps({"identities": [identity]}).encode()


def secret(keys: Mapping[str, StoreKey]) -> PlainSecret:
    """Return the Secret of the identities of some namespaces."""
    return PlainSecret(
        metadata=ObjectMeta(name=SECRET_NAME, namespace=STORAGE_NAMESPACE, labels=OWN_LABELS),
        values={_key(name): configuration(name, key) for name, key in keys.items()},
    )


def read(text: str, source: str) -> SealedSecret:
    """Read the file of the identities; SealError names the file that is none."""
    try:
        return read_sealed(load_mapping(text, source, error=SealError))
    except SealError as error:
        message = error.message if source in error.message else f"{source}: {error.message}"
        raise SealError(message, hint=error.hint) from error


def join(sealed: SealedSecret) -> SealedSecret:
    """Return the object with the template that joins its values."""
    template = sealed.spec.template.model_copy(update={"data": {CONFIG: _JOINED}})
    return sealed.model_copy(update={"spec": sealed.spec.model_copy(update={"template": template})})


def merge(old: SealedSecret, fresh: SealedSecret, others: Collection[str]) -> SealedSecret:
    """Return the old identities, with the fresh ones added or replacing those of the same
    namespaces.

    An identity that several namespaces share stays until each of `others` has its own.
    """
    values = dict(old.spec.encrypted_data)
    if CONFIG in values:
        values[EARLIER] = values.pop(CONFIG)
    values |= fresh.spec.encrypted_data
    if all(_key(name) in values for name in others):
        values.pop(EARLIER, None)
    spec = fresh.spec.model_copy(update={"encrypted_data": dict(sorted(values.items()))})
    return join(fresh.model_copy(update={"spec": spec}))


def has_identity(sealed: SealedSecret, namespace: str) -> bool:
    """Return true if the namespace has an identity of its own."""
    return _key(namespace) in sealed.spec.encrypted_data


def restart(sealed: SealedSecret) -> ConfigMap:
    """Return the values that replace the store's pod whenever its identities change."""
    content = json.dumps(sealed.spec.encrypted_data, sort_keys=True).encode()
    digest = hashlib.sha256(content).hexdigest()
    values = {"allInOne": {"podAnnotations": {f"{API_GROUP}/identities": digest}}}
    return ConfigMap(
        metadata=ObjectMeta(
            name=RESTART,
            namespace=FLUX_NAMESPACE,
            labels={**OWN_LABELS, "reconcile.fluxcd.io/watch": "Enabled"},
        ),
        data={"values.yaml": dump_yaml(values)},
    )


def _key(namespace: str) -> str:
    return f"{namespace}.json"
