"""The report of a release, or of a time: read from git, from the bucket of runs and from the verdicts.

What can't be read, since it does not run or is not kept any more, is said in the report, and no error: git alone
is enough for one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from driftloop.contract.runs import RunReport
from driftloop.contract.times import format_time
from driftloop.contract.trees import PAGE_FILE, run_key, spec_path
from driftloop.errors import PipelineError, ReleaseError
from driftloop.local.ground.sentences import describe_cause
from driftloop.operations.commits import releases
from driftloop.operations.commits.release_history import ReleaseEntry, list_entries
from driftloop.operations.runs.run_store import ListedRun, RunFilter, RunPlace, list_runs
from driftloop.operations.stories import story_commits, story_windows
from driftloop.operations.stories.batch_words import describe_batches
from driftloop.operations.stories.story_commits import CommitStory
from driftloop.operations.stories.story_windows import WindowStory
from driftloop.operations.traces.traces import TracePlace
from driftloop.pages.figures import GateFigure, QualityLine, TimeSpan
from driftloop.pages.reports import Report, RunSummary, StoryLine, draw_report
from driftloop.release.record import Release
from driftloop.spec import load_spec
from driftloop.spec.model import Spec
from driftloop.text.words import count_noun

MOST_RUNS = 30
MARGIN = 0.02
"""Part of the time that is shown beside the first and the last thing in it."""
AT_LEAST_BOUNDS = ("min", "productionMinus")


@dataclass(frozen=True, kw_only=True)
class ReportChoice:
    """Choice of the release or time that a report is of."""

    pipeline: str
    release: str | None = None
    """A release; None: all of them."""
    since: str | None = None
    """A time; None: the beginning of the release, or of everything that is kept."""
    lines: tuple[QualityLine, ...] = ()
    """Measures that the caller has taken itself."""


def read_report(place: TracePlace, choice: ReportChoice) -> Report:
    """Read a report; GitError when the pipeline does not exist, ReleaseError for a release that no commit is
    about."""
    now = datetime.now(UTC)
    committed = releases.read_pipeline(place.repository.tree(place.tip), choice.pipeline)
    notes: list[str] = []
    spec = _read_spec(committed.spec, choice.pipeline, notes)
    entry = _find_entry(place, choice)
    since = _choose_start(place, choice, entry)
    commits = story_commits.read_commits(
        place.repository, place.tip, choice.pipeline, _parse(since)
    )
    runs = _read_runs(place.runs, choice, since, notes)
    windows = _read_windows(place, committed.release, choice, since, notes)
    notes += [*commits.notes, *windows.notes]
    until = _choose_end(place, entry) or now
    if entry is not None:
        commits, runs = _keep_release(commits, runs, entry.id, until)
    span = _choose_span(commits, runs, windows, _parse(since), until)
    lines = (*choice.lines, *story_windows.list_qualities(windows))
    story = sorted(
        (
            *story_commits.tell_commits(commits),
            *story_windows.tell_windows(windows),
            *_tell_runs(runs),
        ),
        key=lambda line: line.at,
    )
    monitors = story_windows.list_monitors(windows, spec)
    return Report(
        pipeline=choice.pipeline,
        title=_write_title(choice, entry),
        summary=tuple(_summarize(committed.release, entry, runs, windows, commits)),
        span=span,
        written=now,
        facts=tuple(_list_facts(committed.release, runs, windows)),
        story=tuple(line for line in story if span.began <= line.at <= span.ended),
        splits=story_commits.list_splits(commits, span.began),
        lines=lines,
        commits=story_commits.list_ticks(commits),
        monitors=monitors,
        runs=tuple(map(_summarize_run, runs)),
        rollouts=story_commits.list_rollouts(commits, spec.rollout, now)
        if spec is not None
        else (),
        notes=tuple(dict.fromkeys(notes)),
    )


def store_report(place: TracePlace, run: RunReport) -> None:
    """Store the report of a run's release, or of the time from a run on that released nothing, beside its
    run.json."""
    since = None if run.release is not None else run.started
    choice = ReportChoice(pipeline=run.pipeline, release=run.release, since=since)
    page = draw_report(read_report(place, choice)).encode()
    place.runs.store.write_object(place.runs.bucket / run_key(run.run, PAGE_FILE), page)


def _read_spec(text: str, pipeline: str, notes: list[str]) -> Spec | None:
    try:
        return load_spec(text, path=spec_path(pipeline)).spec
    except PipelineError as error:
        notes.append(f"the spec can't be read: {error.message}")
        return None


def _find_entry(place: TracePlace, choice: ReportChoice) -> ReleaseEntry | None:
    if choice.release is None:
        return None
    entries = list_entries(place.repository, place.tip, choice.pipeline)
    entry = next((each for each in entries if each.id == choice.release), None)
    if entry is None:
        known = ", ".join(each.id for each in entries[:8]) or "none"
        raise ReleaseError(
            f"no commit of `{choice.pipeline}` is about a release `{choice.release}`, the newest are: {known}",
            hint=f"`driftloop releases {choice.pipeline}` lists them",
        )
    return entry


def _choose_start(
    place: TracePlace, choice: ReportChoice, entry: ReleaseEntry | None
) -> str | None:
    """Return when the report begins: for a release with its run, or with the alarm behind that."""
    if choice.since is not None or entry is None:
        return choice.since
    started = entry.time
    try:
        found = list_runs(place.runs, RunFilter(choice.pipeline), MOST_RUNS)
    except PipelineError:
        return started
    run = next((each.report for each in found if each.report.run == entry.run), None)
    if run is None:
        return started
    started = min(started, run.started or started)
    if run.alarm is not None and place.nats_url is not None:
        # the windows that raised the alarm came before the run
        before = datetime.fromisoformat(started) - _before_alarm(run)
        return format_time(before)
    return started


def _before_alarm(run: RunReport) -> timedelta:
    took = timedelta(minutes=10)
    if run.started is not None and run.finished is not None:
        took = datetime.fromisoformat(run.finished) - datetime.fromisoformat(run.started)
    return max(took, timedelta(minutes=2))


def _choose_end(place: TracePlace, entry: ReleaseEntry | None) -> datetime | None:
    """Return when a release was replaced or taken back; None while it is something."""
    if entry is None or entry.taken_back is None:
        return None
    return datetime.fromisoformat(entry.taken_back)


def _keep_release(
    commits: CommitStory, runs: Sequence[ListedRun], release: str, until: datetime
) -> tuple[CommitStory, tuple[ListedRun, ...]]:
    """Keep what happened up to the end of a release: its own run, and those that began under it."""
    kept = tuple(
        run for run in runs if release in (run.report.release, run.report.production)
    )  # fmt: skip
    inside = tuple(each for each in commits.commits if each.at <= until)
    return CommitStory(inside, commits.before, commits.notes), kept


def _read_runs(
    place: RunPlace, choice: ReportChoice, since: str | None, notes: list[str]
) -> tuple[ListedRun, ...]:
    try:
        return list_runs(place, RunFilter(choice.pipeline, since=since, idle=True), MOST_RUNS)
    except PipelineError as error:
        notes.append(f"runs can't be read: {error.message}")
        return ()


def _read_windows(
    place: TracePlace,
    release: Release,
    choice: ReportChoice,
    since: str | None,
    notes: list[str],
) -> WindowStory:
    if place.nats_url is None:
        notes.append("verdicts can't be read from here: nothing of drift is shown")
        return WindowStory({})
    try:
        return story_windows.read_story(place.nats_url, release.namespace, choice.pipeline, since)
    except PipelineError as error:
        notes.append(f"verdicts can't be read: {error.message}")
        return WindowStory({})


def _choose_span(
    commits: CommitStory,
    runs: Sequence[ListedRun],
    windows: WindowStory,
    since: datetime | None,
    until: datetime,
) -> TimeSpan:
    """Return the time from the first thing to the last, with a margin; that since a time where nothing is."""
    times = [each.at for each in commits.commits]
    for run in runs:
        times += [
            datetime.fromisoformat(text)
            for text in (run.report.started, run.report.finished)
            if text is not None
        ]
    for records in windows.windows.values():
        times += [datetime.fromisoformat(record.time) for record in records if record.time]
    times = [at for at in times if at <= until and (since is None or at >= since)]
    if not times:
        return TimeSpan(since or until - timedelta(days=7), until)
    began, ended = min(times), max(times)
    margin = max((ended - began) * MARGIN, timedelta(seconds=5))
    return TimeSpan(began - margin, min(ended + margin, until + margin))


def _write_title(choice: ReportChoice, entry: ReleaseEntry | None) -> str:
    if entry is not None:
        return f"Release {entry.id} of {choice.pipeline}"
    return f"{choice.pipeline}: what happened and why"


def _summarize(
    release: Release,
    entry: ReleaseEntry | None,
    runs: Sequence[ListedRun],
    windows: WindowStory,
    commits: CommitStory,
) -> Iterator[str]:
    if entry is not None:
        yield from _summarize_entry(release, entry)
    elif release.production is not None:
        yield f"{release.production.id} is production, in phase {release.phase}."
    else:
        yield "There is no release yet."
    alarms = sum(record.alarm for records in windows.windows.values() for record in records)
    judged = sum(map(len, windows.windows.values()))
    ended: dict[str, int] = {}
    for run in runs:
        ended[run.phase] = ended.get(run.phase, 0) + 1
    ends = ", ".join(f"{count} {phase}" for phase, count in ended.items())
    parts = [count_noun(len(commits.commits), "commit")]
    if runs:
        parts.append(f"{count_noun(len(runs), 'run')} ({ends})")
    if judged:
        parts.append(f"{count_noun(alarms, 'alarm')} in {count_noun(judged, 'window')}")
    yield f"In this time there were {', '.join(parts)}."


def _summarize_entry(release: Release, entry: ReleaseEntry) -> Iterator[str]:
    cause = describe_cause(entry.cause)
    yield f"{entry.id} was trained by {entry.run}{f', {cause}' if cause else ''}."
    if entry.taken_back is not None:
        yield f"It was taken back at {entry.taken_back}."
    elif release.production is not None and release.production.id == entry.id:
        yield f"It is production since {entry.promoted or entry.time}."
    elif entry.outcome is not None:
        yield f"Its run ended as {entry.outcome}: {entry.reason}."


def _list_facts(
    release: Release, runs: Sequence[ListedRun], windows: WindowStory
) -> Iterator[tuple[str, str]]:
    yield "phase", release.phase
    yield "production", release.production.id if release.production is not None else "none"
    if release.candidate is not None:
        yield "candidate", release.candidate.id
    if release.previous is not None:
        yield "previous", release.previous.id
    if runs:
        yield "last run", runs[0].phase
    if release.production is not None:
        for name, value in list(release.production.metrics.items())[:2]:
            yield name, f"{value:.4g}"
    alarms = [name for name, records in windows.windows.items() if records[-1].alarm]
    if windows.windows:
        yield "drift now", f"alarm of {', '.join(alarms)}" if alarms else "none"


def _tell_runs(runs: Sequence[ListedRun]) -> Iterator[StoryLine]:
    for run in runs:
        report = run.report
        if report.started is not None:
            cause = describe_cause(report.cause)
            text = f"Run {report.run} began{f', {cause}' if cause else ''}."
            yield StoryLine(datetime.fromisoformat(report.started), text)
        if report.outcome is not None and report.outcome.kind != "released":
            text = f"Run {report.run} ended: {report.outcome.text}."
            bad = report.outcome.kind in ("failed", "refused", "rejected")
            yield StoryLine(
                datetime.fromisoformat(report.outcome.time), text, kind="bad" if bad else ""
            )


def _summarize_run(run: ListedRun) -> RunSummary:
    report = run.report
    started, finished = _parse(report.started), _parse(report.finished)
    seconds = (finished - started).total_seconds() if started and finished else None
    candidate = (report.metrics.candidate.get("all") or {}) if report.metrics is not None else {}
    theirs = report.metrics.production if report.metrics is not None else None
    before: Mapping[str, float] = (theirs or {}).get("all") or {}
    data = report.data
    return RunSummary(
        run=report.run,
        started=started,
        seconds=seconds,
        cause=describe_cause(report.cause),
        outcome=run.phase,
        reason=report.outcome.reason if report.outcome is not None else "",
        release=report.release,
        parameters=tuple(
            (name, _show_value(value)) for name, value in (report.parameters or {}).items()
        ),
        metrics=tuple((name, value, before.get(name)) for name, value in candidate.items()),
        gates=tuple(_list_gates(report)),
        data=""
        if data is None
        else f"{describe_batches(data, report.production)}; below {data.uri}",
    )


def _show_value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _list_gates(report: RunReport) -> Iterator[GateFigure]:
    if report.gates is None:
        return
    for gate in report.gates.gates:
        theirs = report.metrics.production if report.metrics is not None else None
        production = ((theirs or {}).get(gate.on) or {}).get(gate.metric)
        yield GateFigure(
            metric=gate.metric,
            rows=gate.on,
            value=gate.value,
            bound=gate.bound,
            at_least=gate.rule in AT_LEAST_BOUNDS,
            passed=gate.passed,
            reason=gate.reason,
            production=production,
        )


def _parse(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text is not None else None
