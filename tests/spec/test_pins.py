"""Pins are written into a spec as a careful person would: nothing else of the text changes."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.errors import SpecError
from driftloop.spec import load_spec, pins
from tests.spec.specs import MINIMAL, changed

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
PINS = {"ghcr.io/acme/digits-trainer:1.0.0": ONE, "ghcr.io/acme/digits-server:1.0.0": TWO}
BLOCK = f"""\
  pins:  # what each tag stood for; `driftloop render --pin` writes this block
    ghcr.io/acme/digits-trainer:1.0.0: {ONE}
    ghcr.io/acme/digits-server:1.0.0: {TWO}
"""


def written(text: str, found: dict[str, str] = PINS) -> str:
    return pins.written(text, found, path="p.yaml")


def test_a_new_block_stands_below_the_images() -> None:
    assert written(MINIMAL) == changed("  data:", f"{BLOCK}  data:")
    assert load_spec(written(MINIMAL), path="p.yaml").spec.pins == PINS


def test_comments_and_layout_stay_and_only_the_block_is_replaced() -> None:
    text = changed("server:1.0.0}\n", "server:1.0.0}  # ours\n  # about the data\n\n")
    first = written(text)
    assert first == text.replace("# ours\n", f"# ours\n{BLOCK}")
    own = first.replace(
        "pins:  # what each tag stood for; `driftloop render --pin` writes this block",
        "pins:  # mine",
    )
    again = written(own, {"ghcr.io/acme/digits-trainer:1.0.0": TWO})
    assert (
        f"  pins:  # mine\n    ghcr.io/acme/digits-trainer:1.0.0: {TWO}\n  # about the data\n\n  data:"
        in again
    )
    assert written(own) == own, "nothing to do"
    assert written(again, {}) == text


@pytest.mark.parametrize(
    "text",
    [
        MINIMAL.replace("\n", "\r\n"),
        MINIMAL.rstrip("\n"),
        "\ufeff" + MINIMAL,
        "---\n" + MINIMAL + "...\n",
        json.dumps(
            json.loads(
                load_spec(MINIMAL, path="p").model_dump_json(by_alias=True, exclude_defaults=True)
            ),
            indent=2,
        ),
        MINIMAL.replace("spec:\n", "spec: &all  # of it\n"),
        changed("  data: {uri", "  pins: {}\n  data: {uri"),
        changed("  data: {uri", "  pins:\n  data: {uri").replace(
            "  pins:\n", "  pins: {}  # none yet\n"
        ),
        changed(
            "server: {ref: ghcr.io/acme/digits-server:1.0.0}",
            "server:\n      ref: >-\n        ghcr.io/acme/s:1\n",
        ),
        MINIMAL.replace(
            "  images:\n    trainer: {ref: ghcr.io/acme/digits-trainer:1.0.0}\n", "", 1
        ).replace("    server: {ref: ghcr.io/acme/digits-server:1.0.0}\n", "", 1)
        + "  images: &all\n    trainer: &one {ref: ghcr.io/acme/t:1}\n    server: *one",
    ],
    ids=[
        "crlf",
        "no line break",
        "mark",
        "markers",
        "json",
        "anchor",
        "empty",
        "empty with comment",
        "folded",
        "at the end",
    ],
)
def test_every_layout_a_spec_may_have_takes_pins_and_gives_them_back(text: str) -> None:
    before = load_spec(text, path="p.yaml")
    new = written(text)
    after = load_spec(new, path="p.yaml")
    assert after.spec.pins == PINS
    assert after.model_copy(update={"spec": after.spec.model_copy(update={"pins": {}})}) == before
    assert ("\r\n" in new) == ("\r\n" in text)
    assert "\n" not in new.replace("\r\n", "") if "\r\n" in text else True
    assert written(new) == new


def test_a_layout_without_a_place_is_refused_with_what_to_write() -> None:
    text = changed("  data: {uri", "  pins: *pins\n  data: {uri").replace(
        "metadata:", "metadata: &m"
    )
    text = text.replace("    trainer: {ref", "    trainer: {ref").replace(
        "  images:\n",
        f"  pins_: &pins {json.dumps({'ghcr.io/acme/digits-server:1.0.0': ONE})}\n  images:\n",
    )
    with pytest.raises(SpecError) as caught:
        written(text)
    assert "no way to write `spec.pins` into this layout" in caught.value.message
    assert BLOCK.rstrip("\n") in str(caught.value)


_REFS = st.from_regex(
    r"[a-z0-9]{1,4}(:[0-9]{1,4})?(/[a-z0-9]{1,5}){0,2}:[A-Za-z0-9_]{1,4}", fullmatch=True
)
_DIGESTS = st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)
_MAPS = st.dictionaries(_REFS, _DIGESTS, max_size=4)


@settings(max_examples=60, deadline=None)
@given(_MAPS, _MAPS, st.sampled_from([2, 4, 8]), st.booleans())
def test_any_pins_over_any_pins_give_the_last_ones(
    first: dict[str, str], second: dict[str, str], indent: int, flow: bool
) -> None:
    text = "".join(
        " " * (indent // 2) * (len(line) - len(line.lstrip())) + line.lstrip()
        for line in MINIMAL.splitlines(True)
    )
    if flow:
        text = text.replace("images:\n", "images: {\n").replace(":1.0.0}\n", ":1.0.0},\n", 1)
        text = text.replace(
            "server:1.0.0}\n", "server:1.0.0}\n" + " " * (indent + 1) + "}  # both\n"
        )
    found = written(written(text, first), second)
    assert load_spec(found, path="p").spec.pins == second
    assert list(load_spec(found, path="p").spec.pins) == list(second) or first == second
    assert written(found, {}) == text
