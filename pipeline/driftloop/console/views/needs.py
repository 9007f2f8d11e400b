"""Needs of a pipeline that only a person can meet, by urgency: the order of the overview."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from driftloop.console.snapshot import Snapshot
from driftloop.console.views.places import HOME
from driftloop.operations.watching.status import RunStatus

NeedLevel = Literal["person", "watch", "busy", "calm"]
LEVELS: tuple[NeedLevel, ...] = get_args(NeedLevel)
"""The most urgent first: somebody has to act, somebody may want to look, it is at work, nothing."""
LIVE = ("pending", "running", "evaluating", "rolling-out")
BAD_ENDS = ("refused", "rejected", "failed")


@dataclass(frozen=True)
class Need:
    """One thing that a person may have to do, and where."""

    level: NeedLevel
    text: str
    href: str


def list_needs(snapshot: Snapshot, name: str) -> tuple[Need, ...]:
    """Return what a pipeline needs, the most urgent first."""
    found = [
        *_list_holds(snapshot, name),
        *_list_release(snapshot, name),
        *_list_loop(snapshot, name),
        *_list_monitors(snapshot, name),
        *_list_labels(snapshot, name),
    ]
    return tuple(sorted(found, key=lambda need: LEVELS.index(need.level)))


def find_level(needs: tuple[Need, ...]) -> NeedLevel:
    """Return the most urgent level."""
    return needs[0].level if needs else "calm"


def list_platform_needs(snapshot: Snapshot) -> tuple[Need, ...]:
    """Return what is wrong with the platform itself."""
    status = snapshot.status
    if status is None:
        return ()
    lines = [f"the newest commit is refused: {line}" for line in status.refused.splitlines()]
    lines += [status.stuck] if status.stuck else []
    lines += [f"{name} has died and is started again" for name in status.list_dead()]
    lines += [*status.disk, *status.blind, *status.altered, *status.untold]
    return tuple(Need("person", line, "/events") for line in lines)


def _list_holds(snapshot: Snapshot, name: str) -> Iterator[Need]:
    hold = snapshot.find_hold(name)
    if hold is not None:
        yield Need("person", hold.text, f"{HOME}/{name}/act/approve")


def _list_release(snapshot: Snapshot, name: str) -> Iterator[Need]:
    home = f"{HOME}/{name}"
    release = snapshot.find_release(name)
    if release is None:
        return
    if release.error is not None:
        yield Need("person", release.error, f"{home}/spec")
    elif release.phase == "empty":
        run = snapshot.find_last_run(name)
        if run is None or run.finished_at is not None:
            yield Need(
                "person",
                "no release yet: it needs labelled batches and a first run",
                f"{home}/act/trigger",
            )
    elif release.candidate is not None and snapshot.find_hold(name) is None:
        share = (release.weights or {}).get(release.candidate, 0)
        how = f"answers {share} %" if share else "gets a copy of the traffic"
        yield Need("busy", f"{release.candidate} is in its rollout and {how}", f"{home}/rollout")


def _list_loop(snapshot: Snapshot, name: str) -> Iterator[Need]:
    home = f"{HOME}/{name}"
    phase, summary = snapshot.find_phase(name), snapshot.find_summary(name)
    if phase == "halted":
        yield Need("person", f"the loop {summary}", f"{home}/act/resume")
    elif phase == "waiting":
        yield Need("person", f"the loop {summary}", home)
    elif phase in ("held", "postponed"):
        yield Need("watch", f"the loop {summary}", home)
    elif phase in LIVE:
        yield Need("busy", summary or phase, f"{home}/runs")
    run = snapshot.find_last_run(name)
    if run is not None and phase not in LIVE and (end := _describe_bad_end(run)) is not None:
        yield Need(
            "person" if run.outcome is None or run.outcome.kind == "failed" else "watch",
            end,
            f"{home}/runs",
        )


def _list_labels(snapshot: Snapshot, name: str) -> Iterator[Need]:
    status = snapshot.status
    inboxes = status.inboxes if status is not None else {}
    inbox = inboxes.get(f"{snapshot.find_namespace(name)}.{name}")
    if inbox is not None and inbox.refused:
        yield Need("watch", inbox.text, f"{HOME}/{name}/drift")


def _describe_bad_end(run: RunStatus) -> str | None:
    if run.outcome is not None:
        return f"the last run was {run.outcome.text}" if run.outcome.kind in BAD_ENDS else None
    if run.rollout is not None or run.phase not in ("Failed", "Error"):
        return None
    return f"the last run failed{f': {run.message}' if run.message else ''}"


def _list_monitors(snapshot: Snapshot, name: str) -> Iterator[Need]:
    home = f"{HOME}/{name}/drift"
    status = snapshot.status
    if status is None:
        return
    release = snapshot.find_release(name)
    production = release.production if release is not None else None
    for monitor, verdict in sorted(snapshot.find_verdicts(name).items()):
        where = f"{home}?monitor={monitor}"
        if verdict.release != production:
            continue
        if verdict.failure:
            yield Need("person", f"{monitor} can't judge: {verdict.failure}", where)
        elif verdict.alarm:
            what = verdict.changes or verdict.lasting
            yield Need("watch", f"{monitor} alarms{f': {what}' if what else ''}", where)
        elif verdict.lasting:
            yield Need("watch", f"{monitor}: a change lasts: {verdict.lasting}", where)
    start = f"{snapshot.find_namespace(name)}/{name}/"
    for key, unjudged in sorted(status.unjudged.items()):
        if key.startswith(start) and unjudged.release == production and unjudged.is_own:
            why = unjudged.reason or "its rows can't be read"
            yield Need(
                "person", f"{key.removeprefix(start)} does not judge the traffic: {why}", home
            )
