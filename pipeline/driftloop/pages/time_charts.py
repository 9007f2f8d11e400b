"""Charts over time: the traffic split with its commits, and the windows of a monitor."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from markupsafe import Markup

from driftloop.pages.figures import (
    CommitTick,
    MonitorLine,
    QualityLine,
    ReleaseNames,
    TimeSpan,
    TrafficSplit,
    WindowPoint,
)
from driftloop.pages.levels import find_height
from driftloop.pages.svg import (
    build_element,
    build_figure,
    build_key,
    build_link,
    build_plot,
    build_title,
    describe_span,
    draw_polyline,
    draw_time_axis,
    join_markup,
    percent,
)
from driftloop.text.words import count_noun

MOST_BARS = 160
"""Windows that are drawn one by one; of more, neighbours are drawn as one."""
LEVELS = (1.0, 10.0)
_TOP, _TALL, _AXIS = 16.0, 140.0, 40.0
_DRIFT_TALL = 84.0


def draw_split(
    splits: Sequence[TrafficSplit],
    span: TimeSpan,
    *,
    commits: Sequence[CommitTick] = (),
    lines: Sequence[QualityLine] = (),
) -> Markup:
    """Draw the share of each release over time, with commits as ticks below and measures between 0 and 1 as
    lines above; `splits` are in order of time."""
    names = name_releases(splits)
    words = f"Share of the traffic by release, {describe_span(span)}"
    parts = [
        build_element("rect", x="0", y=_TOP, width="100%", height=_TALL, class_="ground"),
        *_draw_weights(splits, span, names),
        *_draw_shares(),
        *(_draw_quality(line, span, number) for number, line in enumerate(lines)),
        *(_draw_commit(commit, span) for commit in commits),
        draw_time_axis(span, _TOP + _TALL + 34),
    ]
    legend = [build_key(names.find_color(id), id) for id in names.ids]
    if any(split.shadow for split in splits):
        legend.append(build_key("shadow", "gets a copy"))
    legend += [build_key(f"quality q{number % 3}", line.name) for number, line in enumerate(lines)]
    if commits:
        legend.append(build_key("tick", count_noun(len(commits), "commit")))
    return build_figure(
        join_markup(legend),
        build_plot(
            words, _TOP + _TALL + _AXIS, *parts, has_links=any(each.href for each in commits)
        ),
        kind="split",
    )


def name_releases(splits: Sequence[TrafficSplit]) -> ReleaseNames:
    """Return the releases of splits in the order in which they came, each with its own colour."""
    ids = dict.fromkeys(
        id for split in splits for id in (*split.weights, *filter(None, [split.shadow]))
    )
    return ReleaseNames(tuple(ids))


def draw_drift(
    line: MonitorLine,
    span: TimeSpan,
    *,
    commits: Sequence[CommitTick] = (),
    most: int = MOST_BARS,
) -> Markup:
    """Draw the windows of a monitor: each as high as its score is in thresholds, on a logarithmic scale, with
    the threshold as a dashed line. Of more windows than `most`, neighbours are drawn as one."""
    inside = [window for window in line.windows if span.began <= window.at <= span.ended]
    alarms = sum(window.alarm for window in inside)
    words = f"{count_noun(len(inside), 'window')}, {count_noun(alarms, 'alarm')}"
    bottom = _TOP + _DRIFT_TALL
    parts = [
        build_element("rect", x="0", y=_TOP, width="100%", height=_DRIFT_TALL, class_="ground"),
        *(_draw_window(window, span, bottom) for window in merge_windows(inside, most)),
        *_draw_levels(bottom),
        *(
            build_element(
                "line", build_title(_describe_commit(commit)),
                x1=(x := percent(span.find_place(commit.at))), x2=x, y1=_TOP, y2=bottom, class_="commit",
            )
            for commit in commits
        ),
        draw_time_axis(span, bottom + 16),
    ]  # fmt: skip
    if not inside:
        parts.append(
            build_element(
                "text",
                "no window in this time",
                x="50%",
                y=bottom - _DRIFT_TALL / 2,
                text_anchor="middle",
                class_="axis",
            )
        )
    caption = join_markup(
        [
            build_element("strong", line.name),
            build_element("span", f"{line.detector}: {words}", class_="words"),
            build_key("quiet", "quiet"),
            build_key("alarm", "alarm"),
        ]
    )
    return build_figure(
        caption,
        build_plot(
            f"{line.name}: {words}, {describe_span(span)}",
            bottom + 22,
            *parts,
            has_links=any(each.href for each in inside),
        ),
    )


def merge_windows(windows: Sequence[WindowPoint], most: int) -> Iterator[WindowPoint]:
    """Yield at most so many windows in order of time: neighbours become one, with the highest level, and an
    alarm if one has."""
    size = max(1, -(-len(windows) // most))
    ends = [None, *(window.at for window in windows)]
    began = [window.began or before for window, before in zip(windows, ends, strict=False)]
    for start in range(0, len(windows), size):
        group = windows[start : start + size]
        highest = max(group, key=lambda window: (window.alarm, window.level))
        alarm = any(window.alarm for window in group)
        yield replace(highest, at=group[-1].at, began=began[start], alarm=alarm)


def _draw_weights(
    splits: Sequence[TrafficSplit], span: TimeSpan, names: ReleaseNames
) -> Iterator[Markup]:
    ends = [*(split.at for split in splits[1:]), span.ended]
    for split, end in zip(splits, ends, strict=False):
        left, right = span.find_place(split.at), span.find_place(end)
        if right <= left:
            continue
        upto = 0.0
        for id, weight in sorted(split.weights.items(), key=lambda item: names.ids.index(item[0])):
            upto += weight
            yield build_element(
                "rect",
                build_title(f"{id}: {weight} % from {split.at:%H:%M:%S} on"),
                x=percent(left),
                width=percent(right - left),
                y=_TOP + _TALL * (1 - upto / 100),
                height=_TALL * weight / 100,
                class_=names.find_color(id),
            )
        if split.shadow is not None:
            yield build_element(
                "rect",
                build_title(f"{split.shadow} gets a copy of the traffic"),
                x=percent(left),
                width=percent(right - left),
                y=_TOP - 8,
                height=6.0,
                class_=f"shadow {names.find_color(split.shadow)}",
            )


def _draw_shares() -> Iterator[Markup]:
    for share in (50, 100):
        y = _TOP + _TALL * (1 - share / 100)
        yield build_element("line", x1="0", x2="100%", y1=y, y2=y, class_="grid")
        yield build_element(
            "text", f"{share} %", x="100%", dx="-4", y=y + 13, text_anchor="end", class_="axis on"
        )


def _draw_quality(line: QualityLine, span: TimeSpan, number: int) -> Markup:
    points = [(span.find_place(at), min(max(share, 0.0), 1.0)) for at, share in line.points]
    kinds = ("halo", f"quality q{number % 3}")
    return join_markup(
        draw_polyline(points, top=_TOP, height=_TALL, kind=kind) for kind in kinds if points
    )


def _draw_commit(commit: CommitTick, span: TimeSpan) -> Markup:
    x, y = percent(span.find_place(commit.at)), _TOP + _TALL
    mark = build_element(
        "g",
        build_title(_describe_commit(commit)),
        build_element("line", x1=x, x2=x, y1=_TOP, y2=y + 8, class_="commit"),
        build_element("circle", cx=x, cy=y + 12, r=4.5, class_=f"tick {commit.kind}"),
    )
    return build_link(mark, commit.href)


def _describe_commit(commit: CommitTick) -> str:
    why = f" ({commit.why})" if commit.why else ""
    return f"{commit.at:%H:%M:%S} {commit.sha[:10]} {commit.subject}{why}"


def _draw_window(window: WindowPoint, span: TimeSpan, bottom: float) -> Markup:
    left, right = span.find_place(window.began or window.at), span.find_place(window.at)
    width = max(right - left - 0.06, 0.25)
    height = max(find_height(window.level) * _DRIFT_TALL, 1.5)
    title = build_title(f"window {window.number}: {window.text}") if window.text else ""
    bar = build_element(
        "rect",
        title,
        x=percent(min(left, 100 - width)),
        width=percent(width),
        y=bottom - height,
        height=height,
        class_="alarm" if window.alarm else "quiet",
    )
    return build_link(bar, window.href, by_keyboard=window.alarm)


def _draw_levels(bottom: float) -> Iterator[Markup]:
    for level in LEVELS:
        y = bottom - find_height(level) * _DRIFT_TALL
        first = level == LEVELS[0]
        kind, word = ("threshold", "threshold") if first else ("grid", f"{level:g} x")
        yield build_element("line", x1="0", x2="100%", y1=y, y2=y, class_=kind)
        yield build_element(
            "text", word, x="100%", dx="-4", y=y - 3, text_anchor="end", class_="axis on"
        )
