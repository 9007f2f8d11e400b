"""Volumes of a person's code: claims, and the files of Secrets and ConfigMaps of the pipeline's namespace."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from driftloop.contract.variables import find_folder_owner
from driftloop.spec.base import SpecModel, take_list
from driftloop.spec.values import OwnObjectName, SecretName


def _mount_path(text: str) -> str:
    path = text.rstrip("/")
    parts = path.split("/")[1:]
    if not re.fullmatch(r"(/[A-Za-z0-9._-]+)+", path) or any(part in (".", "..") for part in parts):
        raise ValueError(
            "must be a folder in the container, such as /data/features: letters, digits, `.`, `_` and `-`"
        )
    if (why := find_folder_owner(path)) is not None:
        raise ValueError(f"must be another folder: {why}")
    return path


MountPath = Annotated[str, AfterValidator(_mount_path), Field(max_length=500)]
"""A folder in a container that is not driftloop's own."""


class SecretFiles(SpecModel):
    """The keys of a Secret as files, read-only."""

    secret: OwnObjectName
    """Name of a Secret in the pipeline's namespace."""
    mount_path: MountPath
    """Folder in the container."""


class ConfigFiles(SpecModel):
    """The keys of a ConfigMap as files, read-only."""

    config: OwnObjectName
    """Name of a ConfigMap in the pipeline's namespace."""
    mount_path: MountPath
    """Folder in the container."""


class ClaimFolder(SpecModel):
    """The folder behind a PersistentVolumeClaim."""

    pvc: SecretName
    """Name of a PersistentVolumeClaim in the pipeline's namespace. On one machine: a folder, below `volumes` in
    `.driftloop/local.yaml`."""
    mount_path: MountPath
    """Folder in the container. On one machine a variable or parameter with this path has the folder's own."""
    read_only: bool = True
    """False: the container may write there. On one machine nothing keeps it from writing."""


KINDS = ("secret", "config", "pvc")


def _choose_kind(value: Any) -> str:
    match value:
        case SecretFiles():
            return "of a secret"
        case ConfigFiles():
            return "of a config"
        case ClaimFolder():
            return "of a claim"
        case {"secret": _}:
            return "of a secret"
        case {"config": _}:
            return "of a config"
        case _:
            return "of a claim"


def _check_kind(value: Any) -> Any:
    if isinstance(value, SecretFiles | ConfigFiles | ClaimFolder):
        return value
    if not isinstance(value, dict) or sum(kind in value for kind in KINDS) != 1:
        raise ValueError(
            "must be `{secret: NAME, mountPath: FOLDER}`, or with `config` or `pvc` in place of `secret`"
        )
    return value


_Volume = Annotated[
    Annotated[SecretFiles, Tag("of a secret")]
    | Annotated[ConfigFiles, Tag("of a config")]
    | Annotated[ClaimFolder, Tag("of a claim")],
    Discriminator(_choose_kind),
]
Volume = SecretFiles | ConfigFiles | ClaimFolder


Volumes = Annotated[
    tuple[Annotated[_Volume, BeforeValidator(_check_kind, json_schema_input_type=_Volume)], ...],
    Field(
        max_length=20,
        description="Folders of the container, read-only unless said: `[{pvc: NAME, mountPath: FOLDER}]`, or with `secret` or\n"
        "`config` in place of `pvc`.",
    ),
    BeforeValidator(take_list),
]
"""Folders of a container."""
