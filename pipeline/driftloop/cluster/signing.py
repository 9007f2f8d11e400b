"""The key that signs a namespace's releases, sealed, and in clear those whose signatures count."""

from collections.abc import Iterable

from driftloop.cluster.drafts import SecretDraft
from driftloop.contract import platform as contract
from driftloop.contract.names import OWN_LABELS, SIGNING_SECRET
from driftloop.errors import PipelineError
from driftloop.kube.base import ObjectMeta
from driftloop.release.minisign import PublicKey, SigningKey, read_public_keys
from driftloop.text.load import load_mapping


def draft_key(namespace: str, key: SigningKey) -> SecretDraft:
    """Return the key in a Secret of its own, which one step's pod takes."""
    return SecretDraft(
        metadata=ObjectMeta(name=SIGNING_SECRET, namespace=namespace, labels=OWN_LABELS),
        values={contract.SIGNING_KEY.key: key.text.encode()},
    )


def write_keys(keys: Iterable[PublicKey]) -> str:
    """Return the keys as the ConfigMap has them, one a line."""
    return "\n".join(key.text for key in keys)


def add_key(key: SigningKey | None, config: str | None, namespace: str) -> tuple[PublicKey, ...]:
    """Return the keys that a namespace trusts, by the text of its ConfigMap, after a new one, if there is one: what the
    others have signed is still served."""
    label = f"`data.{contract.SIGNING_KEYS.key}` of the ConfigMap of {namespace}"
    data = load_mapping(config, label).get("data") if config is not None else None
    text = (data or {}).get(contract.SIGNING_KEYS.key) or ""
    if not isinstance(text, str):
        raise PipelineError(f"{label} is not text")
    new = () if key is None else (key.public,)
    return (*new, *(old for old in read_public_keys(text, label=label) if old not in new))
