"""Each rule finds its bad example at the right line, and nothing in its good one."""

from pathlib import Path

import pytest

import driftloop.check
from driftloop.check import RULES, CheckRule, check_files
from driftloop.check.schema import Schema
from tests.check.example import variant

EXAMPLES = Path(driftloop.check.__file__).parent / "examples"
WITHOUT = {"DL002", "DL003"}
"""Bytes and sizes, which a text can't show: test_hostile.py has them."""


class Services:
    """Schemas of one kind, as a cluster states them."""

    def find_schema(self, api_version: str, kind: str) -> tuple[Schema, dict[str, Schema]] | None:
        return (
            ({"$ref": "#/components/schemas/Service"}, SERVICE)
            if (api_version, kind) == ("v1", "Service")
            else None
        )


SERVICE: dict[str, Schema] = {
    "Service": {
        "type": "object",
        "properties": {
            **{name: {"type": "string"} for name in ("apiVersion", "kind")},
            "metadata": {"type": "object"},
            "spec": {"allOf": [{"$ref": "#/components/schemas/Spec"}], "default": {}},
        },
    },
    "Spec": {
        "type": "object",
        "properties": {
            "selector": {"type": "object", "additionalProperties": {"type": "string"}},
            "type": {
                "type": "string",
                "enum": ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"],
            },
            "ports": {"type": "array", "items": {"$ref": "#/components/schemas/Port"}},
        },
    },
    "Port": {
        "type": "object",
        "required": ["port"],
        "properties": {
            "name": {"type": "string"},
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
            "targetPort": {"x-kubernetes-int-or-string": True},
        },
    },
}


def catalogue(rule: CheckRule) -> Services | None:
    return Services() if rule.code.startswith("DL9") else None


def by_code(rule: CheckRule) -> str:
    return rule.code


def test_codes_are_unique_and_in_order() -> None:
    codes = [rule.code for rule in RULES]
    families = list(dict.fromkeys(code[:3] for code in codes))
    assert len(set(codes)) == len(codes)
    assert families == sorted(families)
    for family in families:
        own = [code for code in codes if code.startswith(family)]
        assert own == sorted(own)


def test_every_rule_has_an_example_and_no_example_is_left_over() -> None:
    assert {file.stem for file in EXAMPLES.glob("*.yaml")} == {
        rule.code for rule in RULES
    } - WITHOUT


@pytest.mark.parametrize("rule", RULES, ids=by_code)
def test_a_rule_is_explained(rule: CheckRule) -> None:
    assert len(rule.why) > 30
    assert rule.why.endswith(".")
    assert rule.title[0].isupper()
    assert not rule.title.endswith(".")
    assert rule.fix


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.code not in WITHOUT], ids=by_code)
def test_the_bad_example_is_found_where_it_stands(rule: CheckRule) -> None:
    bad = variant((EXAMPLES / f"{rule.code}.yaml").read_text(), "bad")
    assert bad.expected, "the example marks no line as `# here`"
    found = check_files(bad.files, catalogue=catalogue(rule))
    assert [(one.path, one.line) for one in found if one.code == rule.code] == list(bad.expected)
    assert {one.code for one in found} == {rule.code}, "an example shows one thing"


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.code not in WITHOUT], ids=by_code)
def test_nothing_is_found_in_the_good_example(rule: CheckRule) -> None:
    good = variant((EXAMPLES / f"{rule.code}.yaml").read_text(), "good")
    assert check_files(good.files, catalogue=catalogue(rule)) == ()
