"""The chart of a terminal: the curve, who answered, and the commits, in letters."""

import re
from datetime import timedelta

from driftloop.pages.figures import QualityLine, TimeSpan
from driftloop.pages.terminal_charts import draw_story, format_clock
from driftloop.pages.terminal_text import format_line
from tests.pages.samples import FIRST, HOSTILE, SECOND, SPAN, at, commits, splits

LINE = QualityLine(
    "share of right answers",
    tuple((at(minute), 0.95 if minute < 24 or minute > 47 else 0.11) for minute in range(5, 60)),
)


def draw(width: int = 67) -> list[str]:
    chart = draw_story(LINE, splits(), commits(), SPAN, width=width, origin=at(0))
    return [format_line(line) for line in chart]


def test_the_curve_falls_and_rises_where_the_answers_did() -> None:
    lines = draw()
    assert lines[0] == "share of right answers"
    top, bottom = lines[1], lines[6]
    assert top.startswith("100 % │")
    assert lines[6].startswith("  0 % │")
    assert next(place - 7 for place, mark in enumerate(top) if mark in "▀▄") == 4
    assert bottom[7 + 30] in "▀▄"
    assert top[7 + 50] in "▀▄"
    styles = {
        piece.style
        for line in draw_story(LINE, splits(), commits(), SPAN, width=67, origin=at(0))[1:7]
        for piece in line
        if piece.text in "▀▄"
    }
    assert styles == {"good", "bad"}


def test_who_answered_is_a_letter_a_digit_or_a_small_letter() -> None:
    (answers,) = (line for line in draw() if line.startswith("answer│"))
    shares = answers.removeprefix("answer│")
    assert shares.strip() == shares.lstrip()
    assert set(shares) == {" ", "A", "a", "1", "5", "B"}
    assert re.fullmatch(r" +A+a+1+5+B+", shares)
    assert shares.index("a") == 29
    text = "\n".join(draw())
    assert f"A {FIRST}; B {SECOND}; small: the next one gets a copy" in text
    assert f"▲ 48:00  Promote {SECOND} of digits  eeeeeeeeee" in text


def test_no_line_is_wider_than_asked_for() -> None:
    for width in (40, 67, 100):
        for line in draw(width)[:10]:
            assert len(line) <= width, line


def test_a_moment_of_a_story_and_hostile_names_are_drawn() -> None:
    instant = TimeSpan(at(0), at(0))
    chart = draw_story(
        QualityLine(HOSTILE, ((at(0), 0.5),)), (), commits(HOSTILE), instant, width=10, origin=at(0)
    )
    assert all(
        "\x1b" not in format_line(line) and "\x00" not in format_line(line) for line in chart
    )
    assert format_clock(at(61), at(0) - timedelta(seconds=5)) == "61:05"
