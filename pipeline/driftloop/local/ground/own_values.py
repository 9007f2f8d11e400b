"""Values that this machine has of a person's own Secrets and ConfigMaps: `local.yaml` of the state folder, which a
person writes and git ignores."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from driftloop.errors import LocalError
from driftloop.local.ground import files
from driftloop.local.ground.state import StateFolder
from driftloop.text.dump import dump_yaml
from driftloop.text.load import EXACT_RULES, describe_problem
from driftloop.text.node import YamlNode
from driftloop.text.read import read

Kind = Literal["secrets", "configs"]
KINDS: Mapping[Kind, str] = {"secrets": "Secret", "configs": "ConfigMap"}
"""Key of the file -> the kind of object whose values it holds, by name and key."""
VOLUMES: Literal["volumes"] = "volumes"
"""Key of the file with a folder of this machine for each PersistentVolumeClaim."""
SHAPE = 'it is `secrets: {NAME: {KEY: "value"}}`, `configs` likewise, and `volumes: {NAME: FOLDER}`'
Missing = tuple[Kind | Literal["volumes"], str, str | None]
"""Where something is missing, its name, and a key."""


@dataclass(frozen=True)
class OwnValues:
    """The file, read."""

    file: Path
    held: Mapping[Kind, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)
    folders: Mapping[str, Path] = field(default_factory=dict)
    """Name of a PersistentVolumeClaim -> the folder that stands for it."""

    @classmethod
    def load(cls, state: StateFolder) -> "OwnValues":
        """Read the file of a state folder; without one there are no values. LocalError names the line of what is wrong,
        and shows no value."""
        try:
            text = files.read_text(state.own_values)
        except FileNotFoundError:
            return cls(state.own_values)
        if not state.ignored.exists():
            # a person may write it before the first start, which keeps the folder out of git
            state.ignore_in_git()
        held, folders = _read_values(text, str(state.own_values))
        return cls(state.own_values, held, folders)

    def get_object(self, kind: Kind, name: str) -> Mapping[str, str] | None:
        """Return the keys of a Secret or ConfigMap; None when the file has none of that name."""
        return self.held.get(kind, {}).get(name)

    def has(self, missing: Missing) -> bool:
        """Return True when the file has a key; of no key, when it has the object or folder."""
        kind, name, key = missing
        if kind == VOLUMES:
            return name in self.folders
        found = self.get_object(kind, name)
        return found is not None and (key is None or key in found)

    def build_missing(self, where: str, missing: Missing) -> LocalError:
        """Return the error for what is not in the file."""
        return LocalError(
            f"{where} takes {describe_missing(missing)}", hint=self.explain_lines([missing])
        )

    def explain_lines(self, missing: list[Missing]) -> str:
        """Return which lines the file needs."""
        lines: dict[str, dict[str, Any]] = {}
        for kind, name, key in missing:
            if kind == VOLUMES:
                lines.setdefault(kind, {})[name] = "/a/folder/of/this/machine"
                continue
            keys = lines.setdefault(kind, {}).setdefault(name, {})
            if key is not None:
                keys[key] = "…"
        for kind in KINDS:
            for keys in lines.get(kind, {}).values():
                if not keys:
                    keys["KEY"] = "…"
        body = dump_yaml(lines).rstrip().replace("\n", "\n  ")
        verb = "add to" if self.held or self.folders else "write into"
        return f"{verb} {self.file}, which git ignores:\n  {body}"


NO_VALUES = OwnValues(Path("local.yaml"))


def describe_missing(missing: Missing) -> str:
    """Return in words what is not in the file."""
    kind, name, key = missing
    if kind == VOLUMES:
        return f"the PersistentVolumeClaim `{name}`, for which this machine has no folder"
    what = KINDS[kind] if key is None else f"key `{key}` of the {KINDS[kind]}"
    return f"{what} `{name}`, of which this machine has no value"


def _read_values(
    text: str, path: str
) -> tuple[dict[Kind, dict[str, dict[str, str]]], dict[str, Path]]:
    reading = read(text, rules=EXACT_RULES)
    if reading.problems:
        raise LocalError(describe_problem(reading.problems[0], path), hint=SHAPE)
    held: dict[Kind, dict[str, dict[str, str]]] = {kind: {} for kind in KINDS}
    folders: dict[str, Path] = {}
    for document in reading.documents:
        known = {str(kind): kind for kind in KINDS}
        for key, objects in _read_members(document, path, "the file"):
            if key == VOLUMES:
                for name, folder in _read_members(objects, path, key):
                    folders[name] = _read_folder(folder, path, f"{key}.{name}")
                continue
            if key not in known:
                allowed = ", ".join(f"`{name}`" for name in (*known, VOLUMES))
                raise _build_error(
                    objects, path, f"{key} is not a known key, must be one of: {allowed}"
                )
            for name, values in _read_members(objects, path, key):
                held[known[key]][name] = {
                    one: _read_value(value, path, f"{key}.{name}.{one}")
                    for one, value in _read_members(values, path, f"{key}.{name}")
                }
    return held, folders


def _read_folder(node: YamlNode, path: str, label: str) -> Path:
    folder = Path(node.text).expanduser()
    if not node.text or not folder.is_absolute() or not folder.is_dir():
        raise _build_error(
            node, path, f"{label} is {node.shown}, must be an absolute path of a folder that exists"
        )
    return folder


def _read_members(node: YamlNode, path: str, label: str) -> list[tuple[str, YamlNode]]:
    if node and not isinstance(node.value, dict):
        raise _build_error(node, path, f"{label} must be a mapping")
    return list(node.map.items())


def _read_value(node: YamlNode, path: str, label: str) -> str:
    if not isinstance(node.value, str):
        raise _build_error(node, path, f"{label} must be a text, in quotes")
    if "\0" in node.value:
        raise _build_error(node, path, f"{label} must not hold the character NUL")
    return node.value


def _build_error(node: YamlNode, path: str, message: str) -> LocalError:
    line, column = node.place
    return LocalError(f"{path}:{line}:{column}: {message}", hint=SHAPE)
