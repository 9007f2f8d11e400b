"""The one dumper: what it writes reads back, and does not depend on which emitter wrote it."""

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from driftloop.text.dump import _BlockDumper, _dumped, dump_yaml

AWKWARD = st.sampled_from(["y", "1e3", "0x1", " ", ""])
WORDS = st.lists(
    st.sampled_from(
        [
            "a",
            "Null",
            "NO",
            "1",
            "-",
            ":",
            "#",
            " ",
            "=",
            "@",
            "/",
            ".",
            "~",
            "\n",
            "  x",
            "\n\n",
            "'",
            '"',
            "{{a}}",
            "é",
            "x" * 300,
        ]
    ),
    max_size=5,
).map("".join)
LEAVES = (
    st.text(max_size=20)
    | st.integers()
    | st.floats(allow_nan=False)
    | st.booleans()
    | st.none()
    | AWKWARD
    | WORDS
)
KEYS = st.from_regex(r"[a-zA-Z][-a-zA-Z0-9_./]{0,20}", fullmatch=True) | WORDS.filter(
    str.isprintable
).filter(bool)
DATA = st.dictionaries(
    KEYS,
    st.recursive(
        LEAVES,
        lambda of: st.lists(of, max_size=4) | st.dictionaries(KEYS, of, max_size=4),
        max_leaves=12,
    ),
    max_size=4,
)


@given(DATA)
@example({"B": "\n", "A": ""})
@example({"A": "\n"})
@example({"A": ["\n\n", {"B": "x\n\n", "C": 1}], "D": "...\n"})
@settings(max_examples=300, deadline=None)
def test_the_fast_emitter_writes_the_same_bytes(data):
    assert dump_yaml(data) == _dumped(data, _BlockDumper)


@given(DATA)
@settings(max_examples=100, deadline=None)
def test_what_is_written_reads_back(data):
    assert yaml.safe_load(dump_yaml(data)) == data


def test_characters_beyond_the_basic_plane_stay_as_they_are():
    assert dump_yaml({"a": "\U0001f600"}) == "a: \U0001f600\n"
