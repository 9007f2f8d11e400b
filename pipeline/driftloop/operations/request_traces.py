"""Trace one request, by its id: where it was answered, by which release, and what that comes of."""

from collections.abc import Iterator
from dataclasses import dataclass

from driftloop.contract.streams import DetectorStreams
from driftloop.contract.trees import release_path, spec_path
from driftloop.errors import PipelineError, StoreError
from driftloop.operations import releases
from driftloop.operations.kept_requests import KeptEvent, KeptRequest, find_request, to_moment
from driftloop.operations.traces import Trace, TraceLink, TracePlace, trace_release
from driftloop.release import record
from driftloop.release.record import Release
from driftloop.spec import load_spec

MOST_COMMITS = 2000
"""Commits of release.yaml that are looked through for the one that a request was answered under."""


@dataclass(frozen=True)
class _Search:
    """What one pipeline keeps of a request."""

    pipeline: str
    kept: KeptRequest


def trace_request(place: TracePlace, id: str, pipeline: str | None = None) -> Trace:
    """Trace a request of one pipeline, or of any; StoreError says what is kept, and since when, when it
    is not among it."""
    names = (pipeline,) if pipeline is not None else place.list_pipelines()
    searches, notes = [], []
    for name in names:
        try:
            searches.append(_search_streams(place, name, id))
        except PipelineError as error:
            notes.append(f"the requests of {name} can't be searched: {error.message}")
    found = [search for search in searches if search.kept.events]
    if not found:
        raise StoreError(
            f"request `{id}` is not kept: {_describe_kept(searches) or 'no pipeline keeps any'}"
            + "".join(f"; {note}" for note in notes),
            hint="the id is the answer's header `seldon-puid`; it is kept as long as a monitor has not judged it",
        )
    links: list[TraceLink] = []
    for search in found:
        links += _link_events(place, search, id)
        for release in dict.fromkeys(event.release for event in search.kept.events):
            try:
                trace = trace_release(place, release)
            except PipelineError as error:
                notes.append(error.message)
                continue
            links += trace.links
            notes += trace.notes
    return Trace("request", id, tuple(links), (), tuple(dict.fromkeys(notes)))


def _search_streams(place: TracePlace, pipeline: str, id: str) -> _Search:
    if place.nats_url is None:
        raise StoreError("NATS is not reachable from here")
    committed = releases.read_pipeline(place.repository.tree(place.tip), pipeline)
    spec = load_spec(committed.spec, path=spec_path(pipeline)).spec
    namespace = committed.release.namespace
    monitors = [DetectorStreams(namespace, pipeline, name, "") for name in spec.monitors or {}]
    return _Search(pipeline, find_request(place.nats_url, id, monitors))


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
    for commit in commits:
        if commit.at > moment:
            continue
        text = place.repository.tree(commit.commit.sha).get(path)
        try:
            release = record.load_release(text, path=path) if text else None
        except PipelineError:
            return "not known"
        return _name_role(release, event.release)
    return "not known"


def _name_role(release: Release | None, id: str) -> str:
    if release is None:
        return "not known"
    if release.production is not None and release.production.id == id:
        return "production"
    if release.candidate is not None and release.candidate.id == id:
        return "candidate" if release.phase == "canary" else "in shadow"
    return "neither production nor candidate"


def _describe_kept(searches: list[_Search]) -> str:
    parts = [
        f"monitor {monitor} of {search.pipeline} keeps what came since {since}"
        for search in searches
        for monitor, since in search.kept.since.items()
    ]
    empty = [search.pipeline for search in searches if not search.kept.since]
    return "; ".join((*parts, *(f"no monitor of {name} keeps any now" for name in empty)))
