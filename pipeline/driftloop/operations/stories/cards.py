"""The model card of a release: what its author says of it in the spec, and what the records do.

Nothing in it is empty: what is not known, since it was not measured or is not kept any more, is said.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from driftloop.clients.s3 import MissingObjectError
from driftloop.contract.privacy import is_private
from driftloop.contract.profiles import ColumnProfile, TableProfile
from driftloop.contract.runs import RunReport, describe_trigger
from driftloop.contract.times import format_now, format_time
from driftloop.contract.trees import (
    CARD_FILES,
    PROFILE_FILE,
    release_key,
    release_path,
    run_key,
    spec_path,
)
from driftloop.errors import PipelineError, ReleaseError
from driftloop.git.repository import Repository
from driftloop.operations.commits import releases
from driftloop.operations.commits.release_history import (
    MOST_COMMITS,
    ReleaseEntry,
    complete_entry,
    list_entries,
)
from driftloop.operations.runs.run_store import RunFilter, RunPlace, find_run, list_runs
from driftloop.operations.stories import story_windows
from driftloop.operations.stories.batch_words import describe_batches
from driftloop.operations.traces.traces import TracePlace
from driftloop.operations.traces.window_samples import HIDDEN, list_private
from driftloop.pages.cards import CardSection, CardTable, ModelCard, draw_card, write_card
from driftloop.release.record import Release
from driftloop.spec import load_spec
from driftloop.spec.card import Card
from driftloop.spec.model import Spec
from driftloop.text.words import count_noun

MOST_COLUMNS = 200
"""Columns of the data that a card lists."""
MOST_NAMED = 5
"""Categories of a column that it names."""
MOST_RUNS = 1000
FIELDS = ("owner", "contact", "intendedUse", "limits")


@dataclass(frozen=True)
class _Subject:
    """A release and what is known of it."""

    place: TracePlace
    pipeline: str
    entry: ReleaseEntry
    release: Release
    spec: Spec
    words: Card
    run: RunReport | None


def store_cards(place: TracePlace, pipeline: str, release: str) -> bool:
    """Store the card of a release beside its run.json, without what has drifted since; False when the
    spec has no `card`."""
    committed = releases.read_pipeline(place.repository.tree(place.tip), pipeline)
    if load_spec(committed.spec, path=spec_path(pipeline)).spec.card is None:
        return False
    card = read_card(place, pipeline, release, since=False)
    run = _find_entry(place, committed.release, release).run
    for name, text in zip(CARD_FILES, (write_card(card), draw_card(card)), strict=True):
        place.runs.store.write_object(place.runs.bucket / run_key(run, name), text.encode())
    return True


def find_pipeline(repository: Repository, tip: str | None, release: str) -> str:
    """Return the pipeline of a release; ReleaseError when none has it."""
    commit = repository.find(tip, "Driftloop-Release", release) if tip is not None else None
    if commit is not None and (name := commit.trailers.get("Driftloop-Pipeline")):
        return name
    raise ReleaseError(
        f"no pipeline of the cluster repository has a release `{release}`",
        hint="`driftloop releases NAME` lists those of a pipeline",
    )


def read_card(
    place: TracePlace, pipeline: str, release: str | None = None, *, since: bool = True
) -> ModelCard:
    """Read the card of a release, of production without one; PipelineError when the spec has no
    `card`, or there is no such release. `since` also says what has drifted since."""
    committed = releases.read_pipeline(place.repository.tree(place.tip), pipeline)
    spec = load_spec(committed.spec, path=spec_path(pipeline)).spec
    if spec.card is None:
        raise PipelineError(
            f"the spec of {pipeline} has no `card`, and a card without {', '.join(FIELDS)} says too little",
            hint="add `card: {owner: …, contact: …, intendedUse: …, limits: …}` to the spec, and commit it",
        )
    entry = _find_entry(place, committed.release, release)
    found = find_run(place.runs, entry.run, pipeline=pipeline)
    subject = _Subject(
        place,
        pipeline,
        entry,
        committed.release,
        spec,
        spec.card,
        found.report if found is not None else None,
    )
    return ModelCard(pipeline, entry.id, tuple(_list_sections(subject, since)), format_now())


def _find_entry(place: TracePlace, release: Release, id: str | None) -> ReleaseEntry:
    wanted = id or (release.production.id if release.production is not None else None)
    if wanted is None:
        raise ReleaseError(
            f"`{release.name}` has no release yet", hint=f"`driftloop trigger {release.name}`"
        )
    entries = list_entries(place.repository, place.tip, release.name)
    entry = next((each for each in entries if each.id == wanted), None)
    if entry is None:
        known = ", ".join(each.id for each in entries[:8]) or "none"
        raise ReleaseError(
            f"no commit of `{release.name}` is about a release `{wanted}`, the newest are: {known}",
            hint=f"`driftloop releases {release.name}` lists them",
        )
    return complete_entry(place.repository, release, entry)


def _list_sections(subject: _Subject, since: bool) -> Iterator[CardSection]:
    words, entry = subject.words, subject.entry
    yield CardSection(
        "Overview",
        facts=(
            ("owner", words.owner),
            ("contact", words.contact),
            ("release", entry.id),
            ("is now", ", ".join(entry.marks) or "replaced, or never production"),
            ("committed", entry.time),
            ("production since", entry.promoted or "never"),
            ("cause", entry.cause or "not known"),
        ),
    )
    yield CardSection("Intended use", text=(words.intended_use,))
    yield CardSection("Limits", text=(words.limits,))
    yield _describe_data(subject)
    yield _describe_training(subject)
    yield _describe_metrics(subject)
    yield _describe_gates(subject)
    yield _describe_rehearsal(subject)
    yield _describe_rollout(subject)
    if since:
        yield _describe_drift(subject)
    yield _describe_lineage(subject)


def _unknown(subject: _Subject) -> str:
    return f"Not known: {subject.entry.run} left no record of it, or it is pruned."


def _describe_data(subject: _Subject) -> CardSection:
    run, spec = subject.run, subject.spec
    profile = _read_profile(subject.place.runs, subject.entry.run)
    facts: list[tuple[str, str]] = []
    if run is not None and (data := run.data) is not None:
        facts += [
            ("batches", describe_batches(data, run.production)),
            ("from", data.uri),
            ("size", f"{data.size:,} bytes"),
        ]
    if run is not None and run.heldout is not None:
        rows = run.rows or {}
        counted = f": {rows['all']} rows, {rows.get('recent', 0)} recent" if "all" in rows else ""
        facts.append(("held out", f"{run.heldout:.0%}{counted}"))
    facts += [("target", spec.data.target), ("digest", subject.entry.data_digest or "not known")]
    if profile is None:
        why = "no monitor of requests was fitted with this release, or it is pruned"
        return CardSection("Data", facts=tuple(facts), text=(f"Columns are not known: {why}.",))
    columns = tuple(_list_columns(profile, list_private(spec)))
    more = len(profile.columns) - len(columns) if not profile.arrays else 0
    table = CardTable(("column", "type", "values", "missing"), columns)
    text = (f"{more} further columns are left out.",) if more > 0 else ()
    return CardSection("Data", facts=tuple(facts), tables=(table,), text=text)


def _read_profile(place: RunPlace, run: str) -> TableProfile | None:
    """Return the profile of the training data with the most columns; None when there is none."""
    folder = place.bucket / release_key(run, "detectors")
    found: list[TableProfile] = []
    try:
        for stored in place.store.list_folder(folder):
            if stored.key.endswith(f"/{PROFILE_FILE}"):
                at = folder / folder.relative_key(stored.key)
                found.append(TableProfile.read(place.store.read_json(at)))
    except (MissingObjectError, PipelineError):
        return None
    rows = [profile for profile in found if profile.of == "rows"]
    return max(rows, key=lambda profile: len(profile.columns), default=None)


def _list_columns(
    profile: TableProfile, private: Collection[str]
) -> Iterator[tuple[str, str, str, str]]:
    """Yield the columns, without the values of private ones; the numbers of an array are one."""
    arrays = dict(profile.arrays)
    members: dict[str, list[ColumnProfile]] = {}
    plain = []
    for column in profile.columns:
        array = column.name.partition("[")[0]
        if array in arrays:
            members.setdefault(array, []).append(column)
        else:
            plain.append(column)
    for array, columns in members.items():
        lowest = min((each.quantiles[0] for each in columns if each.quantiles), default=None)
        highest = max((each.quantiles[-1] for each in columns if each.quantiles), default=None)
        values = "not known" if lowest is None else f"{lowest:.6g} to {highest:.6g}"
        missing = sum(each.missing for each in columns) / max(1, sum(each.rows for each in columns))
        values = HIDDEN if is_private(array, private) else values
        yield array, f"array of {arrays[array]} numbers", values, f"{missing:.2%}"
    for column in plain[:MOST_COLUMNS]:
        missing = column.missing / column.rows if column.rows else 0.0
        values = HIDDEN if is_private(column.name, private) else _describe_values(column)
        yield column.name, column.type, values, f"{missing:.2%}"


def _describe_values(column: ColumnProfile) -> str:
    if column.categories:
        most = sorted(column.categories, key=lambda pair: -pair[1])[:MOST_NAMED]
        named = ", ".join(f"{name} {count / max(1, column.present):.0%}" for name, count in most)
        more = len(column.categories) - len(most)
        return f"{named}, {more} more" if more else named
    if not column.quantiles:
        return f"{column.distinct} different"
    low, middle, high = (column.quantiles[n] for n in (0, len(column.quantiles) // 2, -1))
    unit = " characters" if column.type == "text" else ""
    return f"{low:.6g} to {high:.6g}{unit}, median {middle:.6g}"


def _describe_training(subject: _Subject) -> CardSection:
    run = subject.run
    if run is None or not (run.trials or run.parameters or run.code):
        return CardSection("Training", text=(_unknown(subject),))
    environment: Mapping[str, Any] = run.environment or {}
    facts = [
        ("function" if run.command is None else "command", run.code or "not known"),
        ("started by", describe_trigger(run.trigger)),
        ("started", run.started or "not known"),
        ("ended", run.finished or "not yet"),
        ("trials", str(len(run.trials))),
    ]
    if run.metric:
        facts.append(("search", f"{run.goal or 'maximize'} {run.metric}"))
    if "python" in environment:
        libraries = count_noun(len(environment.get("libraries") or {}), "package")
        facts.append(("environment", f"Python {environment['python']}, {libraries}"))
    parameters = tuple((name, _show(value)) for name, value in (run.parameters or {}).items())
    table = CardTable(("parameter", "value"), parameters)
    text = () if parameters else ("It has no parameters.",)
    return CardSection(
        "Training", facts=tuple(facts), tables=(table,) if parameters else (), text=text
    )


def _describe_metrics(subject: _Subject) -> CardSection:
    run, head = subject.run, ("rows", "metric", "this model", "production then")
    rows = []
    if run is not None and run.metrics is not None:
        theirs = run.metrics.production or {}
        for part, values in run.metrics.candidate.items():
            for name, value in (values or {}).items():
                before = (theirs.get(part) or {}).get(name)
                rows.append(
                    (part, name, _show(value), _show(before) if before is not None else "-")
                )
    else:
        rows = [("all", name, _show(value), "-") for name, value in subject.entry.metrics.items()]
    if not rows:
        return CardSection("Metrics", text=(_unknown(subject),))
    text = ["On held-out rows, which the training has not seen."]
    if run is not None and run.metrics is not None and run.metrics.not_comparable:
        text.append(f"Production is not comparable: {run.metrics.not_comparable}.")
    return CardSection("Metrics", tables=(CardTable(head, tuple(rows)),), text=tuple(text))


def _describe_gates(subject: _Subject) -> CardSection:
    run = subject.run
    if run is None or run.gates is None:
        return CardSection("Gates", text=(_unknown(subject),))
    if not run.gates.gates:
        return CardSection("Gates", text=("The spec asks for none.",))
    rows = tuple(
        (gate.metric, gate.on, "passed" if gate.passed else "FAILED", gate.reason)
        for gate in run.gates.gates
    )
    return CardSection("Gates", tables=(CardTable(("metric", "rows", "result", "why"), rows),))


def _describe_rehearsal(subject: _Subject) -> CardSection:
    rehearsal = subject.run.rehearsal if subject.run is not None else None
    if rehearsal is None:
        text = "It was not rehearsed, or there is no record of it."
        return CardSection("Rehearsal", text=(text,))
    facts = [
        ("result", "passed" if rehearsal.passed else "refused"),
        ("answered", f"{rehearsal.answered} of {rehearsal.rows} held-out rows, by its own server"),
    ]
    if rehearsal.start is not None:
        facts.append(("loaded in", f"{rehearsal.start:.1f} s"))
    if rehearsal.p99 is not None:
        facts.append(("p99", f"{rehearsal.p99 * 1000:.0f} ms"))
    if rehearsal.agreement is not None:
        facts.append(
            ("agreed with production", f"{rehearsal.agreement:.1%} of {rehearsal.compared} rows")
        )
    if rehearsal.accuracy is not None:
        facts.append(("right answers", f"{rehearsal.accuracy:.1%} of the recent rows"))
    return CardSection("Rehearsal", facts=tuple(facts), text=(*rehearsal.reasons, *rehearsal.notes))


def _describe_rollout(subject: _Subject) -> CardSection:
    place, entry = subject.place, subject.entry
    path = release_path(subject.pipeline)
    commits = place.repository.history(place.tip, path, MOST_COMMITS) if place.tip else ()
    rows = tuple(
        (_format_time(commit.at), commit.commit.subject, commit.author, commit.commit.sha[:12])
        for commit in reversed(commits)
        if commit.trailers.get("Driftloop-Release") == entry.id
    )
    end = f"{entry.outcome}: {entry.reason}" if entry.outcome is not None else "it goes on"
    facts = [("outcome", end)]
    if entry.taken_back is not None:
        facts.append(("taken back", entry.taken_back))
    table = CardTable(("time", "commit", "by", "id"), rows)
    return CardSection("Rollout", facts=tuple(facts), tables=(table,))


def _describe_drift(subject: _Subject) -> CardSection:
    place, release = subject.place, subject.entry.id
    text, tables = [], []
    if place.nats_url is None:
        text.append("Verdicts can't be read from where this was written.")
    else:
        try:
            story = story_windows.read_story(
                place.nats_url, subject.release.namespace, subject.pipeline, None, release
            )
            rows = tuple(
                (
                    name,
                    str(len(records)),
                    str(sum(each.alarm for each in records)),
                    records[-1].time or "-",
                )
                for name, records in story.windows.items()
            )
            if rows:
                tables.append(CardTable(("monitor", "windows", "alarms", "last window"), rows))
            else:
                text.append("No window of its traffic is judged, or none is kept any more.")
        except PipelineError as error:
            text.append(f"Verdicts can't be read: {error.message}.")
    wanted = RunFilter(subject.pipeline, triggers=("alarm",))
    caused = tuple(
        (report.started or "-", report.run, report.alarm.monitor, report.cause)
        for each in list_runs(place.runs, wanted, MOST_RUNS)
        if (report := each.report).alarm is not None and report.alarm.release == release
    )
    if caused:
        tables.append(CardTable(("time", "run that an alarm started", "monitor", "cause"), caused))
    else:
        text.append("No alarm about its traffic has started a run.")
    return CardSection("Drift since", tables=tuple(tables), text=tuple(text))


def _describe_lineage(subject: _Subject) -> CardSection:
    entry, run = subject.entry, subject.run
    facts = [
        ("run", entry.run),
        ("model", entry.model_digest),
        ("data", entry.data_digest),
        ("recipe", entry.recipe_digest or "not known"),
        ("commit of the release", entry.commit),
        ("signature", "signed" if entry.signed else "not signed"),
    ]
    if run is not None:
        digests = run.digests
        facts += [
            ("code", digests.code or "not known"),
            ("revision of the code", digests.revision or "not a repository, or not known"),
            ("commit of the spec", run.commit or "not known"),
            ("production when it was trained", run.production or "none"),
        ]
        images = dict.fromkeys((digests.images or {}).values())
        facts += [("image", image) for image in images]
    return CardSection("Lineage", facts=tuple(facts))


def _show(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _format_time(at: float) -> str:
    return format_time(datetime.fromtimestamp(at, UTC))
