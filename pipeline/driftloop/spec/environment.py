"""Environment variables of a person's code: values, and references to Secrets and ConfigMaps of the pipeline's
namespace. A secret's value is never in a spec."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from driftloop.contract.variables import find_owner
from driftloop.spec.base import SpecModel, matching, take_list
from driftloop.spec.values import OwnObjectName
from driftloop.spec.volumes import Volume


def _variable(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        raise ValueError(
            "must be a name of letters, digits and _, beginning with a letter or _, such as LOG_LEVEL"
        )
    if (why := find_owner(text)) is not None:
        raise ValueError(f"must be another name: {why}")
    return text


def _value(text: str) -> str:
    if "{{" in text:
        raise ValueError(
            "must not contain `{{`: Argo puts something else in its place; keep such a text in a ConfigMap"
        )
    if "\0" in text:
        raise ValueError("must not contain the character NUL: no environment holds it")
    return text


VariableName = Annotated[str, AfterValidator(_variable), Field(min_length=1, max_length=250)]
"""Name of an environment variable that is not driftloop's own."""
VariableText = Annotated[str, AfterValidator(_value), Field(max_length=32_768)]
"""Value of an environment variable; of `$(NAME)` Kubernetes makes the value of another one, and of `$$` a `$`."""
DataKey = Annotated[
    str,
    matching(
        r"[-._A-Za-z0-9]+",
        "must be a key of a Secret or ConfigMap: letters, digits, `-`, `_` and `.`",
    ),
    Field(min_length=1, max_length=253),
]
"""A key of a Secret or ConfigMap."""


class SecretKey(SpecModel):
    """One value of a Secret."""

    secret: OwnObjectName
    """Name of a Secret in the pipeline's namespace. On one machine: below `secrets` in `.driftloop/local.yaml`, which
    git ignores."""
    key: DataKey
    """Key in the Secret."""


class ConfigKey(SpecModel):
    """One value of a ConfigMap."""

    config: OwnObjectName
    """Name of a ConfigMap in the pipeline's namespace. On one machine: below `configs` in `.driftloop/local.yaml`."""
    key: DataKey
    """Key in the ConfigMap."""


class WholeSecret(SpecModel):
    """All keys of a Secret."""

    secret: OwnObjectName
    """Name of a Secret in the pipeline's namespace."""


class WholeConfig(SpecModel):
    """All keys of a ConfigMap."""

    config: OwnObjectName
    """Name of a ConfigMap in the pipeline's namespace."""


def _choose_form(value: Any) -> str:
    if isinstance(value, SecretKey | WholeSecret):
        return "of a secret"
    if isinstance(value, ConfigKey | WholeConfig):
        return "of a config"
    if isinstance(value, dict):
        return "of a secret" if "secret" in value else "of a config"
    return "text"


def _check_value(value: Any) -> Any:
    if isinstance(value, dict) and ("secret" in value) == ("config" in value):
        raise ValueError("must be a text, `{secret: NAME, key: KEY}` or `{config: NAME, key: KEY}`")
    return value


def _check_source(value: Any) -> Any:
    if not isinstance(value, dict | WholeSecret | WholeConfig) or (
        isinstance(value, dict) and ("secret" in value) == ("config" in value)
    ):
        raise ValueError("must be `{secret: NAME}` or `{config: NAME}`")
    return value


_TextOrKey = Annotated[
    Annotated[VariableText, Tag("text")]
    | Annotated[SecretKey, Tag("of a secret")]
    | Annotated[ConfigKey, Tag("of a config")],
    Discriminator(_choose_form),
]
VariableValue = Annotated[
    _TextOrKey, BeforeValidator(_check_value, json_schema_input_type=_TextOrKey)
]
VariableSource = Annotated[
    Annotated[WholeSecret, Tag("of a secret")] | Annotated[WholeConfig, Tag("of a config")],
    Discriminator(_choose_form),
]
Variables = Annotated[dict[VariableName, VariableValue], Field(max_length=100)]
"""Name to value."""
_Sources = tuple[
    Annotated[
        VariableSource, BeforeValidator(_check_source, json_schema_input_type=VariableSource)
    ],
    ...,
]
VariableSources = Annotated[
    _Sources,
    Field(
        max_length=20,
        description="Secrets and ConfigMaps of which every key is a variable: `[{secret: NAME}, {config: NAME}]`; those of\n"
        "`env` come before them.",
    ),
    BeforeValidator(take_list, json_schema_input_type=_Sources),
]
"""Secrets and ConfigMaps of which every key is a variable."""


Reference = SecretKey | ConfigKey | WholeSecret | WholeConfig | Volume
"""What a container is given of the namespace's objects."""


@dataclass(frozen=True)
class Environment:
    """What one container of a person's code is given: variables and volumes."""

    env: Mapping[str, str | SecretKey | ConfigKey]
    env_from: tuple[WholeSecret | WholeConfig, ...]
    volumes: tuple[Volume, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.env or self.env_from or self.volumes)

    def describe(self) -> list[Any]:
        """Return it as plain data, by which two are compared: references, never what they lead to."""
        values = {
            name: value if isinstance(value, str) else value.model_dump(mode="json")
            for name, value in sorted(self.env.items())
        }
        sources = [source.model_dump(mode="json") for source in self.env_from]
        volumes = [volume.model_dump(mode="json") for volume in self.volumes]
        return [values, sources, *([volumes] if volumes else ())]

    def walk_references(
        self,
    ) -> Iterator[tuple[tuple[str | int, ...], Reference]]:
        """Yield each reference and where it stands."""
        for name, value in self.env.items():
            if not isinstance(value, str):
                yield ("env", name), value
        for index, source in enumerate(self.env_from):
            yield ("envFrom", index), source
        for index, volume in enumerate(self.volumes):
            yield ("volumes", index), volume


NO_VARIABLES = Environment({}, ())


class _Given(Protocol):
    """Fields of a role that has a container of a person's code."""

    @property
    def env(self) -> Mapping[str, str | SecretKey | ConfigKey]: ...
    @property
    def env_from(self) -> tuple[WholeSecret | WholeConfig, ...]: ...
    @property
    def volumes(self) -> tuple[Volume, ...]: ...


class GivenEnvironment:
    """A role with `env`, `envFrom` and `volumes`, which stand where its reference has them."""

    @property
    def environment(self: _Given) -> Environment:
        """Variables and volumes of the container."""
        return Environment(self.env, self.env_from, self.volumes)
