"""Pictures of the tables, as small SVG files that show on light and dark pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

INK, PALE, OURS, THEIRS = "#6b7280", "#d1d5db", "#0f766e", "#b45309"
ROW, LEFT, WIDTH, GAP = 18, 230, 150, 40


@dataclass(frozen=True)
class Span:
    """A share, and the interval that it is certain to."""

    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """A row of a picture: for each panel ours, and theirs where there is one."""

    name: str
    panels: Sequence[tuple[Span, Span | None] | None]


def _text(x: float, y: float, text: str, *, anchor: str = "start", color: str = INK) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{color}">{escape(text)}</text>'


def _stroke(x: tuple[float, float], y: tuple[float, float], color: str, width: float = 1) -> str:
    place = f'x1="{x[0]:g}" x2="{x[1]:g}" y1="{y[0]:g}" y2="{y[1]:g}"'
    return f'<line {place} stroke="{color}" stroke-width="{width:g}"/>'


def _draw_span(left: float, y: float, span: Span, most: float, color: str) -> str:
    low, share, high = (
        left + WIDTH * min(v, most) / most for v in (span.low, span.share, span.high)
    )
    dot = f'<circle cx="{share:.1f}" cy="{y:g}" r="3" fill="{color}"/>'
    return _stroke((round(low, 1), round(high, 1)), (y, y), color, 2) + dot


def draw_lines(
    lines: Sequence[Line],
    panels: Sequence[str],
    names: Sequence[str],
    *,
    most: float,
    mark: float | None = None,
) -> str:
    """Return a picture: a row for each line, a panel for each name, shares from 0 to `most`, a mark at one of
    them."""
    height = ROW * (len(lines) + 4)
    width = LEFT + len(panels) * (WIDTH + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="11">'
    ]
    for place, (name, color) in enumerate(zip(names, (OURS, THEIRS), strict=False)):
        x = LEFT + 150 * place
        parts.append(f'<circle cx="{x + 4}" cy="10" r="3" fill="{color}"/>')
        parts.append(_text(x + 12, 14, name))
    bottom = ROW * (len(lines) + 2.5)
    for number, panel in enumerate(panels):
        left = LEFT + number * (WIDTH + GAP)
        parts.append(_text(left + WIDTH / 2, 1.8 * ROW, panel, anchor="middle"))
        for share in (0.0, most / 2, most):
            x = left + WIDTH * share / most
            parts.append(_stroke((x, x), (2.1 * ROW, bottom), PALE))
            parts.append(_text(x, bottom + 13, f"{100 * share:g} %", anchor="middle"))
        if mark is not None:
            x = left + WIDTH * mark / most
            parts.append(_stroke((x, x), (2.1 * ROW, bottom), INK))
    for row, line in enumerate(lines):
        y = ROW * (row + 2.75)
        parts.append(_text(LEFT - 12, y + 4, line.name, anchor="end"))
        for number, spans in enumerate(line.panels):
            if spans is None:
                continue
            left = LEFT + number * (WIDTH + GAP)
            ours, theirs = spans
            if theirs is not None:
                parts.append(_draw_span(left, y + 4, theirs, most, THEIRS))
            parts.append(_draw_span(left, y - 2 if theirs else y, ours, most, OURS))
    return "\n".join([*parts, "</svg>"]) + "\n"
