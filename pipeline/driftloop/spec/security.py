"""What the containers of a person's code may do, within the Pod Security Standard of the namespace."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from driftloop.spec.base import SpecModel, matching, take_list

HIGHEST = 2**31 - 1


def _not_root(number: int) -> int:
    if number == 0:
        raise ValueError("must be at least 1: no pod of a pipeline runs as root")
    return number


def _writable(value: bool) -> bool:
    if value:
        raise ValueError(
            "must be `false`, or left out: servers and monitors are read-only already, and steps write beside themselves"
        )
    return value


UserNumber = Annotated[int, AfterValidator(_not_root), Field(ge=0, le=HIGHEST)]
GroupNumber = Annotated[int, Field(ge=0, le=HIGHEST)]


class SeccompSettings(SpecModel):
    """System calls that a container may make."""

    type: Literal["RuntimeDefault", "Localhost"] = "RuntimeDefault"
    """The runtime's profile (`RuntimeDefault`), or a file of the node (`Localhost`)."""
    localhost_profile: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """File of the profile, below the kubelet's folder of them."""

    @model_validator(mode="after")
    def _one_file(self) -> Self:
        if (self.localhost_profile is None) == (self.type == "Localhost"):
            raise ValueError("must have `localhostProfile` with `type: Localhost`, and only then")
        return self


class Capabilities(SpecModel):
    """Rights of root, one by one; a container has none of them by itself."""

    add: Annotated[
        tuple[
            Annotated[
                str,
                matching(r"[A-Z][A-Z_]*", "must be a capability, such as NET_BIND_SERVICE"),
                Field(max_length=40),
            ],
            ...,
        ],
        Field(max_length=20),
        BeforeValidator(take_list, json_schema_input_type=tuple[str, ...]),
    ] = ()
    """Capabilities that are added: `NET_BIND_SERVICE`; with `backend: seldon`, whose namespace keeps the standard
    `baseline`, all that it allows."""


class SecuritySettings(SpecModel):
    """Users, groups and rights of a role's pods. What is not given stays as driftloop has it: user and group 8888, no
    right, and a root file system that servers and monitors can't write to."""

    run_as_user: UserNumber | None = None
    """User of the pod's processes, never 0."""
    run_as_group: GroupNumber | None = None
    """Group of the pod's processes."""
    fs_group: GroupNumber | None = None
    """Group that volumes belong to, and the processes are in."""
    supplemental_groups: Annotated[
        tuple[GroupNumber, ...],
        Field(max_length=20),
        BeforeValidator(take_list, json_schema_input_type=tuple[GroupNumber, ...]),
    ] = ()
    """Further groups that the processes are in."""
    seccomp_profile: SeccompSettings | None = None
    """System calls that the role's own container may make."""
    capabilities: Capabilities = Capabilities()
    """Rights of the role's own container."""
    read_only_root_filesystem: Annotated[bool, AfterValidator(_writable)] | None = None
    """`false` lets a server or a monitor write outside of its volumes; steps can."""

    def __bool__(self) -> bool:
        return self != NO_SECURITY


NO_SECURITY = SecuritySettings()
