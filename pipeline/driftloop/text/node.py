"""A YAML value that knows where it stands."""

from collections.abc import Iterator
from dataclasses import dataclass

Scalar = str | int | float | bool | None
Step = str | int


@dataclass(slots=True, eq=False)
class YamlNode:
    """A value and its place; lines and columns count from 1. `get` never fails: what is missing
    is a node that is false and stands where its parent does."""

    value: "dict[str, YamlNode] | list[YamlNode] | Scalar"
    line: int
    column: int
    key_line: int = 0
    """Line of the key, 0 for an item of a list and for a document."""
    key_column: int = 0
    plain: bool = True
    """Written without quotes, so that its type was guessed from its text."""
    literal: bool = False
    """Written as a `|` block, whose lines are the file's lines."""
    source: str = ""
    """A scalar as it is written."""
    size: int = 1
    """Number of values once aliases are expanded, the node itself included."""
    depth: int = 1
    missing: bool = False

    def __bool__(self) -> bool:
        return not self.missing and self.value is not None

    @property
    def place(self) -> tuple[int, int]:
        """Line and column to report: a scalar's own, a list's or mapping's key when it has one."""
        if isinstance(self.value, dict | list) or self.missing:
            return (self.key_line, self.key_column) if self.key_line else (self.line, self.column)
        return self.line, self.column

    @property
    def map(self) -> "dict[str, YamlNode]":
        """The members of a mapping, nothing of anything else."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def list(self) -> "list[YamlNode]":
        """The items of a list, nothing of anything else."""
        return self.value if isinstance(self.value, list) else []

    @property
    def text(self) -> str:
        """A text; empty when it is none."""
        return self.value if isinstance(self.value, str) else ""

    @property
    def shown(self) -> str:
        """A scalar as the user wrote it, in quotes of ours."""
        return f"`{self.source if len(self.source) <= 80 else self.source[:77] + '…'}`"

    def get(self, *steps: Step) -> "YamlNode":
        """The value the steps lead to."""
        here = self
        for step in steps:
            value = here.value
            member: YamlNode | None = None
            if isinstance(step, str):
                member = value.get(step) if isinstance(value, dict) else None
            elif isinstance(value, list) and 0 <= step < len(value):
                member = value[step]
            if member is None:
                return YamlNode(
                    None, here.line, here.column, here.key_line, here.key_column, missing=True
                )
            here = member
        return here

    def texts(self) -> "Iterator[YamlNode]":
        """Every text in it, at any depth."""
        if isinstance(self.value, str):
            yield self
        elif isinstance(self.value, dict):
            for member in self.value.values():
                yield from member.texts()
        elif isinstance(self.value, list):
            for item in self.value:
                yield from item.texts()

    def mappings(self) -> "Iterator[tuple[str, YamlNode]]":
        """Every mapping in it with the key it stands under (empty for items and for itself),
        parents first."""
        return self._mappings("")

    def _mappings(self, key: str) -> "Iterator[tuple[str, YamlNode]]":
        if isinstance(self.value, dict):
            yield key, self
            for name, member in self.value.items():
                if isinstance(member.value, dict | list):
                    yield from member._mappings(name)
        elif isinstance(self.value, list):
            for item in self.value:
                if isinstance(item.value, dict | list):
                    yield from item._mappings("")

    def plain_data(self) -> object:
        """As plain Python data."""
        if isinstance(self.value, dict):
            return {key: member.plain_data() for key, member in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain_data() for item in self.value]
        return self.value
