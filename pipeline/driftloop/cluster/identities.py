"""Identities of the SeaweedFS that comes with the platform: one for each namespace, in one
Secret that grows without being opened.

Each namespace has one value of its own, a configuration of one identity. Whoever makes the Secret joins them, by
the template that the object carries.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from driftloop.cluster.drafts import SharedDraft
from driftloop.contract.names import API_GROUP, FLUX_NAMESPACE, OWN_LABELS, STORAGE_NAMESPACE
from driftloop.kube.base import ObjectMeta
from driftloop.kube.core import ConfigMap
from driftloop.text.dump import dump_yaml

SECRET_NAME = "seaweedfs-s3-config"  # noqa: S105 (a name)
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


def draft_identities(keys: Mapping[str, StoreKey], others: Collection[str]) -> SharedDraft:
    """Return the Secret of the identities of some namespaces; `others` have settings, too."""
    return SharedDraft(
        metadata=ObjectMeta(name=SECRET_NAME, namespace=STORAGE_NAMESPACE, labels=OWN_LABELS),
        values={key(name): configuration(name, own) for name, own in keys.items()},
        templates={CONFIG: _JOINED},
        derive=_join,
        owners={key(name): name for name in keys},
        part="identity",
        settle=lambda values: _settle(values, others),
    )


def _join(values: Mapping[str, bytes]) -> dict[str, bytes]:
    listed = [each for name in sorted(values) for each in json.loads(values[name])["identities"]]
    return {CONFIG: json.dumps({"identities": listed}).encode()}


def _settle(values: Mapping[str, Any], others: Collection[str]) -> dict[str, Any]:
    """Return the identities under their names of today. One that several namespaces share stays until each of `others`
    has its own."""
    settled = dict(values)
    if CONFIG in settled:
        settled[EARLIER] = settled.pop(CONFIG)
    if all(key(name) in settled for name in others):
        settled.pop(EARLIER, None)
    return settled


def restart(content: str) -> ConfigMap:
    """Return the values that replace the store's pod whenever what stands in git of its identities changes."""
    digest = hashlib.sha256(content.encode()).hexdigest()
    values = {"allInOne": {"podAnnotations": {f"{API_GROUP}/identities": digest}}}
    return ConfigMap(
        metadata=ObjectMeta(
            name=RESTART,
            namespace=FLUX_NAMESPACE,
            labels={**OWN_LABELS, "reconcile.fluxcd.io/watch": "Enabled"},
        ),
        data={"values.yaml": dump_yaml(values)},
    )


def key(namespace: str) -> str:
    """Return the key of a namespace's identity in the Secret."""
    return f"{namespace}.json"
