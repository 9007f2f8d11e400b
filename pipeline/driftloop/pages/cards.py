"""The card of a model: what it is for, what it was made of, how good it is; as Markdown and as one page."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from driftloop.pages.documents import digest_style, render_document

_SPECIAL = re.compile(r"([\\`*_\[\]#|~])")


@dataclass(frozen=True)
class CardTable:
    """Rows of texts below a head."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class CardSection:
    """One part of a card; never empty."""

    title: str
    facts: tuple[tuple[str, str], ...] = ()
    tables: tuple[CardTable, ...] = ()
    text: tuple[str, ...] = ()

    @property
    def anchor(self) -> str:
        """Name that links lead to."""
        return re.sub(r"[^a-z]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class ModelCard:
    """The card of one release."""

    pipeline: str
    release: str
    sections: tuple[CardSection, ...]
    written: str
    """When it was written."""


def draw_card(card: ModelCard) -> str:
    """Return a card as the text of an .html file that asks no server for anything; all values are escaped."""
    policy = f"default-src 'none'; style-src {digest_style()}"
    return render_document("card.html", card=card, policy=policy)


def write_card(card: ModelCard) -> str:
    """Return a card as Markdown; what could be markup in values is escaped."""
    return "\n".join(_list_lines(card)) + "\n"


def _list_lines(card: ModelCard) -> Iterator[str]:
    yield f"# Model card: release {_escape(card.release)} of {_escape(card.pipeline)}"
    for section in card.sections:
        yield ""
        yield f"## {_escape(section.title)}"
        yield ""
        for name, value in section.facts:
            yield f"- **{_escape(name)}**: {_escape(value)}"
        for sentence in section.text:
            if section.facts:
                yield ""
            yield _escape(sentence)
        for table in section.tables:
            yield ""
            yield _join_cells(table.head)
            yield _join_cells("---" for _ in table.head)
            yield from (_join_cells(map(_escape, row)) for row in table.rows)
    yield ""
    yield f"Written by driftloop, {_escape(card.written)}."


def _join_cells(cells: Iterator[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", line)
