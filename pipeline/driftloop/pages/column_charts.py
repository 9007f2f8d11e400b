"""Charts of columns: their effects over time as a heat map, and what a window has beside the reference."""

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from driftloop.pages.figures import ColumnDistribution, ColumnEffect, DistributionBin, TimeSpan
from driftloop.pages.svg import (
    build_element,
    build_figure,
    build_key,
    build_link,
    build_plot,
    build_title,
    describe_span,
    draw_time_axis,
    join_markup,
    percent,
)
from driftloop.text.words import count_noun

MOST_COLUMNS = 16
MOST_CELLS = 120
"""Cells of a column; where there are more windows, neighbours are drawn as one, the largest effect of them."""
STEPS = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Effects at which a colour begins; below the first nothing is drawn."""
_ROW = 16.0
_TALL = 96.0


def draw_effects(
    effects: Sequence[ColumnEffect],
    span: TimeSpan,
    *,
    most: int = MOST_COLUMNS,
    cells: int = MOST_CELLS,
) -> Markup:
    """Draw columns by their effect over time, those that moved furthest first: the darker, the further; alarms
    have a mark."""
    columns: dict[str, list[ColumnEffect]] = {}
    for effect in effects:
        if span.began <= effect.window.at <= span.ended:
            columns.setdefault(effect.column, []).append(effect)
    peaks = {name: max(each.effect for each in found) for name, found in columns.items()}
    ranked = sorted(columns, key=lambda name: (-peaks[name], name))
    rows = [_draw_row(name, columns[name], span, cells) for name in ranked[:most]]
    left_out = len(ranked) - len(rows)
    words = (
        f"{count_noun(len(ranked), 'column')} moved"
        if ranked
        else "no column moved for certain in this time"
    )
    if left_out:
        words += f", the {len(rows)} that moved furthest are shown"
    axis = build_element(
        "div",
        build_element("span"),
        build_plot("", 18, draw_time_axis(span, 13.0)),
        class_="heat-row",
    )
    return build_figure(
        join_markup([build_element("span", words, class_="words"), *_build_scale()]),
        *rows,
        axis if rows else "",
        kind="heat",
    )


def _draw_row(name: str, effects: Sequence[ColumnEffect], span: TimeSpan, most: int) -> Markup:
    peak = max(effects, key=lambda each: each.effect)
    plot = build_plot(
        f"{name}: effect at most {peak.effect:.2g}, {describe_span(span)}",
        _ROW,
        build_element("rect", width="100%", height=_ROW, class_="ground"),
        *_draw_cells(effects, span, most),
        has_links=any(each.window.href for each in effects),
    )
    label = build_element(
        "span",
        build_element("b", name, title=name),
        build_element("small", f"{peak.effect:.2f}"),
        class_="heat-name",
    )
    return build_element("div", label, plot, class_="heat-row")


def _draw_cells(effects: Sequence[ColumnEffect], span: TimeSpan, most: int) -> Iterator[Markup]:
    """Draw the effects of one column; those that fall into one of `most` places are one cell."""
    places: dict[int, list[ColumnEffect]] = {}
    for effect in effects:
        place = span.find_place(effect.window.at)
        places.setdefault(min(int(place * most / 100), most - 1), []).append(effect)
    for group in places.values():
        highest = max(group, key=lambda each: (each.alarm, each.effect))
        step = sum(highest.effect >= bound for bound in STEPS)
        if not step:
            continue
        window = highest.window
        left = span.find_place(window.began or window.at)
        width = max(span.find_place(window.at) - left, 100 / most)
        text = f"window {window.number}: {highest.text}" if highest.text else ""
        cell = build_element(
            "rect",
            build_title(text) if text and (highest.alarm or window.href) else "",
            x=percent(max(0.0, min(left, 100 - width))),
            width=percent(width),
            height=_ROW,
            class_=f"h{step} alarmed" if highest.alarm else f"h{step}",
        )
        yield build_link(cell, window.href, by_keyboard=False)


def _build_scale() -> Iterator[Markup]:
    for step, bound in enumerate(STEPS, 1):
        yield build_key(f"h{step}", f"{bound:g}")


def draw_distribution(
    distribution: ColumnDistribution, *, before: str = "reference", after: str = "window"
) -> Markup:
    """Draw a column in the reference data beside what a window has: a histogram of numbers, bars of
    categories, and the share of rows without a value."""
    words = [build_element("strong", distribution.column)]
    if distribution.text:
        words.append(build_element("span", distribution.text, class_="words"))
    words += [build_key("before", before), build_key("after", after)]
    shown = (
        _draw_categories(distribution)
        if not distribution.upper
        else _draw_histogram(distribution, before, after)
    )
    return build_figure(join_markup(words), shown, _draw_missing(distribution), kind="distribution")


def _draw_histogram(distribution: ColumnDistribution, before: str, after: str) -> Markup:
    bins = distribution.bins
    highest = max((max(each.before, each.after) for each in bins), default=0.0) or 1.0
    width = 100 / max(1, len(bins))
    bars = [build_element("rect", y=4.0, width="100%", height=_TALL, class_="ground")]
    for number, each in enumerate(bins):
        title = f"{each.label}: {_format_share(each.before)} of the {before}, {_format_share(each.after)} of the {after}"
        for side, share in enumerate((each.before, each.after)):
            tall = _TALL * share / highest
            bars.append(
                build_element(
                    "rect",
                    build_title(title) if side else "",
                    x=percent(width * (number + 0.06 + 0.44 * side)),
                    width=percent(width * 0.44),
                    y=4 + _TALL - tall,
                    height=tall,
                    class_="after" if side else "before",
                )
            )
    bars.append(
        build_element(
            "text", _format_share(highest), x="100%", dx="-4", y=17.0, text_anchor="end", class_="axis on"
        )
    )  # fmt: skip
    ends = [(0, "start", bins[0].label if bins else ""), (100, "end", distribution.upper)]
    if len(bins) > 2:
        middle = len(bins) // 2
        ends.insert(1, (round(width * middle), "middle", bins[middle].label))
    for place, anchor, label in ends:
        bars.append(
            build_element(
                "text", label, x=percent(place), y=_TALL + 18, text_anchor=anchor, class_="axis"
            )
        )
    return build_plot(f"Histogram of {distribution.column}", _TALL + 24, *bars)


def _draw_categories(distribution: ColumnDistribution) -> Markup:
    highest = max((max(each.before, each.after) for each in distribution.bins), default=0.0) or 1.0
    return build_element(
        "div", *(_draw_bars(each, highest) for each in distribution.bins), class_="bars"
    )


def _draw_missing(distribution: ColumnDistribution) -> Markup | str:
    before, after = distribution.missing
    if before <= 0 and after <= 0:
        return ""
    row = _draw_bars(DistributionBin("missing", before, after), 1.0, kind="missing")
    return build_element("div", row, class_="bars")


def _draw_bars(each: DistributionBin, highest: float, *, kind: str = "") -> Markup:
    plot = build_plot(
        f"{each.label}: {_format_share(each.before)}, then {_format_share(each.after)}",
        20,
        *(
            build_element(
                "rect",
                y=10.0 * side,
                width=percent(100 * share / highest),
                height=9.0,
                class_="after" if side else "before",
            )
            for side, share in enumerate((each.before, each.after))
        ),
    )
    return build_element(
        "div",
        build_element("span", each.label, class_="bar-name", title=each.label),
        plot,
        build_element("small", f"{_format_share(each.before)} → {_format_share(each.after)}"),
        class_=f"bar {kind}".rstrip(),
    )


def _format_share(share: float) -> str:
    value = 100 * share
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.2g} %"
