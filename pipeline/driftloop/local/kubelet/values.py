"""Values that containers take from ConfigMaps and Secrets: environment variables and files of
volumes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from driftloop.contract.names import PLATFORM
from driftloop.contract.platform import select_secret
from driftloop.errors import LocalError
from driftloop.local.ground import kinds

KEY = frozenset({"name", "key", "optional"})
"""Keys of a reference to one value of a ConfigMap or Secret."""

CONFIG_MAP = frozenset({"name"})
EMPTY_DIR = frozenset({"medium", "sizeLimit"})


@dataclass(frozen=True)
class ConfigValues:
    """ConfigMaps of the commit, and the platform's own ConfigMap and Secret."""

    config_maps: Mapping[tuple[str, str], Mapping[str, str]]
    platform: Mapping[str, str]
    secrets: Mapping[str, str]

    def get_config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """The data of a ConfigMap."""
        return self.platform if name == PLATFORM else self.config_maps.get((namespace, name))

    def get_secret(self, name: str) -> Mapping[str, str] | None:
        """The data of a Secret; only the platform's exist here."""
        return select_secret(name, self.secrets)


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
    """Return the files of a ConfigMap volume; None for an empty folder."""
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
                raise LocalError(
                    f"{label}: configMap {source['name']} does not exist", hint="is it in git?"
                )
            return dict(content)
        case _:
            raise LocalError(
                f"{where}: volume {volume['name']}: `{kind}` is not supported by the local runtime",
                hint="supported: emptyDir, configMap",
            )
