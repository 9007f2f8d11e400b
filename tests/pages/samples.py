"""A report as a pipeline of two releases makes it, with names of somebody hostile."""

from datetime import UTC, datetime, timedelta

from driftloop.pages.figures import (
    ColumnDistribution,
    ColumnEffect,
    CommitTick,
    DistributionBin,
    GateFigure,
    LimitFigure,
    MonitorLine,
    QualityLine,
    RolloutStage,
    TimeSpan,
    TrafficSplit,
    WindowPoint,
)
from driftloop.pages.reports import (
    MonitorSummary,
    Report,
    RolloutSummary,
    RunSummary,
    StoryLine,
    WindowPicture,
)

HOSTILE = "</title></style><script>alert(1)</script><img src=x onerror=\"alert('&')\">\x00\ud800"
"""What a name or a category may be: anything that a request may have."""
BEGAN = datetime(2026, 1, 31, 9, 0, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return BEGAN + timedelta(minutes=minutes)


SPAN = TimeSpan(at(0), at(60))
FIRST, SECOND = "r1a2b3c4d", "r5e6f7a8b"


def splits() -> tuple[TrafficSplit, ...]:
    return (
        TrafficSplit(at(5), {FIRST: 100}),
        TrafficSplit(at(30), {FIRST: 100}, shadow=SECOND),
        TrafficSplit(at(36), {FIRST: 90, SECOND: 10}),
        TrafficSplit(at(42), {FIRST: 50, SECOND: 50}),
        TrafficSplit(at(48), {SECOND: 100}),
    )


def commits(name: str = "digits") -> tuple[CommitTick, ...]:
    return (
        CommitTick(at(5), "a" * 40, f"Release {FIRST} of {name} as the first release", "first"),
        CommitTick(at(30), "b" * 40, f"Release {SECOND} of {name} in shadow", "shadow", "alarm 1"),
        CommitTick(at(36), "c" * 40, f"Send 10 % to {SECOND} of {name}", "canary"),
        CommitTick(at(42), "d" * 40, f"Send 50 % to {SECOND} of {name}", "canary"),
        CommitTick(at(48), "e" * 40, f"Promote {SECOND} of {name}", "promote"),
    )


def windows(count: int = 40, text: str = "x[24] median 0 -> 13") -> tuple[WindowPoint, ...]:
    return tuple(
        WindowPoint(
            at=at(10 + 40 * number / count),
            number=number + 1,
            level=30.0 if count / 2 < number < 0.9 * count else 0.4,
            alarm=count / 2 < number < 0.9 * count,
            text=text,
            began=at(10 + 40 * (number - 1) / count),
        )
        for number in range(count)
    )


def report(name: str = "digits", columns: int = 6, count: int = 40) -> Report:
    points = windows(count)
    names = [name, *(f"x[{number}]" for number in range(1, columns))]
    return Report(
        pipeline=name,
        title=f"{name}: what happened and why",
        summary=(f"{SECOND} is production, in phase stable.",),
        span=SPAN,
        written=at(61),
        facts=(("production", SECOND), ("last run", "released"), ("accuracy", "0.972")),
        story=tuple(
            StoryLine(commit.at, f"{commit.subject}.", commit.sha, "good")
            for commit in commits(name)
        ),
        splits=splits(),
        lines=(
            QualityLine(
                f"accuracy of {name}",
                (
                    (at(6), 0.95),
                    (at(24), 0.95),
                    (at(25), 0.11),
                    (at(40), 0.12),
                    (at(45), 0.5),
                    (at(50), 0.95),
                ),
            ),
        ),
        commits=commits(name),
        monitors=(
            MonitorSummary(
                MonitorLine(name, "tabular", points),
                tuple(
                    ColumnEffect(each, point, 0.6 / (number + 1), True, f"{each} moved")
                    for number, each in enumerate(names)
                    for point in points
                    if point.alarm
                ),
                (WindowPicture(f"Window 30 of {FIRST}", tuple(map(distribution, names))),),
                f"9 alarms; the last one says: {name}",
            ),
        ),
        runs=(
            RunSummary(
                run=f"{name}-4f0c1d2e3a5b",
                started=at(26),
                seconds=240.0,
                cause=f"because of an alarm: {name} 10 % -> 31 %",
                outcome="released",
                reason=f"{SECOND} is production",
                release=SECOND,
                parameters=(("epochs", "12"), (name, name)),
                metrics=(("accuracy", 0.972, 0.11), ("worst_class_accuracy", 0.88, None)),
                gates=gates(name),
                data="12 batches",
            ),
        ),
        rollouts=(RolloutSummary(SECOND, TimeSpan(at(30), at(48)), stages(name), "promoted"),),
        notes=(f"the bucket is gone: {name}",),
    )


def distribution(column: str) -> ColumnDistribution:
    if column.startswith("x["):
        bins = tuple(
            DistributionBin(f"{number}", 0.7 if number == 0 else 0.025, 0.083)
            for number in range(12)
        )
        return ColumnDistribution(column, "number", bins, (0.0, 0.12), "median 0 -> 13", upper="12")
    bins = (
        DistributionBin(column, 0.6, 0.2),
        DistributionBin("a very long category that no screen has room for, really none", 0.4, 0.1),
        DistributionBin("not in the training data", 0.0, 0.7),
    )
    return ColumnDistribution(column, "category", bins)


def gates(name: str) -> tuple[GateFigure, ...]:
    return (
        GateFigure("accuracy", "all", 0.972, 0.9, True, True, "accuracy 0.972", production=0.11),
        GateFigure(name, "recent", 0.62, 0.9, True, False, f"{name} 0.62, must be at least 0.9"),
    )


def stages(name: str) -> tuple[RolloutStage, ...]:
    limits = (
        LimitFigure("requests", 512.0, 500.0, True),
        LimitFigure("failed", 0.02, 0.01, False, "share"),
        LimitFigure("p99", 0.03, None, False, "seconds"),
    )
    return (
        RolloutStage("shadow", "passed", name, limits),
        RolloutStage("10 %", "active", "", limits[:1]),
        RolloutStage("50 %", "waiting"),
        RolloutStage("promotion", "failed"),
    )
