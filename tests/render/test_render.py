"""Same texts, same bytes; and what may be written over."""

import hashlib
import json
import os
import subprocess
import sys

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.contract.trees import generated_header, is_rendered
from driftloop.errors import RenderError
from driftloop.platform import default_platform
from driftloop.release import record
from driftloop.render import compare_trees, owned_files, render_tree
from driftloop.text.dump import dump_yaml
from tests.spec.specs import MINIMAL

PROGRAM = """
import hashlib, json, sys
if sys.argv[1] == "hera first":
    import hera.workflows
from driftloop.render import render_tree
print(hashlib.sha256(json.dumps(render_tree(sys.stdin.read(), None)).encode()).hexdigest())
"""


def test_neither_import_order_nor_hash_seed_changes_a_byte() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM, order],
            input=MINIMAL,
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for order, seed, zone in (("hera first", "1", "UTC"), ("hera last", "2", "Asia/Tokyo"))
    }
    assert found == {hashlib.sha256(json.dumps(render_tree(MINIMAL, None)).encode()).hexdigest()}


def test_spec_and_release_are_kept_byte_for_byte() -> None:
    spec = "# a comment\n" + MINIMAL.replace("{model: Digits}", "{model:   Digits}   # and spaces")
    release = "# by hand\n" + record.dump_release(record.empty_release("digits", "digits"))
    found = render_tree(spec, release)
    assert found["workflows/digits/pipeline.yaml"] == spec
    assert found["deployments/digits/release.yaml"] == release


def test_every_other_file_says_where_it_comes_from() -> None:
    for path, content in render_tree(MINIMAL, None, platform=default_platform("prod")).items():
        own = path.endswith(("/pipeline.yaml", "/release.yaml"))
        assert is_rendered(content) != own, path
        assert own or content.startswith(generated_header("workflows/digits/pipeline.yaml"))
    assert "cluster/prod/pipelines/digits.yaml" in render_tree(
        MINIMAL, None, platform=default_platform("prod")
    )


def test_a_release_of_another_pipeline_is_refused() -> None:
    with pytest.raises(
        RenderError, match=r"release.yaml is of `other/other`, the spec of `digits/digits`"
    ):
        render_tree(MINIMAL, record.dump_release(record.empty_release("other", "other")))


def test_what_a_render_owns() -> None:
    mine = {
        "workflows/p/a.yaml": generated_header("p") + "a: 1\n",
        "workflows/p/pipeline.yaml": "old",
    }
    theirs = {
        "workflows/p/by-hand.yaml": "b: 1\n",
        "workflows/q/a.yaml": generated_header("q"),
        "README.md": "x",
    }
    new = {
        "workflows/p/b.yaml": generated_header("p") + "b: 1\n",
        "workflows/p/pipeline.yaml": "new",
    }
    existing = {**mine, **theirs}
    assert owned_files(existing, new, pipeline="p") == mine
    changes = {
        change.path: change.kind
        for change in compare_trees(owned_files(existing, new, pipeline="p"), new)
    }
    assert changes == {
        "workflows/p/a.yaml": "removed",
        "workflows/p/b.yaml": "added",
        "workflows/p/pipeline.yaml": "changed",
    }


def test_a_hand_written_file_stops_the_render() -> None:
    with pytest.raises(
        RenderError, match=r"workflows/p/a.yaml was not written by `driftloop render`"
    ):
        owned_files(
            {"workflows/p/a.yaml": "a: 1\n"},
            {"workflows/p/a.yaml": generated_header("p")},
            pipeline="p",
        )


def test_a_change_is_a_unified_diff() -> None:
    (change,) = compare_trees({"a": "x\ny\n"}, {"a": "x\nz\n"})
    assert list(change.lines()) == ["--- a/a", "+++ b/a", "@@ -1,2 +1,2 @@", " x", "-y", "+z"]


@pytest.mark.parametrize(
    "value",
    [
        "y", "n", "Y", "N", "on", "off", "yes", "no", "true", "null", "~", "", "1", "1.5", "1e3", "1e10", "0x1f",
        "0o17", "1_000",
        "12:30:45", ".5", "+1", "-1", "2026-01-01", ".inf", "r12e45", "12e45", "*", "&a", "a: b", "a #b", " a",
        "@x", "%", "a\r\nb", "\x85", "\u2028",
    ],
)  # fmt: skip
def test_text_stays_text_in_every_yaml(value: str) -> None:
    written = dump_yaml({"k": value})
    assert yaml.safe_load(written) == {"k": value}
    bare = written.removeprefix("k: ").rstrip("\n") == value
    # What Go's YAML would take for a boolean or a number must be in quotes.
    looks_like_something = value.lower() in {
        "y",
        "n",
        "yes",
        "no",
        "on",
        "off",
        "true",
        "null",
        "~",
        "",
    }
    try:
        float(value.replace("_", ""))
        looks_like_something = True
    except ValueError:
        pass
    assert not (bare and looks_like_something), written


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
def test_whatever_is_written_reads_back_the_same(data: object) -> None:
    assert yaml.safe_load(dump_yaml(data)) == data
