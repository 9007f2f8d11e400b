"""Plain data from YAML text: an error names file, line and column, whatever the text is."""

import pytest

from driftloop.errors import PipelineError, StepError
from driftloop.text.load import load_documents, load_mapping

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [", "a.yaml:2:1: not YAML"),
        ("a: 1\na: 2", "a.yaml:2:1: `a` appears twice, first in line 1"),
        ("a: !!binary aGk=", "a.yaml:1:4: the tag `tag:yaml.org,2002:binary` is not allowed"),
        ("a: !!python/name:os.system x", "is not allowed, must be one of: !!str, !!int"),
        ("a: !x {b: 1}", "a.yaml:1:4: the tag `!x` is not allowed"),
        ("a: !!int x", "a.yaml:1:4: the tag `tag:yaml.org,2002:int` does not fit `x`"),
        ("a: " + "9" * 5000, "is not a number that can be read"),
        ("é: é\x07", "a.yaml:1:5: not YAML: the character '\\x07' is not allowed"),
        ("a: \ud800", "a.yaml:1:4: half a surrogate pair"),
        (b"a: 1\nb: \xff\n", "a.yaml:2:4: byte 0xff is not UTF-8"),
        ("[" * 200_000, "a.yaml:1:201: nested more than 200 levels deep"),
        ("[\n" * 200_000, "a.yaml:201:1: nested more than 200 levels deep"),
        (BOMB, "more than 500000 values, aliases expanded"),
        ("#" * (8 * 1024 * 1024 + 1), "a.yaml:1:1: the file has 8388609 bytes"),
        ("a: &x [*x]", "a.yaml:1:8: the alias `*x` refers to itself"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused_with_its_place(
    text: str | bytes, expected: str
) -> None:
    for load in (load_documents, load_mapping):
        with pytest.raises(StepError) as caught:
            load(text, "a.yaml", error=StepError, hint="write it again")
        assert expected in caught.value.message
        assert caught.value.hint == "write it again"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# nothing", "a.yaml:1:1: the text is empty, must be a mapping"),
        ("\n- 1", "a.yaml:2:1: the document is a list, must be a mapping"),
        ("word", "a.yaml:1:1: the document is `word`, must be a mapping"),
        ("a: 1\n---\nb: 2", "a.yaml:3:1: a second document begins, must be the only one"),
    ],
)
def test_what_is_no_single_mapping_is_refused(text: str, expected: str) -> None:
    with pytest.raises(PipelineError) as caught:
        load_mapping(text, "a.yaml")
    assert caught.value.message == expected


def test_documents_are_plain_data_as_kubernetes_reads_them() -> None:
    text = "---\na: &x {on: 2026-01-01, t: 12:30}\nb: *x\n---\n# none\n---\n- 1e3\n"
    assert load_documents(text, "a.yaml") == [
        {"a": {"on": "2026-01-01", "t": "12:30"}, "b": {"on": "2026-01-01", "t": "12:30"}},
        [1000.0],
    ]
