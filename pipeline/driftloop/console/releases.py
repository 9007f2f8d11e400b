"""Pages of releases, and of what anything comes of: releases, commits, requests."""

import json
import re
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from driftloop.console.answers import (
    UnknownThingError,
    answer_page,
    get_console,
    look,
    offer_actions,
    require_pipeline,
    within,
)
from driftloop.console.snapshot import Snapshot
from driftloop.console.source import WeighedCommit
from driftloop.console.templating import group_rows, render_page
from driftloop.console.views.places import HOME
from driftloop.console.views.runs import ComparedRow, compare
from driftloop.operations.commits.release_history import ReleaseEntry
from driftloop.operations.traces.traces import TRACE_KINDS

TRACE_LIMIT = 90.0
"""Seconds that a trace may take: recorded traffic is looked through day by day."""
CARD_LIMIT, CARD_KEPT = 30.0, 30.0
"""Seconds that a card may take, and that it is kept."""
MOST_LINKS = 200
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+=-]{0,299}")
_WORDS = {
    "request": "request",
    "release": "release",
    "run": "run",
    "commit": "commit",
    "batch": "batch",
}


async def show_releases(request: Request) -> Response:
    """The releases of a pipeline."""
    snapshot, name = await require_pipeline(request)
    committed = snapshot.find_committed(name)
    return answer_page(
        request, "releases.html", snapshot, title=f"Releases of {name}", pipeline=name, tab="releases",
        entries=committed.releases if committed is not None else (),
        actions=offer_actions(request, snapshot, name), jobs_here=get_console(request).runner.list_jobs(name)[:5],
    )  # fmt: skip


async def show_release(request: Request) -> Response:
    """One release: what it is, its commits, what it comes of."""
    snapshot, name = await require_pipeline(request)
    id, committed = request.path_params["release"], snapshot.find_committed(name)
    entries = committed.releases if committed is not None else ()
    own = [each.id for each in entries]
    if id not in own or committed is None:
        listed = ", ".join(own) or "none"
        raise UnknownThingError(f"there is no release `{id}` of {name}, there are: {listed}")
    place = own.index(id)
    earlier = entries[place + 1] if place + 1 < len(entries) else None
    commits = [
        each for each in committed.commits if each.logged.trailers.get("Driftloop-Release") == id
    ]
    return answer_page(
        request, "release.html", snapshot, title=f"{id} of {name}", pipeline=name, tab="releases",
        entry=entries[place], before=earlier.id if earlier is not None else None,
        run_before=earlier.run if earlier is not None else None, commits=commits,
        changes=_list_changes(snapshot, entries[place], earlier),
        undo=find_undo(commits), jobs_here=get_console(request).runner.list_jobs(name)[:5],
    )  # fmt: skip


def _list_changes(
    snapshot: Snapshot, entry: ReleaseEntry, earlier: ReleaseEntry | None
) -> list[tuple[str, list[ComparedRow]]]:
    """Return by section in which values the run of a release differs from that of the one before."""
    if earlier is None:
        return []
    runs = [run for each in (earlier, entry) if (run := snapshot.find_run(each.run)) is not None]
    rows = compare(runs) if len(runs) == 2 else ()
    return group_rows(row for row in rows if row.differs)


async def show_card(request: Request) -> Response:
    """The model card of a release, as a part of its page."""
    snapshot, name = await require_pipeline(request)
    id, console = request.path_params["release"], get_console(request)
    if snapshot.find_committed(name) is None or not _ID.fullmatch(id):
        raise UnknownThingError(f"there is no release `{id}` of {name}")
    asked = console.collector.share(
        ("card", name, id), lambda: console.source.read_card(name, id), seconds=CARD_KEPT
    )
    card, trouble = await within(
        asked, "the card is still being read: load the page again", CARD_LIMIT
    )
    return HTMLResponse(render_page("card-part.html", card=card, trouble=trouble))


def find_undo(commits: list[WeighedCommit]) -> str | None:
    """Return the commit that made a release production, which a revert takes back; None without one."""
    for each in commits:
        if each.logged.trailers.get("Driftloop-Outcome") == "released":
            return each.logged.commit.sha
    return None


async def show_commit(request: Request) -> Response:
    """A commit: what it says of itself, and where it comes from."""
    snapshot, sha = await look(request), request.path_params["sha"]
    found = [
        each
        for committed in snapshot.repository.pipelines.values()
        for each in committed.commits
        if each.logged.commit.sha.startswith(sha)
    ]
    if not re.fullmatch(r"[0-9a-f]{7,40}", sha):
        raise UnknownThingError(f"`{sha}` is not a commit")
    return answer_page(
        request, "commit.html", snapshot, title=f"Commit {sha[:10]}", sha=sha,
        commit=found[0] if found else None,
    )  # fmt: skip


async def show_requests(request: Request) -> Response:
    """Find one request, or anything else, by its id."""
    snapshot, query = await look(request), request.query_params
    kind, of = query.get("kind", "request"), query.get("pipeline", "")
    return answer_page(
        request, "requests.html", snapshot, title="Find a request", section="requests",
        id=query.get("id", "").strip()[:300], kind=kind if kind in TRACE_KINDS else "request",
        of=of if snapshot.has_pipeline(of) else "", names=snapshot.names, kinds=tuple(_WORDS.items()),
    )  # fmt: skip


async def show_trace(request: Request) -> Response:
    """Show the trace of a thing as a part of another page: `driftloop trace` looks for it."""
    snapshot, query = await look(request), request.query_params
    id, kind, of = query.get("id", ""), query.get("kind", ""), query.get("pipeline", "")
    if kind not in TRACE_KINDS or not _ID.fullmatch(id) or (of and not snapshot.has_pipeline(of)):
        return _answer_trace(trouble=f"`{id}` is not an id that can be traced")
    console = get_console(request)
    if console.state is None:
        return _answer_trace(
            trouble="the console traces nothing in a cluster: `driftloop trace` does"
        )
    arguments = ["trace", f"--as={kind}", "--output=json", *([f"--pipeline={of}"] if of else ())]
    result = await console.runner.run_command([*arguments, id], limit=TRACE_LIMIT)
    if result.code:
        return _answer_trace(trouble=result.refusal)
    trace = json.loads(result.output)
    return _answer_trace(
        links=_add_places(snapshot, trace["links"]),
        ahead=_add_places(snapshot, trace["leadsTo"]),
        notes=trace["notes"],
    )


def _answer_trace(**values: Any) -> Response:
    given: dict[str, Any] = {"trouble": "", "links": (), "ahead": (), "notes": (), **values}
    return HTMLResponse(render_page("trace.html", **given))


def _add_places(snapshot: Snapshot, links: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**link, "href": _find_place(snapshot, link)} for link in links[:MOST_LINKS]]


def _find_place(snapshot: Snapshot, link: dict[str, Any]) -> str:
    """Return the page of a thing; empty for one that has none."""
    id = str(link["id"])
    match link["kind"]:
        case "run":
            return f"/runs/{id}" if snapshot.find_run(id) is not None else ""
        case "commit":
            return f"/commits/{id}" if re.fullmatch(r"[0-9a-f]{7,40}", id) else ""
        case "release":
            for name, committed in snapshot.repository.pipelines.items():
                if any(each.id == id for each in committed.releases):
                    return f"{HOME}/{name}/releases/{id}"
    return ""
