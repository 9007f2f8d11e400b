"""Models of the parts of Argo's objects that the local runtime understands.

Three kinds of fields: those of the models, which it acts on; those in a class's `ACCEPTED`, which
change nothing on one machine; and all others, which are refused by name.
"""

import json
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from driftloop.errors import LocalError
from driftloop.local.ground.kinds import HINT


class NotUnderstoodError(LocalError):
    """An object with a field that has no effect here, or that the API does not allow."""


class Part(BaseModel):
    """A piece of an object: frozen, camelCase outside, unknown fields refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, alias_generator=to_camel
    )
    ACCEPTED: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _leave_out_accepted(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {k: v for k, v in value.items() if k not in cls.ACCEPTED and v is not None}
        return value

    def raw(self) -> dict[str, Any]:
        """Return the part as it was written, without fields that are only accepted."""
        return self.model_dump(by_alias=True, exclude_unset=True)


def _any_string(value: Any) -> Any:
    """Return numbers and booleans as their text, like Argo's AnyString."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return json.dumps(value)
        case _:
            return value


Text = Annotated[str, BeforeValidator(_any_string)]
_DURATION = r"^(\d+(\.\d+)?|(\d+(\.\d+)?(ms|s|m|h|d))+)$"
Duration = Annotated[str, BeforeValidator(_any_string), Field(pattern=_DURATION)]
Whole = Annotated[str, BeforeValidator(_any_string), Field(pattern=r"^\d+$")]
Number = Annotated[str, BeforeValidator(_any_string), Field(pattern=r"^\d+(\.\d+)?$")]


class KeyRef(Part):
    """One key of a ConfigMap or Secret."""

    name: str
    key: str


class RepositoryRef(Part):
    """The artifact repository: a key of a ConfigMap."""

    config_map: str
    key: str


S = TypeVar("S", bound=BaseModel)


def read_part(kind: type[S], value: Any, *, label: str, path: str = "") -> S:
    """Read a model from JSON; NotUnderstoodError lists every faulty field of the object `label`.

    `path` is where `value` is in the object.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        faults = [
            _format_fault(
                (path, *fault["loc"]) if path else fault["loc"],
                fault["type"],
                fault["msg"],
                fault["input"],
            )
            for fault in error.errors()
        ]
        raise NotUnderstoodError(
            f"{label}: {'; '.join(faults)}",
            hint=HINT,
        ) from error


def _format_fault(place: tuple[int | str, ...], type: str, message: str, value: Any) -> str:
    path = ".".join(str(part) for part in place)
    match type:
        case "extra_forbidden":
            return f"`{path}` is not supported by the local runtime"
        case "missing":
            return f"`{path}` is missing"
        case "value_error":
            return message.removeprefix("Value error, ")
        case _:
            return f"`{path}` is {json.dumps(value, default=str)[:60]}: {message.lower()}"
