"""Patches of rendered objects: what no other field of a spec says."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from driftloop.spec.base import SpecModel, matching, take_list
from driftloop.spec.values import LabelName, LabelValue, SecretName

_WITH_VALUE = ("add", "replace", "test")


def _no_directives(value: dict[str, Any]) -> dict[str, Any]:
    for key in _walk_keys(value):
        if key.startswith("$"):
            raise ValueError(
                f"must not hold `{key}`: directives of kustomize are not taken; use `operations` with `op: remove` or "
                "`replace`"
            )
    for key in ("apiVersion", "kind"):
        if key in value:
            raise ValueError(
                f"must not hold `{key}`: an object stays what it is; `target` says which one"
            )
    if not value:
        raise ValueError("must say what to merge")
    return value


def _walk_keys(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, member in value.items():
            yield str(key)
            yield from _walk_keys(member)
    elif isinstance(value, list):
        for member in value:
            yield from _walk_keys(member)


class PatchTarget(SpecModel):
    """The rendered objects that a patch changes: those that all of it fits."""

    kind: Annotated[
        str,
        matching(r"[A-Z][A-Za-z0-9]*", "must be a kind of object, such as WorkflowTemplate"),
        Field(max_length=63),
    ]
    """Kind of the objects, such as `WorkflowTemplate`."""
    name: SecretName | None = None
    """Name of the object; of all of the kind when left out."""
    labels: Annotated[dict[LabelName, LabelValue], Field(max_length=20)] = Field(
        default_factory=dict
    )
    """Labels that the objects have."""


class PatchOperation(SpecModel):
    """One operation of a JSON patch (RFC 6902)."""

    op: Literal["add", "remove", "replace", "test"]
    """Add a value, or replace one, remove it, or test that it is there as `value` says."""
    path: Annotated[
        str,
        matching(r"(/([^~/]|~[01])*)+", "must be a path such as /spec/template/spec/hostname"),
        Field(max_length=1000),
    ]
    """Place in the object: `/spec/templates/3/container`, with `~1` for a `/` in a key, and `-` for the end of a list."""
    value: Any = None
    """Value to add, to put in place, or to test for."""

    @model_validator(mode="after")
    def _has_value(self) -> Self:
        given = "value" in self.model_fields_set
        if given != (self.op in _WITH_VALUE):
            raise ValueError(f"must have {'a' if not given else 'no'} `value` with `op: {self.op}`")
        return self

    def dump(self) -> dict[str, Any]:
        """Return it as RFC 6902 has it."""
        value = {"value": self.value} if self.op in _WITH_VALUE else {}
        return {"op": self.op, "path": self.path, **value}


class Patch(SpecModel):
    """A change of rendered objects, by kustomize: a last resort, for what no field says."""

    target: PatchTarget
    """Objects that are changed."""
    operations: Annotated[
        tuple[PatchOperation, ...],
        Field(max_length=100),
        BeforeValidator(take_list, json_schema_input_type=tuple[PatchOperation, ...]),
    ] = ()
    """A JSON patch: operations in this order."""
    merge: Annotated[dict[str, Any], AfterValidator(_no_directives)] | None = None
    """Instead of `operations`, a strategic merge: keys to set, and `null` for keys to remove. Lists of containers,
    volumes, variables and mounts of Kubernetes' own kinds are merged by name; all other lists are replaced."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.operations) == (self.merge is not None):
            raise ValueError("must have either `operations` or `merge`")
        return self
