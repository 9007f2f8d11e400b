"""Trace one request, by its id: where it was answered, by which release, and what that comes of."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from driftloop.contract.captures import (
    LATENCY,
    RELEASE_KEY,
    ROLE,
    ROW,
    STATUS,
    TIME,
    TRAFFIC,
    traffic_key,
)
from driftloop.contract.streams import DetectorStreams
from driftloop.contract.trees import release_path, spec_path
from driftloop.errors import PipelineError, StoreError
from driftloop.local.kubelet.images import LocalImage
from driftloop.operations.commits import releases
from driftloop.operations.commits.release_history import read_release
from driftloop.operations.traces.kept_requests import (
    KeptEvent,
    KeptRequest,
    find_request,
    to_moment,
)
from driftloop.operations.traces.traces import Trace, TraceLink, TracePlace, trace_back
from driftloop.operations.traces.traffic import (
    TrafficChoice,
    TrafficFolder,
    export_traffic,
    list_files,
)
from driftloop.release.record import Release
from driftloop.spec import load_spec

MOST_COMMITS = 2000
"""Commits of release.yaml that are looked through for the one that a request was answered under."""


@dataclass(frozen=True)
class TrafficReader:
    """Reader of recorded traffic: its files are Parquet, which the command line has no library for."""

    make_image: Callable[[], LocalImage]
    work: Path
    """An empty folder."""


@dataclass(frozen=True)
class _Search:
    """Search for a request in one pipeline."""

    pipeline: str
    kept: KeptRequest
    recorded: tuple[dict[str, Any], ...] = ()
    """Rows of it in the recorded traffic."""
    days: tuple[str, ...] = ()
    """Days of the recorded traffic that is kept, the oldest first."""


def trace_request(
    place: TracePlace, id: str, reader: TrafficReader, pipeline: str | None = None
) -> Trace:
    """Trace a request of one pipeline, or of any, removed ones with recorded traffic among them; StoreError says what is
    kept, and since when, when it is not among it."""
    present = place.list_pipelines()
    names = (pipeline,) if pipeline is not None else _list_keeping(place, present)
    searches, notes = [], []
    for name in names:
        search = _Search(name, KeptRequest((), {}))
        if name in present:
            try:
                search = replace(search, kept=_search_streams(place, name, id))
            except PipelineError as error:
                notes.append(f"the streams of {name} can't be searched: {error.message}")
        try:
            search = _search_recorded(place, search, id, reader)
        except PipelineError as error:
            notes.append(f"the recorded traffic of {name} can't be searched: {error.message}")
        searches.append(search)
    found = [search for search in searches if search.kept.events or search.recorded]
    if not found:
        raise StoreError(
            f"request `{id}` is not kept: {_describe_kept(searches) or 'no pipeline keeps any'}"
            + "".join(f"; {note}" for note in notes),
            hint="the id is the answer's header `seldon-puid`; `capture` in the spec records requests, "
            "and without it they are kept until a monitor has judged them",
        )
    links: list[TraceLink] = []
    for search in found:
        links += _link_rows(search, id) if search.recorded else _link_events(place, search, id)
        recorded = (str(row.get(RELEASE_KEY)) for row in search.recorded)
        streamed = (event.release for event in search.kept.events)
        for release in dict.fromkeys((*recorded, *streamed)):
            try:
                trace = trace_back(place, release)
            except PipelineError as error:
                notes.append(error.message)
                continue
            links += trace.links
            notes += trace.notes
    return Trace("request", id, tuple(links), (), tuple(dict.fromkeys(notes)))


def _list_keeping(place: TracePlace, present: tuple[str, ...]) -> tuple[str, ...]:
    """Return the pipelines that may keep a request: those there are, and removed ones whose recorded traffic is left."""
    try:
        recorded = place.runs.store.list_folders(place.runs.bucket / TRAFFIC)
    except StoreError:
        # it is said of each pipeline when its own is searched
        return present
    return tuple(dict.fromkeys((*present, *recorded)))


def _search_recorded(place: TracePlace, search: _Search, id: str, reader: TrafficReader) -> _Search:
    """Look for a request in the recorded traffic, the newest day first."""
    folder = TrafficFolder(place.runs.store, place.runs.bucket / traffic_key(search.pipeline))
    days = sorted({file.part.day for file in list_files(folder, TrafficChoice())})
    search = replace(search, days=tuple(days))
    for number, day in enumerate(reversed(days)):
        work = reader.work / f"{search.pipeline}-{number}"
        work.mkdir()
        written = work / "rows.jsonl"
        choice = TrafficChoice(day=day, request=id)
        image = reader.make_image()
        try:
            if export_traffic(folder, choice, image, work, form="jsonl", out=written):
                rows = map(json.loads, written.read_text().splitlines())
                return replace(search, recorded=tuple(rows))
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return search


def _link_rows(search: _Search, id: str) -> Iterator[TraceLink]:
    """Yield the request and its answer, by release, as the recorder has written them: rows that came together are one link."""
    together: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in search.recorded:
        key = (str(row.get(RELEASE_KEY)), str(row.get(ROLE)), str(row.get(TIME)))
        together.setdefault(key, []).append(row)
    for (release, role, time), rows in together.items():
        known = [{k: v for k, v in row.items() if v is not None} for row in rows]
        details: dict[str, Any] = known[0] if len(rows) == 1 else {"rows": known}
        asked = f"{time}, of {search.pipeline}, {_name_rows(rows)}, {release} was {role}"
        yield TraceLink(
            "request", id, f"{asked}, recorded", {**details, "pipeline": search.pipeline}
        )
        if (status := rows[0].get(STATUS)) is not None:
            latency = rows[0].get(LATENCY)
            took = f" after {latency:.1f} ms" if isinstance(latency, int | float) else ""
            yield TraceLink("answer", id, f"status {status}{took}, of {release}")


def _name_rows(rows: list[dict[str, Any]]) -> str:
    places = [row.get(ROW) for row in rows]
    return f"row {places[0]}" if len(rows) == 1 else f"rows {places[0]} to {places[-1]}"


def _search_streams(place: TracePlace, pipeline: str, id: str) -> KeptRequest:
    if place.nats_url is None:
        raise StoreError("NATS is not reachable from here")
    committed = releases.read_pipeline(place.repository.tree(place.tip), pipeline)
    spec = load_spec(committed.spec, path=spec_path(pipeline)).spec
    namespace = committed.release.namespace
    monitors = [DetectorStreams(namespace, pipeline, name, "") for name in spec.monitors or {}]
    return find_request(place.nats_url, id, monitors)


def _link_events(place: TracePlace, search: _Search, id: str) -> Iterator[TraceLink]:
    """Yield each side once for each release, from the first stream that has it."""
    shown: set[tuple[str, str]] = set()
    for event in search.kept.events:
        key = (event.side, event.release)
        if key in shown:
            continue
        shown.add(key)
        role = find_role(place, search.pipeline, event)
        kind = "answer" if event.side == "response" else "request"
        text = f"{event.time}, of {search.pipeline}, {event.release} was {role}, kept for monitor {event.keeper}"
        details = {
            "pipeline": search.pipeline,
            "release": event.release,
            "role": role,
            "time": event.time,
        }
        yield TraceLink(kind, id, text, details)


def find_role(place: TracePlace, pipeline: str, event: KeptEvent) -> str:
    """Return what a release was when an event came, by git's history: the commit may have been applied
    some seconds later."""
    path = release_path(pipeline)
    commits = place.repository.history(place.tip, path, MOST_COMMITS) if place.tip else ()
    moment = to_moment(event.time)
    commit = next((each.commit.sha for each in commits if each.at <= moment), None)
    if commit is None:
        return "not known"
    return _name_role(read_release(place.repository, commit, pipeline), event.release)


def _name_role(release: Release | None, id: str) -> str:
    if release is None:
        return "not known"
    if release.production is not None and release.production.id == id:
        return "production"
    if release.candidate is not None and release.candidate.id == id:
        return "candidate" if release.phase == "canary" else "in shadow"
    return "neither production nor candidate"


def _describe_kept(searches: list[_Search]) -> str:
    parts = []
    for search in searches:
        name = search.pipeline
        if search.days:
            parts.append(f"recorded traffic of {name} is kept since {search.days[0]}")
        kept = search.kept.since.items()
        parts += [f"monitor {monitor} of {name} keeps what came since {t}" for monitor, t in kept]
        if not search.days and not kept:
            parts.append(f"nothing keeps any of {name} now")
    return "; ".join(parts)
