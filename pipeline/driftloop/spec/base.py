"""Base of every part of a spec."""

import re
from typing import Any, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator
from pydantic.alias_generators import to_camel


class SpecModel(BaseModel):
    """Frozen, strict, and closed: an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        populate_by_name=True,
        alias_generator=to_camel,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


def take_list(value: Any) -> Any:
    """Return a list as the tuple that strict validation wants of what is no text of JSON any more."""
    return tuple(value) if isinstance(value, list) else value


def matching(pattern: str, words: str) -> AfterValidator:
    """Takes texts that match a pattern as a whole; `words` say what they must be."""
    whole = re.compile(pattern)

    def check(text: str) -> str:
        if not whole.fullmatch(text):
            raise ValueError(words)
        return text

    return AfterValidator(check)


TAGS = ("detector", "server", "type")
"""Keys that say which member of a union a mapping is."""


def tagged(key: str, *, default: str | None = None) -> Discriminator:
    """Chooses the member of a union by one of the keys in TAGS."""

    def which(value: Any) -> str | None:
        tag_value = (
            value.get(key, default) if isinstance(value, dict) else getattr(value, key, default)
        )
        return tag_value if tag_value is None or isinstance(tag_value, str) else repr(tag_value)

    return Discriminator(which)


def tag(model: type[BaseModel]) -> tuple[str, str] | None:
    """The key and value by which a model is a member of a union."""
    for key in TAGS:
        values = get_args(model.model_fields[key].annotation) if key in model.model_fields else ()
        if len(values) == 1:
            return key, str(values[0])
    return None
