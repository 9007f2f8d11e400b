"""A chart for terminals and pipes: how right the answers were, who gave them, and the commits below.

It is letters first, so that it can be read without colours: `A` is the first release, `B` the second, a small
letter stands where the next one gets a copy of the traffic, a digit where it answers as many tenths.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from driftloop.pages.figures import CommitTick, QualityLine, TimeSpan, TrafficSplit
from driftloop.pages.terminal_text import StyledText, TerminalLine
from driftloop.pages.time_charts import name_releases

MARGIN = 7
"""Characters left of the chart."""
ROWS = 6
"""Lines of the curve, each of two halves."""
RIGHT, WRONG = 0.9, 0.6
LETTERS = "ABCDEF"


def draw_story(
    line: QualityLine,
    splits: Sequence[TrafficSplit],
    commits: Sequence[CommitTick],
    span: TimeSpan,
    *,
    width: int,
    origin: datetime,
) -> tuple[TerminalLine, ...]:
    """Draw a measure between 0 and 1 over the traffic split, `width` characters wide; times count from
    `origin`."""
    columns = max(20, width - MARGIN - 1)
    chart = _Chart(span, columns)
    ids = name_releases(splits).ids
    return (
        (StyledText(line.name, "bold"),),
        *chart.draw_curve(line),
        chart.draw_split(splits, ids),
        chart.draw_commits(commits),
        chart.draw_times(origin),
        *_draw_legend(splits, ids, commits, origin),
    )


@dataclass(frozen=True)
class _Chart:
    span: TimeSpan
    columns: int

    def find_column(self, moment: datetime) -> int:
        return min(int(self.span.find_place(moment) * self.columns / 100), self.columns - 1)

    def find_moment(self, column: int) -> datetime:
        """Return the middle of a column."""
        return self.span.began + timedelta(
            seconds=self.span.seconds * (column + 0.5) / self.columns
        )

    def draw_curve(self, line: QualityLine) -> Iterator[TerminalLine]:
        sums: dict[int, list[float]] = {}
        for at, share in line.points:
            sums.setdefault(self.find_column(at), []).append(share)
        shares = {column: sum(found) / len(found) for column, found in sums.items()}
        levels = {
            column: min(max(round(share * (2 * ROWS - 1)), 0), 2 * ROWS - 1)
            for column, share in shares.items()
        }
        for row in range(ROWS - 1, -1, -1):
            label = {ROWS - 1: "100 %", ROWS // 2 - 1: " 50 %", 0: "  0 %"}.get(row, "")
            pieces = [StyledText(f"{label:>5} │", "dim")]
            for column in range(self.columns):
                level = levels.get(column)
                if level is None or level // 2 != row:
                    pieces.append(StyledText(" "))
                    continue
                pieces.append(StyledText("▀" if level % 2 else "▄", _judge_share(shares[column])))
            yield tuple(pieces)

    def draw_split(self, splits: Sequence[TrafficSplit], ids: Sequence[str]) -> TerminalLine:
        pieces = [StyledText(f"{'answer':>6}│", "dim")]
        for column in range(self.columns):
            moment = self.find_moment(column)
            now = next((split for split in reversed(splits) if split.at <= moment), None)
            pieces.append(_draw_share(now, ids))
        return tuple(pieces)

    def draw_commits(self, commits: Sequence[CommitTick]) -> TerminalLine:
        marks = {self.find_column(commit.at): commit for commit in commits}
        pieces = [StyledText(f"{'commit':>6}└", "dim")]
        for column in range(self.columns):
            commit = marks.get(column)
            kinds = {"first": "good", "promote": "good", "reject": "bad", "rollback": "bad"}
            pieces.append(
                StyledText("─", "dim")
                if commit is None
                else StyledText("▲", kinds.get(commit.kind, "busy"))
            )
        return tuple(pieces)

    def draw_times(self, origin: datetime) -> TerminalLine:
        text = [" "] * (self.columns + MARGIN + 6)
        for part in range(5):
            column = round((self.columns - 1) * part / 4)
            word = format_clock(self.find_moment(column), origin)
            start = MARGIN + min(max(0, column - len(word) // 2), self.columns - len(word))
            text[start : start + len(word)] = word
        return (StyledText("".join(text).rstrip(), "dim"),)


def _draw_share(split: TrafficSplit | None, ids: Sequence[str]) -> StyledText:
    if split is None or not split.weights:
        return StyledText(" ")
    ranked = sorted(split.weights, key=ids.index)
    oldest = ids.index(ranked[0])
    letter = LETTERS[oldest % len(LETTERS)]
    if len(ranked) > 1:
        newest = ids.index(ranked[-1])
        tenths = min(9, max(1, round(split.weights[ranked[-1]] / 10)))
        return StyledText(str(tenths), LETTERS[newest % len(LETTERS)])
    return StyledText(letter.lower() if split.shadow else letter, letter)


def _draw_legend(
    splits: Sequence[TrafficSplit],
    ids: Sequence[str],
    commits: Sequence[CommitTick],
    origin: datetime,
) -> Iterator[TerminalLine]:
    named = [f"{LETTERS[n % len(LETTERS)]} {id}" for n, id in enumerate(ids[: len(LETTERS)])]
    if any(split.shadow for split in splits):
        named.append("small: the next one gets a copy")
    if any(len(split.weights) > 1 for split in splits):
        named.append("digit: it answers so many tenths")
    yield (StyledText(" " * MARGIN + "; ".join(named), "dim"),)
    for commit in commits:
        clock = format_clock(commit.at, origin)
        yield (
            StyledText(f"{' ' * MARGIN}▲ {clock}  ", "dim"),
            StyledText(commit.subject),
            StyledText(f"  {commit.sha[:10]}", "dim"),
        )


def format_clock(moment: datetime, origin: datetime) -> str:
    """Return minutes and seconds since the origin."""
    minutes, seconds = divmod(max(0, int((moment - origin).total_seconds())), 60)
    return f"{minutes:02}:{seconds:02}"


def _judge_share(share: float) -> str:
    return "good" if share >= RIGHT else "bad" if share < WRONG else "busy"
