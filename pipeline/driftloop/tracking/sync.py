"""Bring a tracking server up to date: runs that wait, then aliases."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from driftloop.clients.mlflow import MlflowRefusedError
from driftloop.contract.documents import LONGEST_FILE, DocumentError, parse_json
from driftloop.contract.runs import RunReport
from driftloop.contract.tracking import ALIASES
from driftloop.contract.trees import RUN_FILE, release_key
from driftloop.tracking.entries import is_tracked
from driftloop.tracking.mirror import TrackingServer, list_releases, send_run
from driftloop.tracking.outbox import TrackingBox
from driftloop.tracking.roles import RoleVersion

Report = Callable[[str], None]


@dataclass(frozen=True)
class SyncResult:
    """Result of one look."""

    sent: tuple[str, ...]
    """Runs that the server has now as they are stored."""
    problems: tuple[str, ...]
    """Runs or aliases that it does not have, and why."""
    aliases: tuple[str, ...] = ()
    """Aliases that were moved or removed, in words."""


def send_waiting(
    box: TrackingBox, server: TrackingServer, *, go_on: Callable[[], bool] = lambda: True
) -> SyncResult:
    """Send the runs that wait. One that the server refuses does not keep up the others;
    MlflowUnreachableError, after which the rest still waits. `go_on` is asked before each."""
    sent, problems = [], []
    for run, keys in box.list_waiting().items():
        if not go_on():
            break
        try:
            send_stored(box, server, run)
        except (MlflowRefusedError, DocumentError) as error:
            problems.append(f"{run}: {error.message}")
            continue
        box.remove(keys)
        sent.append(run)
    return SyncResult(tuple(sent), tuple(problems))


def send_stored(box: TrackingBox, server: TrackingServer, run: str) -> bool:
    """Send a run as it is stored; False when there is nothing to send. MlflowError, and
    DocumentError when its run.json can't be read."""
    content = box.read_report(run)
    if content is None:
        return False
    report = RunReport.read(parse_json(content, label=RUN_FILE, longest=LONGEST_FILE))
    return send_report(box, server, report, content)


def send_report(
    box: TrackingBox, server: TrackingServer, report: RunReport, content: bytes
) -> bool:
    """Send a run whose record is `report`; False for one that never began."""
    if not is_tracked(report):
        return False
    model = str(box.bucket / release_key(report.run, "model"))
    files = {RUN_FILE: content, **box.read_cards(report.run)}
    box.write_tracked(report.run, send_run(server, report, model, files))
    return True


def send_aliases(
    box: TrackingBox, server: TrackingServer, roles: Mapping[str, RoleVersion]
) -> SyncResult:
    """Make the aliases of the registered model say which versions have which role; a version that the
    server does not have is sent first. MlflowError."""
    wanted: dict[str, int] = {}
    problems = []
    known = list_releases(server)
    for role, version in roles.items():
        if version.release not in known and send_stored(box, server, version.run):
            known = list_releases(server)
        found = known.get(version.release)
        if found is None:
            problems.append(
                f"{role} is {version.release}, of which the server has no version: "
                f"{version.run} left no run.json with a model"
            )
            continue
        wanted[role] = found.number
    present = server.client.read_aliases(server.name) or {}
    moved = []
    for alias in ALIASES:
        number = wanted.get(alias)
        if number is not None and present.get(alias) != number:
            server.client.set_alias(server.name, alias, number)
            moved.append(f"{alias} is version {number}")
        elif number is None and alias in present:
            server.client.delete_alias(server.name, alias)
            moved.append(f"{alias} is none")
    return SyncResult((), tuple(problems), tuple(moved))


def join_results(results: Iterable[SyncResult]) -> SyncResult:
    """Return several results as one."""
    found = tuple(results)
    return SyncResult(
        tuple(run for result in found for run in result.sent),
        tuple(problem for result in found for problem in result.problems),
        tuple(alias for result in found for alias in result.aliases),
    )
