"""Keys of callers in a spec's text: they are written where they belong, and nothing else changes."""

import pytest

from driftloop.errors import SpecError
from driftloop.spec.keys import write_keys
from driftloop.spec.source import parse

ONE = {"public": "p", "made": "2026-11-30T08:00:00Z", "by": 'Ada: "the first"'}
TWO = {**ONE, "by": "Bob"}
HEAD = "metadata: {name: a}\nspec:\n  images: {}\n"


@pytest.mark.parametrize(
    "text",
    [
        "  serve: {model: A}  # the model\n",
        "  access: {cors: {origins: [a]}}  # who\n  serve: {}\n",
        "  access:\n    # pages\n    cors: {origins: [a]}  # ours\n\n  # more\n  serve: {}\n",
        "  access:\n    apiKeys: {}\n    cors: {}\n",
        "  access:\n    apiKeys:\n      # partners\n      first: {public: p}  # since May\n    cors: {}\n",
        "  access: {apiKeys: {first: {public: p}}}",
        "  access:\n    apiKeys:\n      first:\n        public: p\n        by: Eve\n",
        "  access:\r\n    cors: {}\r\n  serve: {}\r\n",
    ],
)
def test_a_key_comes_and_goes_and_the_rest_stays(text: str) -> None:
    text = HEAD + text
    before = ((parse(text, path="p").value["spec"].get("access")) or {}).get("apiKeys")
    grown = write_keys(text, {**(before or {}), "acme": ONE, "bob": TWO}, path="p")
    assert parse(grown, path="p").value["spec"]["access"]["apiKeys"]["acme"] == ONE
    for line in text.splitlines():
        if "#" in line:
            assert line[line.index("#") :] in grown
    assert ("\r\n" in text) is ("\r\n" in grown)
    shrunk = write_keys(grown, {**(before or {}), "bob": TWO}, path="p")
    assert "acme" not in shrunk
    left = write_keys(shrunk, before or {}, path="p")
    assert parse(left, path="p").value["spec"]["access"]["apiKeys"] == (before or {})
    if before and "apiKeys:\n" in text:
        assert left.rstrip() == text.rstrip()
    nobody = write_keys(grown, {}, path="p")
    assert "apiKeys: {}" in nobody


def test_a_layout_without_a_place_is_told_what_to_write() -> None:
    text = "spec: &all\n  access: &it {cors: {}}\n  other: *it\n"
    with pytest.raises(SpecError) as error:
        write_keys(text, {"acme": ONE}, path="p.yaml")
    assert "p.yaml: no way to write `spec.access.apiKeys`" in str(error.value)
    assert "      acme: {public:" in str(error.value)
