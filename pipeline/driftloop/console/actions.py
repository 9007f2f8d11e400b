"""Actions of the console: each says what it will do, and is the command of the same name, so
that it is refused for the same reason."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from driftloop.console.snapshot import Snapshot
from driftloop.errors import PipelineError

LONGEST_REASON = 200
"""Characters of a reason, as the commands take it."""
LABELS_FILE = "labels.jsonl"
ON_CLUSTERS: Mapping[str, tuple[str, ...]] = {"promote": (), "rollback": ("--cluster",)}
"""Actions that end as a commit and need nothing else, and how their commands find a cluster."""
_ID = re.compile(r"[a-z0-9][a-z0-9.-]{0,99}")


@dataclass(frozen=True)
class ActionField:
    """Something that a person types or chooses."""

    name: str
    label: str
    value: str = ""
    kind: str = "text"
    """`text`, `check`, `choice`, or `fixed` for what the page has chosen."""
    choices: tuple[tuple[str, str], ...] = ()
    """Values and their words, of a choice."""
    hint: str = ""


REASON_FIELD = ActionField("reason", "Reason", hint="In a few words; it has to be given.")


@dataclass(frozen=True)
class Action:
    """An action that a page asks about once."""

    key: str
    pipeline: str
    title: str
    does: str
    """What it will do, in one or two sentences."""
    button: str
    command: tuple[str, ...]
    """Arguments of `driftloop`, without what the fields add."""
    fields: tuple[ActionField, ...] = ()
    is_grave: bool = False
    """It changes what answers callers."""
    add_fields: Callable[[Mapping[str, str]], tuple[str, ...]] = field(
        default=lambda _: (), repr=False, compare=False
    )
    """Arguments that come of the fields."""
    write_files: Callable[[Mapping[str, str]], Mapping[str, str]] = field(
        default=lambda _: {}, repr=False, compare=False
    )
    """Files that the command reads, by name in its folder."""

    def build_arguments(self, given: Mapping[str, str]) -> tuple[str, ...]:
        """Return the arguments of the command."""
        return (*self.command, *self.add_fields(given), "--output=json")


def find_action(snapshot: Snapshot, pipeline: str, key: str, given: Mapping[str, str]) -> Action:
    """Return an action of a pipeline as things stand; `given` has what the page has chosen.

    PipelineError for an action that does not exist.
    """
    build = ACTIONS.get(key)
    for name in ("run", "to"):
        value = given.get(name, "").strip()
        if value and not _ID.fullmatch(value):
            raise PipelineError(f"`{value}` is not an id of a release or a run")
    if build is None:
        listed = ", ".join(f"`{name}`" for name in ACTIONS)
        raise PipelineError(f"`{key}` is not an action, must be one of: {listed}")
    return build(snapshot, pipeline, given)


def find_options(key: str, repository: str | None, on: str | None = None) -> tuple[str, ...]:
    """Return how the command of an action finds a cluster, whose repository is given where people may
    commit to it, and its name there if it has several. PipelineError for an action that is not done from there."""
    if repository is None:
        raise PipelineError(
            "the console only reads a cluster", hint="Use the command line, with your own rights."
        )
    if key not in ON_CLUSTERS:
        raise PipelineError(
            f"the console of a cluster commits, and does not {key}",
            hint="Use the command line, with your own rights.",
        )
    named = () if on is None else (f"--on={on}",)
    return (*ON_CLUSTERS[key], f"--repository={repository}", *named)


def _clean(text: str) -> str:
    return " ".join(text.split())[:LONGEST_REASON]


def _build_trigger(snapshot: Snapshot, name: str, _: Mapping[str, str]) -> Action:
    release = snapshot.find_release(name)
    first = release is None or release.production is None
    does = (
        "Starts a run that trains the first model. It becomes production when its gates and its rehearsal pass."
        if first
        else f"Starts a training run. A candidate that passes its gates and its rehearsal goes through the rollout; "
        f"{release.production if release else ''} answers until then."
    )

    def add(given: Mapping[str, str]) -> tuple[str, ...]:
        return (
            f"--cause={_clean(given.get('cause', ''))}",
            *(("--force",) if given.get("force") else ()),
        )

    return Action(
        "trigger", name, f"Start a training run of {name}", does, "Start the run", ("trigger", name),
        (
            ActionField("cause", "Cause", hint="In a few words; commits of the run carry it."),
            ActionField(
                "force", "Train although data, code and parameters are production's", kind="check"
            ),
        ),
        add_fields=add,
    )  # fmt: skip


def _build_promote(snapshot: Snapshot, name: str, _: Mapping[str, str]) -> Action:
    release = snapshot.find_release(name)
    candidate = (release.candidate if release else None) or "the candidate"
    production = (release.production if release else None) or "production"
    return Action(
        "promote", name, f"Promote {candidate} of {name}",
        f"Makes {candidate} production now, without waiting for what its rollout measures. It replaces {production} by "
        "one push; `git revert` of the commit brings that one back.",
        "Promote it", ("promote", name), is_grave=True,
    )  # fmt: skip


def _build_approve(snapshot: Snapshot, name: str, _: Mapping[str, str]) -> Action:
    hold = snapshot.find_hold(name)
    if hold is None:
        return Action(
            "approve", name, f"Approve what waits in {name}",
            "Lets a run go on that waits for a person. Nothing waits now: the command will say so.",
            "Approve it", ("approve", name), (REASON_FIELD,), add_fields=_add_reason,
        )  # fmt: skip
    who = f" {', '.join(hold.approvers)} may approve it." if hold.approvers else ""
    return Action(
        "approve", name, f"Approve {hold.run}",
        f"It waits since {hold.since}. Approved, it goes on: {hold.asks}.{who} Your name, the time and the reason stand in "
        "the record of the run and in its commit.",
        "Approve it", ("approve", name, hold.run), (REASON_FIELD,), is_grave=True, add_fields=_add_reason,
    )  # fmt: skip


def _build_rollback(snapshot: Snapshot, name: str, given: Mapping[str, str]) -> Action:
    release, to = snapshot.find_release(name), given.get("to", "")
    candidate = release.candidate if release else None
    production = (release.production if release else None) or "production"
    if candidate is not None and not to:
        return Action(
            "rollback", name, f"Take {candidate} of {name} out of its rollout",
            f"Ends the rollout: {production} gets all traffic again, by one commit. {candidate} is not tried again by "
            "the loop.", "End the rollout", ("rollback", name), is_grave=True,
        )  # fmt: skip
    committed = snapshot.find_committed(name)
    entries = committed.releases if committed is not None else ()
    known = {each.id for each in entries}
    choices = tuple(
        (each.id, f"{each.id}, production from {each.promoted}")
        for each in entries
        if each.promoted is not None and each.id != (release.production if release else None)
    )
    if to and to not in known:
        choices = ((to, to), *choices)
    chosen = to or (choices[0][0] if choices else "")
    fields = (
        (ActionField("to", "Release to restore", chosen, "choice", choices),)
        if choices
        else (ActionField("to", "Release to restore", to),)
    )
    return Action(
        "rollback", name, f"Roll {name} back",
        f"Makes an earlier release production again in place of {production}, by one commit. Its files are looked at "
        "first and its server is asked a few rows; one that is gone or does not answer is refused. After that, alarms "
        "and schedules start nothing for the time of `retrain.hold`.",
        "Roll back", ("rollback", name), fields, is_grave=True, add_fields=_add_release,
    )  # fmt: skip


def _add_release(given: Mapping[str, str]) -> tuple[str, ...]:
    to = given.get("to", "").strip()
    return (f"--to={to}",) if to else ()


def _build_halt(_: Snapshot, name: str, __: Mapping[str, str]) -> Action:
    return Action(
        "halt", name, f"Halt the loop of {name}",
        "No run starts until somebody resumes it: no alarm, schedule, new data or person starts one. A run and a "
        "rollout that are on may finish, and production answers as before.",
        "Halt it", ("halt", name),
        (ActionField("reason", "Reason", hint="Runs that are refused report it."),),
        add_fields=_add_reason,
    )  # fmt: skip


def _build_resume(_: Snapshot, name: str, __: Mapping[str, str]) -> Action:
    return Action(
        "resume", name, f"Resume the loop of {name}",
        "Alarms, schedules, new data and people may start runs again.", "Resume it", ("resume", name),
    )  # fmt: skip


def _build_cancel(_: Snapshot, name: str, given: Mapping[str, str]) -> Action:
    run = given.get("run", "")
    return Action(
        "cancel", name, f"Cancel {run}",
        "Stops its training, or takes its candidate out of the rollout. Production stays as it is.",
        "Cancel it", ("cancel", run),
        (
            ActionField("run", "Run", run, "fixed"),
            ActionField("reason", "Reason", hint="The outcome of the run carries it."),
        ),
        is_grave=True, add_fields=_add_reason,
    )  # fmt: skip


def _add_reason(given: Mapping[str, str]) -> tuple[str, ...]:
    return (f"--reason={_clean(given.get('reason', ''))}",)


def _build_label(_: Snapshot, name: str, given: Mapping[str, str]) -> Action:
    request = given.get("request", "")
    return Action(
        "label", name, f"Label a request of {name}",
        "Tells the monitors of labels which answer would have been right. Of several labels of a request the last one "
        "counts; windows that are judged stay judged.",
        "Send the label", ("labels", "load", LABELS_FILE, f"--to={name}"),
        (
            ActionField("request", "Request id", request, hint="The header `seldon-puid` of the answer."),
            ActionField("label", "Right answer", hint="A number, a class, or true or false."),
        ),
        write_files=_write_label,
    )  # fmt: skip


def _write_label(given: Mapping[str, str]) -> Mapping[str, str]:
    label: object = given.get("label", "").strip()
    try:
        label = json.loads(str(label))
    except ValueError:
        # a class: its name is the label
        pass
    line = json.dumps({"request": given.get("request", "").strip(), "label": label})
    return {LABELS_FILE: f"{line}\n"}


ACTIONS: Mapping[str, Callable[[Snapshot, str, Mapping[str, str]], Action]] = {
    "trigger": _build_trigger,
    "approve": _build_approve,
    "promote": _build_promote,
    "rollback": _build_rollback,
    "halt": _build_halt,
    "resume": _build_resume,
    "cancel": _build_cancel,
    "label": _build_label,
}


def list_offers(snapshot: Snapshot, name: str) -> tuple[tuple[str, str], ...]:
    """Return the actions that a pipeline's page offers as things stand, and their words. The others are
    there, too, and are refused by the command itself."""
    release = snapshot.find_release(name)
    phase = snapshot.find_phase(name)
    offers = [("trigger", "Start a run")]
    if (hold := snapshot.find_hold(name)) is not None:
        offers.insert(0, ("approve", f"Approve {hold.run}"))
    if release is not None and release.candidate is not None:
        offers += [("promote", f"Promote {release.candidate}"), ("rollback", "End the rollout")]
    elif release is not None and release.production is not None:
        offers.append(("rollback", "Roll back"))
    offers.append(("resume", "Resume") if phase in ("halted", "held") else ("halt", "Halt"))
    return tuple(offers)
