"""What is coloured on a terminal is plain text in a pipe, and with NO_COLOR."""

import io
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from typing import TextIO

import pytest

from driftloop.cli import terminal
from driftloop.pages.terminal_text import STYLES, StyledText, format_line, has_colors, mark_words

LINES = (
    "release  digits: canary; production r1a2b3c4d; candidate r5e6f7a8b",
    "verdict  n/digits/drift: ALARM, window 7 of r1a2b3c4d, score 214, threshold 3.008",
    "verdict  n/digits/drift: quiet, window 8 of r1a2b3c4d",
    "run      n/digits-train: digits-1 refused: accuracy 0.5",
    "",
    "a column called \x1b[31m of [bold]somebody[/bold]",
)


@pytest.fixture
def tty() -> Iterator[tuple[TextIO, int]]:
    """A terminal's end to write to, and the one to read from."""
    reading, writing = pty.openpty()
    with os.fdopen(writing, "w") as stream:
        yield stream, reading
    os.close(reading)


def test_colours_need_a_terminal_that_wants_them(tty: tuple[TextIO, int]) -> None:
    assert has_colors(tty[0], {"TERM": "xterm"})
    assert not has_colors(tty[0], {"TERM": "dumb"})
    assert not has_colors(tty[0], {"TERM": "xterm", "NO_COLOR": "1"})
    assert has_colors(tty[0], {"TERM": "xterm", "NO_COLOR": ""}), "empty is not set"
    assert not has_colors(io.StringIO(), {"TERM": "xterm"})


def test_words_that_matter_are_marked_and_nothing_is_lost() -> None:
    for line in LINES:
        assert "".join(piece.text for piece in mark_words(line)) == line
    styles = {piece.text: piece.style for piece in mark_words(LINES[1])}
    assert styles["ALARM"] == "bad"
    assert {piece.text: piece.style for piece in mark_words(LINES[2])}["quiet"] == "good"
    assert format_line(mark_words(LINES[1]), colors=True).count("\x1b[") == 4
    for style in STYLES:
        text = format_line((StyledText("x", style),), colors=True)
        assert text.startswith("\x1b[")
        assert text.endswith("\x1b[0m")


def test_status_is_the_same_text_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_lines(LINES)
    assert capsys.readouterr().out == "\n".join(LINES).replace("\x1b[31m", "") + "\n"
    with terminal.follow_progress("waiting for digits-1") as report:
        report("claim is done")
    assert capsys.readouterr().err == "claim is done\n"


def test_progress_on_a_terminal_moves_and_leaves_the_lines(
    tty: tuple[TextIO, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, reading = tty
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with terminal.follow_progress("waiting for [digits-1]") as report:
        report("train, trial 1: rate 0.1 is done")
        report("gate refused: [bold]")
    stream.flush()
    text = ""
    while "[bold]" not in text:  # the kernel hands it on in pieces
        text += os.read(reading, 65536).decode()
    assert "waiting for [digits-1]" in text
    assert "\x1b[32mdone\x1b[0m" in text
    assert "[bold]" in text


def test_rich_is_loaded_on_a_terminal_only() -> None:
    script = (
        "import sys; from driftloop.cli import terminal, status, trigger; "
        "terminal.print_lines(['verdict  ALARM']); assert 'rich' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "verdict  ALARM\n"
