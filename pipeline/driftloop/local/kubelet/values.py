"""Values that containers take from ConfigMaps and Secrets: environment variables and files of
volumes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftloop.contract.names import PLATFORM
from driftloop.contract.platform import OBJECTS, select_secret
from driftloop.errors import LocalError
from driftloop.local.ground import kinds
from driftloop.local.ground.expansion import expand_references
from driftloop.local.ground.mounts import replace_mounts
from driftloop.local.ground.own_values import NO_VALUES, Kind, Missing, OwnValues
from driftloop.resources import parts
from driftloop.spec.environment import Environment

KEY = frozenset({"name", "key", "optional"})
"""Keys of a reference to one value of a ConfigMap or Secret."""

ENV_FROM = frozenset({"configMapRef", "secretRef"})
CONFIG_MAP = frozenset({"name"})
SECRET_VOLUME = frozenset({"secretName"})
CLAIM = frozenset({"claimName"})
EMPTY_DIR = frozenset({"medium", "sizeLimit"})
_CONFIGS: Kind = "configs"
_SECRETS: Kind = "secrets"


@dataclass(frozen=True)
class ConfigValues:
    """ConfigMaps of the commit, and the platform's own ConfigMap and Secret."""

    config_maps: Mapping[tuple[str, str], Mapping[str, str]]
    platform: Mapping[str, str]
    secrets: Mapping[str, str]
    own: OwnValues = NO_VALUES
    """A person's own ones; they come before those of the commit."""

    def get_config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """The data of a ConfigMap."""
        if name == PLATFORM:
            return self.platform
        own = self.own.get_object("configs", name)
        return self.config_maps.get((namespace, name)) if own is None else own

    def get_secret(self, name: str) -> Mapping[str, str] | None:
        """The data of a Secret: the platform's, or a person's own."""
        found = select_secret(name, self.secrets)
        return self.own.get_object("secrets", name) if found is None else found


def resolve_environment(
    where: str, namespace: str, container: Mapping[str, Any], values: ConfigValues
) -> dict[str, str]:
    """Return the variables of a container; LocalError for a value that is not there."""
    env: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        env |= _resolve_source(f"{where}: envFrom", namespace, source, values)
    for entry in container.get("env") or ():
        value = resolve_value(where, namespace, entry, values)
        if value is not None:
            env[entry["name"]] = expand_references(value, env)
    return env


def require_own(
    where: str, namespace: str, container: Mapping[str, Any], values: ConfigValues
) -> None:
    """Raise LocalError unless everything is there that a container takes from objects that are not the platform's."""

    def is_own(reference: Mapping[str, Any]) -> bool:
        return reference.get("name") not in OBJECTS

    for source in container.get("envFrom") or ():
        if all(map(is_own, source.values())):
            _resolve_source(f"{where}: envFrom", namespace, source, values)
    for entry in container.get("env") or ():
        if all(map(is_own, (entry.get("valueFrom") or {}).values())):
            resolve_value(where, namespace, entry, values)


@dataclass(frozen=True)
class OwnThings:
    """What a spec gives a program outside any pod."""

    variables: Mapping[str, str]
    folders: Mapping[str, Path]
    """Mount path -> the folder that stands for it."""


def start_own(where: str, environment: Environment, own: OwnValues, folder: Path) -> OwnThings:
    """Return the variables and folders that a spec gives a container, for a program outside any pod; LocalError for what
    this machine does not have. Files are written below `folder`."""
    folders = _mount_own(where, environment, own, folder)
    variables = _resolve_own(where, environment, own)
    return OwnThings(
        {name: replace_mounts(value, folders) for name, value in variables.items()}, folders
    )


def _resolve_own(where: str, environment: Environment, own: OwnValues) -> dict[str, str]:
    sources = parts.own_sources(environment) or ()
    container = {
        "env": [item.dump_object() for item in parts.own_environment(environment)],
        "envFrom": [item.dump_object() for item in sources],
    }
    return resolve_environment(where, "", container, ConfigValues({}, {}, {}, own))


def _resolve_source(
    where: str, namespace: str, source: Mapping[str, Any], values: ConfigValues
) -> Mapping[str, str]:
    kinds.refuse_other_keys(where, "envFrom[]", source, ENV_FROM)
    ((kind, reference),) = source.items()
    kinds.refuse_other_keys(where, f"envFrom[].{kind}", reference, CONFIG_MAP)
    name = reference["name"]
    if kind == "configMapRef":
        found, own = values.get_config_map(namespace, name), _CONFIGS
    else:
        found, own = values.get_secret(name), _SECRETS
    if found is None:
        raise values.own.build_missing(where, (own, name, None))
    return found


def resolve_value(
    where: str,
    namespace: str,
    entry: Mapping[str, Any],
    values: ConfigValues,
) -> str | None:
    """Return the value of one entry of `env`; None when it is optional and not there."""
    if "valueFrom" not in entry:
        return str(entry.get("value", ""))
    source = entry["valueFrom"]
    ((kind, reference),) = source.items()
    match kind:
        case "configMapKeyRef" | "secretKeyRef":
            kinds.refuse_other_keys(
                f"{where}: env {entry['name']}",
                f"valueFrom.{kind}",
                reference,
                KEY,
            )
            name, key = reference["name"], reference["key"]
            content = (
                values.get_config_map(namespace, name)
                if kind == "configMapKeyRef"
                else values.get_secret(name)
            )
            if content is not None and key in content:
                return content[key]
            if reference.get("optional") is True:
                return None
            if name not in OBJECTS:
                own = _CONFIGS if kind == "configMapKeyRef" else _SECRETS
                raise values.own.build_missing(f"{where}: env {entry['name']}", (own, name, key))
            raise LocalError(
                f"{where}: env {entry['name']}: {kind} {name}/{key} does not exist",
                hint=f"`{PLATFORM}` has: {', '.join(sorted(content or ()))}"
                if name == PLATFORM
                else None,
            )
        case _:
            raise LocalError(
                f"{where}: env {entry['name']}: `{kind}` is not supported by the local runtime",
                hint="write the value",
            )


def read_volume_files(
    where: str, namespace: str, volume: Mapping[str, Any], values: ConfigValues
) -> Mapping[str, str] | None:
    """Return the files of a ConfigMap's or Secret's volume; None for a folder."""
    ((kind, source),) = ((key, value) for key, value in volume.items() if key != "name")
    label = f"{where}: volume {volume['name']}"
    match kind:
        case "emptyDir":
            kinds.refuse_other_keys(label, kind, source, EMPTY_DIR)
            return None
        case "configMap":
            kinds.refuse_other_keys(label, kind, source, CONFIG_MAP)
            content = values.get_config_map(namespace, source["name"])
            if content is None:
                raise values.own.build_missing(label, (_CONFIGS, source["name"], None))
            return dict(content)
        case "secret":
            kinds.refuse_other_keys(label, kind, source, SECRET_VOLUME)
            found = values.get_secret(source["secretName"])
            if found is None:
                raise values.own.build_missing(label, (_SECRETS, source["secretName"], None))
            return dict(found)
        case "persistentVolumeClaim":
            kinds.refuse_other_keys(label, kind, source, CLAIM)
            return None
        case _:
            raise LocalError(
                f"{where}: volume {volume['name']}: `{kind}` is not supported by the local runtime",
                hint="supported: emptyDir, configMap, secret, persistentVolumeClaim",
            )


def find_claim_folder(where: str, volume: Mapping[str, Any], values: ConfigValues) -> Path | None:
    """Return the folder of this machine that stands for a claim; None for another volume."""
    claim = volume.get("persistentVolumeClaim")
    if claim is None:
        return None
    missing: Missing = ("volumes", claim["claimName"], None)
    if not values.own.has(missing):
        raise values.own.build_missing(f"{where}: volume {volume['name']}", missing)
    return values.own.folders[claim["claimName"]]


def require_volumes(
    where: str, namespace: str, volumes: Iterable[Mapping[str, Any]], values: ConfigValues
) -> None:
    """Raise LocalError unless everything is there that volumes take."""
    for volume in volumes:
        read_volume_files(where, namespace, volume, values)
        find_claim_folder(where, volume, values)


def _mount_own(
    where: str, environment: Environment, own: OwnValues, folder: Path
) -> dict[str, Path]:
    """Return the folders that stand for a spec's volumes, by mount path."""
    values = ConfigValues({}, {}, {}, own)
    sources: dict[str, Path] = {}
    for item in parts.own_volumes(environment):
        volume = item.dump_object()
        files = read_volume_files(where, "", volume, values)
        claim = find_claim_folder(where, volume, values)
        sources[item.name] = claim or write_files(folder / item.name, files or {})
    return {mount.mount_path: sources[mount.name] for mount in parts.own_mounts(environment)}


def write_files(folder: Path, files: Mapping[str, str]) -> Path:
    """Write the files of a volume, which only their owner can read, and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        file = folder / name
        file.touch(mode=0o600)
        file.write_text(content)
    return folder
