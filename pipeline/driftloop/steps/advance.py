"""`driftloop step advance`: one step of a rollout: commit it, wait until it runs, judge it on real traffic.

The release in git says at every moment how far the walk is, so a step that is started again finds what it did. Whoever
else changes phase or candidate there takes the release out of the walk's hands, and the walk stops.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import click

from driftloop.contract.names import Names
from driftloop.contract.trees import release_path
from driftloop.errors import GitError, StepError
from driftloop.git.repository import Commit, Repository
from driftloop.operations import applied
from driftloop.operations import releases as pipelines
from driftloop.operations.applied import Applied
from driftloop.operations.releases import Message, Moved
from driftloop.release import judgement, record
from driftloop.release.judgement import Fail, Limits, Measured, Pass, Verdict
from driftloop.release.record import Release, Version
from driftloop.steps import options
from driftloop.steps.settings import Settings

POLL = 1.0
"""Seconds between two questions to the judge."""
LOOK = 3.0
"""Seconds between two looks at the repository."""


@click.command()
@options.pipeline
@options.namespace
@options.run
@click.option("--release", required=True, help="Release id of the candidate.")
@click.option("--to", required=True, metavar="shadow|PERCENT|promote", help="Where this step goes.")
@click.option("--limits", default="{}", help="What the judge asks for (JSON).")
@click.option("--timeout", default=86_400.0, show_default=True, help="Seconds after which the candidate is rejected.")
def command(*, pipeline: str, namespace: str, run: str, release: str, to: str, limits: str, timeout: float) -> None:
    """Move the rollout one step: commit, wait until applied, judge. A failed judgement commits `reject`."""
    settings = Settings.here()
    walk = Walk(Names(pipeline, namespace), run, release, settings.repository())
    asked = _limits(limits)
    deadline = time.monotonic() + timeout
    try:
        commit = walk.step(to)
        if commit is None:
            return
        look = Applied(settings.kubernetes, walk.repository, walk.names)
        walk.wait_until_applied(look, commit, deadline)
        if to != "promote":
            walk.wait_until_judged(asked, deadline)
    except RejectedError as error:
        walk.reject(error)
        raise


class RejectedError(StepError):
    """The candidate may not go on; `reasons` go into the commit that takes it out."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__(f"the candidate is rejected: {'; '.join(reasons)}", hint="production is as it was before")
        self.reasons = reasons


@dataclass
class Walk:
    """One candidate's way through the rollout."""

    names: Names
    run: str
    release: str
    repository: Repository
    looked: float = 0.0
    """When git was last asked whether the release is still the walk's own."""

    def step(self, to: str) -> str | None:
        """Commit the step; the commit to wait for, or None when the candidate is production already."""
        percent = int(to) if to.isdecimal() else None
        if percent is None and to not in ("shadow", "promote"):
            raise StepError(f"--to is `{to}`, must be `shadow`, a percentage or `promote`")
        standing = self._mine().production
        seen = Judge(self.names.judge_url, standing.id, self.release).last() if standing is not None else ""

        def move(release: Release) -> Release:
            if self._won(release):
                return release
            self._candidate(release)
            if to == "shadow":
                return release
            return record.promote(release) if percent is None else record.canary(release, percent)

        moved = pipelines.move(self.repository, self.names.pipeline, move, self._message(seen))
        if moved.release.candidate is None and to != "promote":
            options.say(f"{self.release} is production already")
            return None
        commit = moved.commit.sha if moved.commit is not None else self._last(moved)
        options.say(f"{self.release}: {to}, commit {commit}")
        return commit

    def wait_until_applied(self, look: Applied, commit: str, deadline: float) -> None:
        """Until what was committed runs; RejectedError when it never does."""

        def missing() -> str:
            self._look()
            return look.missing(commit, releases=(self.release,))

        try:
            for reason in applied.wait(missing, seconds=max(0.0, deadline - time.monotonic()), what=commit[:12]):
                options.say(f"waiting: {reason}")
        except InterferenceError:
            raise
        except StepError as error:
            if self._won(self._mine()):
                raise
            raise RejectedError((error.message,)) from error

    def wait_until_judged(self, limits: Limits, deadline: float) -> None:
        """Until the judge's numbers pass; RejectedError when they fail, or too little traffic came for too long."""
        release = self._mine()
        if self._won(release):
            return
        production = release.production
        if production is None:
            raise StepError(f"`{self.names.pipeline}` has no production to compare with")
        judge = Judge(self.names.judge_url, production.id, self.release)
        limits = limits.expecting(self._candidate(release).recent, production.id)
        if limits.auto is not None and limits.agreement is None:
            options.say(f"agreement is not judged: no `{limits.auto}` of both on recent rows is in release.yaml")
        last: Verdict | None = None
        since: float | None = None
        while True:
            verdict, since = judge.ask(limits, since)
            if verdict is not None and verdict != last:
                options.say(f"{type(verdict).__name__.lower()}: {'; '.join(verdict.reasons)}")
                last = verdict
            if isinstance(verdict, Fail):
                raise RejectedError(verdict.reasons)
            if isinstance(verdict, Pass):
                return
            if time.monotonic() > deadline:
                said = last.reasons if last is not None else ("the judge never answered",)
                raise RejectedError(("out of time", *said))
            time.sleep(POLL)
            release = self._look() or release
            if self._won(release):
                return

    def reject(self, error: RejectedError) -> None:
        """Commit that production has all traffic again, unless the release is in other hands by now."""
        self._mine()

        def move(release: Release) -> Release:
            self._candidate(release)
            return record.reject(release)

        def message(before: Release, after: Release) -> Message:
            subject = f"Reject {self.release} of {self.names.pipeline}"
            return Message(subject, self._candidate(before), self._cause(), "\n".join(error.reasons))

        pipelines.move(self.repository, self.names.pipeline, move, message)

    def _mine(self) -> Release:
        """The release at the tip; InterferenceError when somebody else has taken it out of the walk's hands."""
        tip = self.repository.tip()
        if tip is None:
            raise StepError(f"{self.repository.url} is empty")
        foreign = pipelines.interference(self.repository, tip, self.names.pipeline, self.run)
        release = pipelines.read(self.repository.tree(tip), self.names.pipeline).release
        if self._won(release):
            return release
        if foreign is None and (release.candidate is None or release.candidate.id != self.release):
            # a person's promote or rollback carries this run's trailer too
            foreign = self.repository.last_touching(tip, release_path(self.names.pipeline))
        if foreign is not None:
            raise InterferenceError(self.release, foreign)
        return release

    def _look(self) -> Release | None:
        """`_mine` every few seconds; a repository that can't be reached right now is asked again later."""
        if time.monotonic() - self.looked < LOOK:
            return None
        self.looked = time.monotonic()
        try:
            return self._mine()
        except GitError as error:
            options.say(f"waiting: {error.message}")
            return None

    def _won(self, release: Release) -> bool:
        return release.production is not None and release.production.id == self.release

    def _candidate(self, release: Release) -> Version:
        if release.candidate is None or release.candidate.id != self.release:
            raise StepError(
                f"{self.release} is no longer the candidate of {self.names.pipeline}",
                hint="somebody else moved the release; `git log` of release.yaml says who",
            )
        return release.candidate

    def _last(self, moved: Moved) -> str:
        """Nothing to commit: the step was done before, and its commit is the last that touched the release."""
        tip = self.repository.tip()
        found = self.repository.last_touching(tip, release_path(moved.release.name)) if tip else None
        if found is None:
            raise StepError(f"release.yaml of {moved.release.name} is in no commit")
        return found.sha

    def _message(self, seen: str) -> Callable[[Release, Release], Message]:
        body = f"In the step before: {seen}." if seen else ""

        def message(before: Release, after: Release) -> Message:
            version = self._candidate(before)
            name = self.names.pipeline
            promoted = after.phase == "stable"
            subject = f"Promote {version.id}" if promoted else f"Send {after.weights[version.id]} % to {version.id}"
            return Message(f"{subject} of {name}", version, self._cause(), body)

        return message

    def _cause(self) -> str:
        tip = self.repository.tip()
        found = self.repository.find(tip, "Driftloop-Run", self.run) if tip is not None else None
        return found.trailers.get("Driftloop-Cause", "") if found is not None else ""


class InterferenceError(StepError):
    """Somebody else moved the release; the walk leaves it as it is."""

    def __init__(self, release: str, commit: Commit) -> None:
        super().__init__(
            f"{release} is out of this walk's hands since {commit.sha[:12]} ({commit.subject})",
            hint="nothing is changed; `driftloop promote` or `driftloop rollback` ends a rollout by hand",
        )


@dataclass(frozen=True)
class Judge:
    """The judge service's numbers about two releases."""

    url: str
    production: str
    candidate: str

    def ask(self, limits: Limits, since: float | None) -> tuple[Verdict | None, float | None]:
        """The verdict on what happened since then (by the judge's clock); without `since` only its time is taken.

        None when the judge does not answer: it may be restarting.
        """
        said = self._ask({} if since is None else {"since": repr(since)})
        if said is None:
            return None, since
        if since is None:
            return None, float(said["now"])
        return judgement.judge(Measured.from_json(said), limits), since

    def last(self) -> str:
        """The numbers it gave last, in words; empty when it does not answer or has given none."""
        said = (self._ask({}) or {}).get("last")
        return Measured.from_json(said).said if said else ""

    def _ask(self, more: dict[str, str]) -> dict[str, Any] | None:
        question = {"production": self.production, "candidate": self.candidate, **more}
        try:
            with urlopen(f"{self.url}/judgement?{urlencode(question)}", timeout=10) as answer:  # noqa: S310
                said: dict[str, Any] = json.load(answer)
        except HTTPError as error:
            if error.code < 500 and error.code != 404:
                raise StepError(f"the judge answered {error.code}: {error.read(200)!r}") from error
            return None
        except (URLError, OSError, ValueError):
            return None
        return said


def _limits(text: str) -> Limits:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise StepError(f"--limits can't be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise StepError(f"--limits is a {type(value).__name__}, must be an object")
    return Limits.from_json(value)
