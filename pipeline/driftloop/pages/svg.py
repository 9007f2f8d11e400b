"""Elements of HTML and SVG with everything escaped, and the axes that charts share.

Charts have no viewBox: places from left to right are percentages, so that they are as wide as their page and
their letters as large as its own. What needs a path is in an element of its own that is stretched.
"""

import html
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from markupsafe import Markup

from driftloop.contract.documents import escape_text
from driftloop.pages.figures import TimeSpan

STRETCH = 1000
"""Width of a stretched element's own coordinates."""
_EMPTY = ("rect", "line", "circle", "polyline", "polygon", "path")
"""Elements that have no end of their own without children."""
LONGEST = 240
"""Characters of a text that is shown when pointed at."""


def build_element(name: str, *children: str | Markup, **attributes: str | float | None) -> Markup:
    """Return an element. Underscores of attributes are hyphens, those at their end are dropped; None is
    left out. Children that are no Markup are escaped."""
    parts = [f"<{name}"]
    for key, value in attributes.items():
        if value is None:
            continue
        text = format_number(value) if isinstance(value, float) else clean_text(value)
        parts.append(f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(text))}"')
    inside = [
        child if isinstance(child, Markup) else html.escape(clean_text(child)) for child in children
    ]
    if not any(inside) and name in _EMPTY:
        return Markup("".join((*parts, "/>")))  # noqa: S704 - all of it is escaped
    return Markup("".join((*parts, ">", *inside, f"</{name}>")))  # noqa: S704 - all of it is escaped


def format_number(value: float) -> str:
    """Return a place, or a length, in hundredths."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def clean_text(text: str | float) -> str:
    """Return a text without characters that pages can't have; Markup as it is."""
    if isinstance(text, Markup):
        return text
    text = str(text)
    if text.isprintable():
        return text
    return "\n".join(escape_text(line) for line in text.split("\n"))


def join_markup(parts: Iterable[str]) -> Markup:
    """Return parts one after the other; those that are no Markup are escaped."""
    return Markup("").join(parts)


def shorten_text(text: str, most: int = LONGEST) -> str:
    """Return a text of at most so many characters, cut with dots."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def build_title(text: str) -> Markup:
    """Return what an element shows when pointed at."""
    return build_element("title", shorten_text(text))


def percent(place: float) -> str:
    """Return a place or a width as an attribute."""
    return f"{format_number(place)}%"


def build_plot(
    label: str, height: float, *children: str | Markup, kind: str = "", has_links: bool = False
) -> Markup:
    """Return a picture as wide as its page; `label` says what it shows to those who do not see it. One that
    has links is a group of these, since nothing inside a picture can be reached."""
    return build_element(
        "svg", *children, class_=f"plot {kind}".rstrip(), width="100%", height=height,
        role=("group" if has_links else "img") if label else None,
        aria_label=label or None, aria_hidden=None if label else "true",
    )  # fmt: skip


def build_link(mark: Markup, href: str, *, by_keyboard: bool = True) -> Markup:
    """Return a part of a picture that leads somewhere; the mark itself where there is no place to go. One that
    is not reached `by_keyboard` is one of very many, and the same place is in a table."""
    if not href:
        return mark
    return build_element("a", mark, href=href, tabindex=None if by_keyboard else "-1")


def build_figure(caption: str | Markup, *children: str | Markup, kind: str = "") -> Markup:
    """Return a chart with its caption."""
    return build_element(
        "figure", build_element("figcaption", caption), *children, class_=f"chart {kind}".rstrip()
    )


def build_key(kind: str, word: str) -> Markup:
    """Return an entry of a legend: the colour of a class, and what it means."""
    swatch = build_element(
        "svg",
        build_element("rect", width="12", height="12", rx="2", class_=kind),
        width="12",
        height="12",
        aria_hidden="true",
    )
    return build_element("span", swatch, word, class_="key")


def draw_polyline(
    points: Iterable[tuple[float, float]], *, top: float, height: float, kind: str
) -> Markup:
    """Return a line through points; x is in percent, y a part of the height from 0 (bottom) to 1."""
    places = " ".join(f"{x * STRETCH / 100:.1f},{100 * (1 - y):.2f}" for x, y in points)
    line = build_element("polyline", points=places, class_=kind, vector_effect="non-scaling-stroke")
    return build_element(
        "svg", line, x="0", y=top, width="100%", height=height,
        viewBox=f"0 0 {STRETCH} 100", preserveAspectRatio="none",
    )  # fmt: skip


def draw_time_axis(span: TimeSpan, y: float) -> Markup:
    """Return the times below a chart, in UTC."""
    return join_markup(_build_times(span, y))


def _build_times(span: TimeSpan, y: float) -> Iterator[Markup]:
    for part in range(5):
        moment = span.began + timedelta(seconds=span.seconds * part / 4)
        anchor = {0: "start", 4: "end"}.get(part, "middle")
        text = format_moment(moment, span)
        kind = "axis" if part % 2 == 0 else "axis between"
        yield build_element(
            "text", text, x=percent(25 * part), y=y, text_anchor=anchor, class_=kind
        )


def format_moment(moment: datetime, span: TimeSpan) -> str:
    """Return a time as short as the span allows: with its day, its minute or its second."""
    moment = moment.astimezone(UTC)
    if span.seconds >= 2 * 86_400:
        return moment.strftime("%d %b")
    return moment.strftime("%H:%M" if span.seconds >= 1800 else "%H:%M:%S")


def describe_span(span: TimeSpan) -> str:
    """Return a span in words, in UTC."""
    began, ended = span.began.astimezone(UTC), span.ended.astimezone(UTC)
    last = ended.strftime("%H:%M" if began.date() == ended.date() else "%Y-%m-%d %H:%M")
    return f"{began.strftime('%Y-%m-%d %H:%M')} to {last} UTC"
