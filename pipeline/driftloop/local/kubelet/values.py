"""Values that containers take from ConfigMaps and Secrets: environment variables and files of
volumes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from driftloop.contract.names import PLATFORM
from driftloop.errors import LocalError


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
        """The data of a Secret; only the platform's exists here."""
        return self.secrets if name == PLATFORM else None


def resolve_value(
    where: str,
    namespace: str,
    entry: Mapping[str, Any],
    values: ConfigValues,
    facts: Mapping[str, str],
) -> str | None:
    """Return the value of one entry of `env`; None for an optional reference that does not
    exist."""
    if "valueFrom" not in entry:
        return str(entry.get("value", ""))
    source = entry["valueFrom"]
    ((kind, reference),) = source.items()
    match kind:
        case "configMapKeyRef" | "secretKeyRef":
            name, key = reference["name"], reference["key"]
            content = (
                values.get_config_map(namespace, name)
                if kind == "configMapKeyRef"
                else values.get_secret(name)
            )
            if content is not None and key in content:
                return content[key]
            if reference.get("optional"):
                return None
            raise LocalError(
                f"{where}: env {entry['name']}: {kind} {name}/{key} does not exist",
                hint=f"`{PLATFORM}` has: {', '.join(sorted(content or ()))}"
                if name == PLATFORM
                else None,
            )
        case "fieldRef":
            if reference["fieldPath"] not in facts:
                raise LocalError(
                    f"{where}: env {entry['name']}: fieldRef `{reference['fieldPath']}` "
                    "is not understood by the local runtime",
                    hint=f"supported: {', '.join(sorted(facts))}",
                )
            return facts[reference["fieldPath"]]
        case _:
            raise LocalError(
                f"{where}: env {entry['name']}: `{kind}` is not understood by the local runtime",
                hint="write the value",
            )


def resolve_all_values(
    where: str, namespace: str, source: Mapping[str, Any], values: ConfigValues
) -> dict[str, str]:
    """Return the variables of one entry of `envFrom`."""
    reference = source.get("configMapRef") or source.get("secretRef")
    if reference is None:
        raise LocalError(
            f"{where}: envFrom needs configMapRef or secretRef", hint="or list the keys in `env`"
        )
    content = (
        values.get_config_map(namespace, reference["name"])
        if "configMapRef" in source
        else values.get_secret(reference["name"])
    )
    if content is None and not reference.get("optional"):
        raise LocalError(
            f"{where}: envFrom: {reference['name']} does not exist", hint="is it in the tree?"
        )
    # a key that is not a variable's name is left out, as the kubelet does
    return {
        f"{source.get('prefix', '')}{key}": value
        for key, value in (content or {}).items()
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", key)
    }


def read_volume_files(
    where: str, namespace: str, volume: Mapping[str, Any], values: ConfigValues
) -> Mapping[str, str] | None:
    """Return the files of a ConfigMap or Secret volume; None for an empty folder."""
    ((kind, source),) = ((key, value) for key, value in volume.items() if key != "name")
    match kind:
        case "emptyDir":
            return None
        case "configMap" | "secret":
            name = source["name"] if kind == "configMap" else source["secretName"]
            content = (
                values.get_config_map(namespace, name)
                if kind == "configMap"
                else values.get_secret(name)
            )
            if content is None:
                if source.get("optional"):
                    return {}
                raise LocalError(
                    f"{where}: volume {volume['name']}: {kind} {name} does not exist",
                    hint="is it in git?",
                )
            items = {item["key"]: item["path"] for item in source.get("items") or ()} or {
                key: key for key in content
            }
            if missing := sorted(set(items) - set(content)):
                raise LocalError(
                    f"{where}: volume {volume['name']}: {name} has no key {missing[0]}"
                )
            return {path: content[key] for key, path in items.items()}
        case _:
            raise LocalError(
                f"{where}: volume {volume['name']}: `{kind}` is not understood by the local runtime",
                hint="supported: emptyDir, configMap, secret",
            )
