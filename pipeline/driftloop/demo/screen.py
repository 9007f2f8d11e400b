"""Output of the demo: a timeline as things happen, claims that held or not, and the summary."""

import asyncio
import math
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from driftloop.local.ground.timeline import TimelineEntry
from driftloop.pages.terminal_text import TerminalLine, format_line, has_colors

POLL = 0.2
WIDEST = 100
SHOWN_ALARMS = 3
"""Of one detector on one release: alarms go on as long as the traffic has drifted."""


@dataclass(frozen=True, slots=True)
class DemoClaim:
    """A sentence that must be true at the end, whether it held, and what was measured."""

    text: str
    held: bool
    seen: str


@dataclass(slots=True)
class DemoScreen:
    """Progress goes to stderr while the story runs; the summary goes to stdout."""

    started: float = field(default_factory=time.monotonic)
    claims: list[DemoClaim] = field(default_factory=list)
    figures: list[tuple[str, str]] = field(default_factory=list)
    alarms: Counter[str] = field(default_factory=Counter)
    """Alarms of the timeline by detector and release."""

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def print_heading(self, title: str) -> None:
        """Print a heading."""
        click.secho(f"\n{title}", bold=True, err=True)

    def print_line(self, what: str, why: str = "", commit: str = "", *, mark: str = " ") -> None:
        """Print one line of the timeline: time, event, reason, commit."""
        minutes, seconds = divmod(int(self.seconds), 60)
        line = f"{minutes:02}:{seconds:02} {mark} {what}"
        if why:
            line += click.style(f"  ({why})", dim=True)
        if commit:
            line += click.style(f"  {commit[:10]}", fg="yellow")
        click.echo(line, err=True)

    def record_claim(self, text: str, held: bool, seen: str) -> bool:
        """Record a claim, print it, and return `held`."""
        self.claims.append(DemoClaim(text, held, seen))
        self.print_line(
            f"{text}: {seen}",
            mark=click.style("+", fg="green") if held else click.style("x", fg="red"),
        )
        return held

    def record_figure(self, name: str, value: str) -> None:
        """Record a figure for the summary."""
        self.figures.append((name, value))

    async def follow_timeline(self, timeline: Path) -> None:
        """Print every line that is added to a timeline.jsonl, for ever."""
        position = timeline.stat().st_size if timeline.exists() else 0
        while True:
            if timeline.exists():
                with timeline.open("rb") as lines:
                    lines.seek(position)
                    for line in lines:
                        if not line.endswith(b"\n"):
                            break
                        position += len(line)
                        self._print_entry(TimelineEntry.parse(line))
            await asyncio.sleep(POLL)

    def _print_entry(self, entry: TimelineEntry) -> None:
        why = entry.why
        if entry.kind == "verdict":
            # what says monitor and release
            self.alarms[entry.what] += 1
            if self.alarms[entry.what] > SHOWN_ALARMS:
                return
            last = self.alarms[entry.what] == SHOWN_ALARMS
            why += "; further ones are not shown" if last else ""
        self.print_line(entry.what, why, entry.commit, mark="|")

    @property
    def width(self) -> int:
        """Characters of a line of the terminal, at most as many as are pleasant to read."""
        return min(shutil.get_terminal_size((100, 24)).columns, WIDEST)

    def print_story(
        self, chart: Sequence[TerminalLine], report: Path, pipeline: str, *, keep: bool
    ) -> None:
        """Print the chart of the story, where the report is, and what to do next."""
        colors = has_colors(sys.stdout, os.environ)
        if chart:
            click.secho("\nThe story: answers, who gave them, and the commits", bold=True)
        for line in chart:
            click.echo(f"  {format_line(line, colors=colors)}")
        click.secho("\nWhat to do next", bold=True)
        click.echo(f"  open {report}: all of this as one page, with what the columns looked like")
        if keep:
            click.echo(f"  driftloop status --state {report.parent}, driftloop why {pipeline}")
        click.echo(
            "  driftloop up examples/digits/pipeline.yaml: the same platform for your own traffic"
        )
        click.echo("  docs/guides/notebook-to-production.md: a project of your own")

    def print_summary(self, log: str) -> bool:
        """Print figures, claims and the log of the cluster repository; return True when every
        claim held."""
        click.secho(f"\nSummary after {self.seconds / 60:.1f} minutes", bold=True)
        width = max((len(name) for name, _ in self.figures), default=0)
        for name, value in self.figures:
            click.echo(f"  {name:<{width}}  {value}")
        click.secho("\nClaims", bold=True)
        for claim in self.claims:
            click.echo(f"  {'held  ' if claim.held else 'FAILED'}  {claim.text}: {claim.seen}")
        click.secho("\nThe record: git log of the cluster repository, oldest first", bold=True)
        for line in log.splitlines():
            click.echo(f"  {line}")
        return bool(self.claims) and all(claim.held for claim in self.claims)


def format_percent(share: float) -> str:
    """Return `96.4 %`, or `-` for NaN."""
    return "-" if math.isnan(share) else f"{100 * share:.1f} %"
