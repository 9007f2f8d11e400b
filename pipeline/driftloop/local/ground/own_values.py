"""Values that this machine has of a person's own Secrets and ConfigMaps: `local.yaml` of the state folder, which a
person writes and git ignores."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

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
SHAPE = 'it is `secrets: {NAME: {KEY: "value"}}`, and `configs` likewise'


@dataclass(frozen=True)
class OwnValues:
    """The file, read."""

    file: Path
    held: Mapping[Kind, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)

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
        return cls(state.own_values, _read_values(text, str(state.own_values)))

    def get_object(self, kind: Kind, name: str) -> Mapping[str, str] | None:
        """Return the keys of a Secret or ConfigMap; None when the file has none of that name."""
        return self.held.get(kind, {}).get(name)

    def has(self, kind: Kind, name: str, key: str | None) -> bool:
        """Return True when the file has a key; of no key, when it has the object."""
        found = self.get_object(kind, name)
        return found is not None and (key is None or key in found)

    def build_missing(self, where: str, kind: Kind, name: str, key: str | None) -> LocalError:
        """Return the error for a value that is not in the file."""
        what = KINDS[kind] if key is None else f"key `{key}` of the {KINDS[kind]}"
        return LocalError(
            f"{where}: no value of {what} `{name}` on this machine",
            hint=self.explain_lines([(kind, name, key)]),
        )

    def explain_lines(self, missing: list[tuple[Kind, str, str | None]]) -> str:
        """Return which lines the file needs."""
        lines: dict[str, dict[str, dict[str, str]]] = {}
        for kind, name, key in missing:
            lines.setdefault(kind, {}).setdefault(name, {})[key or "KEY"] = "…"
        body = dump_yaml(lines).rstrip().replace("\n", "\n  ")
        verb = "add to" if self.held else "write into"
        return f"{verb} {self.file}, which git ignores:\n  {body}"


NO_VALUES = OwnValues(Path("local.yaml"))


def _read_values(text: str, path: str) -> dict[Kind, dict[str, dict[str, str]]]:
    reading = read(text, rules=EXACT_RULES)
    if reading.problems:
        raise LocalError(describe_problem(reading.problems[0], path), hint=SHAPE)
    held: dict[Kind, dict[str, dict[str, str]]] = {kind: {} for kind in KINDS}
    for document in reading.documents:
        known = {str(kind): kind for kind in KINDS}
        for key, objects in _read_members(document, path, "the file"):
            if key not in known:
                allowed = ", ".join(f"`{name}`" for name in known)
                raise _build_error(
                    objects, path, f"{key} is not a known key, must be one of: {allowed}"
                )
            for name, values in _read_members(objects, path, key):
                held[known[key]][name] = {
                    one: _read_value(value, path, f"{key}.{name}.{one}")
                    for one, value in _read_members(values, path, f"{key}.{name}")
                }
    return held


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
