"""Text for terminals: pieces with a style, which are coloured where colours are seen, and plain elsewhere."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from driftloop.contract.documents import escape_text

STYLES = {
    "good": "green",
    "bad": "bold red",
    "busy": "yellow",
    "dim": "dim",
    "bold": "bold",
    "A": "white on blue",
    "B": "black on yellow",
    "C": "white on green",
    "D": "white on magenta",
    "E": "white on red",
    "F": "black on white",
}

_WORDS = {
    "good": r"\b(quiet|released|ready|held|done|stable|applied|passed)\b",
    "bad": r"\b(ALARM|NOT JUDGED|failed|refused|rejected|FAILED|lost|error|stalled|blind|altered|crashed)\b",
    "busy": r"\b(UNKNOWN|shadow|canary|waiting|waits|halted|held back|running|rolling out|pending|candidate)\b",
}
_MARKED = re.compile("|".join(f"(?P<{style}>{words})" for style, words in _WORDS.items()))
_LABEL = re.compile(r"^[a-z]+ +")


class Stream(Protocol):
    """Stream that text is written to."""

    def isatty(self) -> bool:
        """Return True for a terminal."""
        ...


@dataclass(frozen=True)
class StyledText:
    """A piece of a line, and how it is coloured where there are colours: a key of `STYLES`, or nothing."""

    text: str
    style: str = ""


TerminalLine = tuple[StyledText, ...]


def has_colors(stream: Stream, environment: Mapping[str, str]) -> bool:
    """Return True where colours are seen and wanted: on a terminal that has some, without NO_COLOR."""
    return stream.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def format_line(line: TerminalLine, *, colors: bool = False) -> str:
    """Return a line as text, with or without colours; what is not printable is written out."""
    if not colors:
        return escape_text("".join(piece.text for piece in line).rstrip())
    return "".join(_paint(piece) for piece in line)


def mark_words(text: str) -> TerminalLine:
    """Return a line of `driftloop status` and its like with the words that matter marked."""
    return tuple(_mark(text))


def _mark(text: str) -> Iterator[StyledText]:
    label = _LABEL.match(text)
    done = label.end() if label is not None else 0
    if label is not None:
        yield StyledText(label[0], "bold")
    for match in _MARKED.finditer(text, done):
        if match.start() > done:
            yield StyledText(text[done : match.start()])
        yield StyledText(match[0], match.lastgroup or "")
        done = match.end()
    if done < len(text):
        yield StyledText(text[done:])


def _paint(piece: StyledText) -> str:
    if not piece.style or not piece.text:
        return escape_text(piece.text)
    before, after = _find_codes(piece.style)
    return f"{before}{escape_text(piece.text)}{after}"


@cache
def _find_codes(style: str) -> tuple[str, str]:
    """Return what a terminal is sent before and after a text of a style."""
    # rich is loaded where something is coloured only: it takes as long as a whole command
    from rich.color import ColorSystem
    from rich.style import Style

    before, _, after = (
        Style.parse(STYLES[style]).render("x", color_system=ColorSystem.STANDARD).partition("x")
    )
    return before, after
