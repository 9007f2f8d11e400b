"""YAML as Kubernetes' own readers take it, with the place of every value."""

import pytest

from driftloop.text.node import YamlNode
from driftloop.text.read import read


def one(text: str) -> YamlNode:
    (document,) = read(text).documents
    return document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("-0x1f", -31), ("0o17", 15), ("017", 15), ("08", 8), ("1_000", 1000), ("1.5", 1.5), ("1e3", 1000.0),
        ("1234e56", 1234e56), ("12:30", "12:30"), ("2026-01-01", "2026-01-01"), ("yes", True), ("off", False),
        ("y", "y"), ("~", None), ("", None), ("'1'", "1"), ('"yes"', "yes"), ("!!str 1", "1"), ("!!int '1'", 1),
        ("1.2.3", "1.2.3"), ("v1", "v1"), (".5", 0.5), ("+", "+"), ("-", [None]), ("0b101", 5),
    ],
)  # fmt: skip
def test_scalars_are_those_of_go(text: str, value: object) -> None:
    assert one(f"a: {text}\n" if text != "-" else "a:\n-\n").get("a").plain_data() == value


def test_places_and_missing_values() -> None:
    node = one("spec:\n  ports:\n  - port: 80\n    name: http\n")
    port = node.get("spec", "ports", 0, "port")
    assert (port.value, port.line, port.column, port.key_line, port.key_column) == (80, 3, 11, 3, 5)
    assert node.get("spec", "ports").place == (2, 3)
    missing = node.get("spec", "selector", "app", 3)
    assert not missing
    assert missing.place == (1, 1)
    assert (missing.text, missing.map, missing.list) == ("", {}, [])


def test_anchors_aliases_and_merge_keys() -> None:
    node = one("base: &b {a: 1, c: 2}\nx: {<<: *b, c: 3}\ny: {<<: [*b, {d: 4}]}\nz: *b\n")
    assert node.get("x").plain_data() == {"c": 3, "a": 1}
    assert node.get("y").plain_data() == {"a": 1, "c": 2, "d": 4}
    assert node.get("z").place == (4, 1)
    assert node.get("z", "a").line == 1


def test_a_block_keeps_its_lines_and_yaml_inside_yaml_its_own() -> None:
    node = one("a: |\n  kind: X\n  name: y\n").get("a")
    (inside,) = read(node.text, line=node.line).documents
    assert (inside.get("name").line, inside.get("name").text) == (3, "y")
