"""Names that cross from one part to another."""

import re

from hypothesis import given
from hypothesis import strategies as st

from driftloop.contract.names import ALARM_CAUSE, CAUSE, alarm_text


@given(st.text(max_size=600))
def test_whatever_moved_an_alarm_is_a_cause(words: str) -> None:
    text = f"{ALARM_CAUSE}{alarm_text('0b7e', words)}"
    assert re.fullmatch(CAUSE, text)
    assert text.startswith("alarm 0b7e")
    assert text.isprintable()
