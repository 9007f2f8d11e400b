"""Base of every object that is rendered: frozen typed models that know the Kubernetes spelling
of their fields."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class ObjectPart(BaseModel):
    """A part of an object. Fields left at None are left out of the YAML."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, alias_generator=to_camel
    )

    def dump_object(self) -> dict[str, Any]:
        """Plain data in the order of the fields, ready for YAML."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class ObjectMeta(ObjectPart):
    """Name, home, and the labels that say whose it is."""

    name: str
    namespace: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class KubernetesObject(ObjectPart):
    """A whole object; each kind fixes `api_version` and `kind`."""

    api_version: str
    kind: str
    metadata: ObjectMeta


class ObjectReference(ObjectPart):
    """Another object, by kind and name."""

    api_version: str | None = None
    kind: str | None = None
    name: str
    namespace: str | None = None


class LabelRequirement(ObjectPart):
    """A label that is there, is not, or has one of some values."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] | None = None


class LabelSelector(ObjectPart):
    """Objects that carry all of these labels; without any, every object."""

    match_labels: dict[str, str] | None = None
    match_expressions: tuple[LabelRequirement, ...] | None = None


Protocol = Literal["TCP", "UDP"]
