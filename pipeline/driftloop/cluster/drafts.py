"""Secrets before anybody keeps them: their values, and what is made of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from driftloop.kube.base import ObjectMeta
from driftloop.kube.sealed import PlainSecret

Values = Mapping[str, Any]
"""Values by key, in whatever form: only keys are asked for."""


def _keep_all(values: Values) -> Values:
    return values


@dataclass(frozen=True)
class SecretDraft:
    """A Secret that driftloop needs. Held in memory only."""

    metadata: ObjectMeta
    values: Mapping[str, bytes] = field(repr=False)
    """Values of their own, by key."""
    type: str = "Opaque"
    immutable: bool | None = None
    templates: Mapping[str, str] = field(default_factory=dict)
    """Values that are made of the others: Go templates over them."""
    derive: Callable[[Mapping[str, bytes]], Mapping[str, bytes]] = field(
        default=lambda values: {}, repr=False
    )
    """The same, for who has the values."""

    @property
    def name(self) -> str:
        """Name of the Secret."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """Namespace of the Secret."""
        return self.metadata.namespace or ""

    def complete(self, values: Mapping[str, bytes]) -> PlainSecret:
        """Return the Secret with these values, and what is made of them."""
        return PlainSecret(
            metadata=self.metadata,
            type=self.type,
            immutable=self.immutable,
            values={**values, **self.derive(values)},
        )


@dataclass(frozen=True)
class SharedDraft(SecretDraft):
    """A Secret of the platform to which each namespace brings a value, joined by the templates."""

    owners: Mapping[str, str] = field(default_factory=dict)
    """Key -> namespace that brings it."""
    part: str = "value"
    """Word for one such value in a store."""
    settle: Callable[[Values], Values] = field(default=_keep_all, repr=False)
    """What becomes of all values, old and new, before they are kept."""


def list_keys(drafts: Sequence[SecretDraft]) -> tuple[str, ...]:
    """Return Secrets with their keys, as a person reads them."""
    return tuple(
        f"{draft.namespace}/{draft.name}: {', '.join((*draft.values, *draft.templates))}"
        for draft in drafts
    )
