"""Actions: what is asked, what is run, and what is refused."""

import asyncio
import re
import time

import pytest
from starlette.testclient import TestClient
from support.console_world import HOSTILE, StoredSource, keep
from support.stored_runs import Shelf

from driftloop.console.actions import ACTIONS, find_action, list_offers
from driftloop.console.answers import Console
from driftloop.console.jobs import CommandResult
from driftloop.errors import PipelineError
from tests.console.conftest import RUNS

PIPELINE = "/pipelines/digits"

pytestmark = pytest.mark.timeout(600)


def finish(owner: TestClient, place: str, within: float = 120.0) -> str:
    """The page of a job once its command has ended."""
    deadline = time.monotonic() + within
    while "The command is at work" in (text := owner.get(place).text):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return text


def confirm(owner: TestClient, console: Console, action: str, **fields: str) -> str:
    """The page of an action that somebody has confirmed, once it has ended."""
    data = {"token": console.key.form_token, **fields}
    answer = owner.post(f"{PIPELINE}/act/{action}", data=data)
    assert answer.status_code == 303, answer.text
    return finish(owner, answer.headers["location"])


@pytest.mark.parametrize("action", ACTIONS)
def test_a_page_says_what_an_action_does_before_it_asks(
    owner: TestClient, console: Console, action: str
) -> None:
    given = {"run": RUNS[0], "request": "abc"}
    asked = owner.get(f"{PIPELINE}/act/{action}", params=given)
    assert asked.status_code == 200
    made = find_action(console.collector.snapshot, "digits", action, given)
    assert made.does.split(".")[0][:30] in asked.text.replace("&#39;", "'")
    assert made.button in asked.text
    filled = {field.name: field.value for field in made.fields}
    again = find_action(console.collector.snapshot, "digits", action, filled)
    assert again.title == made.title, "a form that is confirmed is what was asked"
    assert console.runner.list_jobs("digits") == []


def test_what_has_become_another_action_meanwhile_is_not_done(
    visitor: TestClient, console: Console, source: StoredSource
) -> None:
    keep(source, releases={"digits": {
        "phase": "shadow", "production": "r11111111", "candidate": "r22222222", "weights": {"r11111111": 100},
    }})  # fmt: skip
    asyncio.run(console.collector.refresh())
    page = visitor.get(f"{PIPELINE}/act/rollback").text
    (asked,) = re.findall(r'name="asked" value="([^"]+)"', page)
    assert asked == "Take r22222222 of digits out of its rollout"
    keep(source, releases={})
    asyncio.run(console.collector.refresh())
    data = {"token": console.key.form_token, "asked": asked}
    answer = visitor.post(f"{PIPELINE}/act/rollback", data=data)
    assert answer.status_code == 422
    assert "it would not be `Take r22222222 of digits out of its rollout` now" in answer.text
    assert console.runner.list_jobs("digits") == []


def test_a_rollback_is_the_commit_of_the_command_line_and_is_refused_for_its_reasons(
    owner: TestClient, console: Console, shelf: Shelf
) -> None:
    tip = shelf.repository.tip()
    releases = console.collector.snapshot.repository.pipelines["digits"].releases
    before = releases[-1].id
    refused = confirm(owner, console, "rollback", to="r00000000")
    assert "It was refused" in refused
    assert "was never production of `digits`" in refused
    typed = shelf.types("rollback", "digits", "--to", "r00000000", code=1)
    assert "was never production of `digits`" in typed.stderr
    assert shelf.repository.tip() == tip
    page = confirm(owner, console, "rollback", to=before)
    assert "Done." in page
    assert f"/pipelines/digits/releases/{before}" in page
    ours = shelf.repository.find(tip_of(shelf), "Driftloop-Release", before)
    assert ours is not None
    assert ours.commit.sha[:12] in page
    shelf.types("rollback", "digits", "--to", releases[0].id)
    theirs = shelf.repository.find(tip_of(shelf), "Driftloop-Release", releases[0].id)
    assert theirs is not None
    assert ours.commit.subject == theirs.commit.subject.replace(releases[0].id, before)
    assert (ours.author, *ours.trailers) == (theirs.author, *theirs.trailers)
    assert ours.trailers["Driftloop-Cause"] == theirs.trailers["Driftloop-Cause"]


def tip_of(shelf: Shelf) -> str:
    tip = shelf.repository.tip()
    assert tip is not None
    return tip


@pytest.mark.parametrize(
    ("action", "fields", "words"),
    [
        ("halt", {"reason": "--url=http://evil.example"}, "nothing runs in"),
        ("label", {"request": "abc", "label": "3"}, "nothing runs in"),
        ("promote", {}, "digits"),
    ],
)
def test_an_action_is_refused_as_the_command_is(
    owner: TestClient, console: Console, action: str, fields: dict[str, str], words: str
) -> None:
    page = confirm(owner, console, action, **fields)
    assert "It was refused" in page
    assert words in page
    assert "<img" not in page
    assert "Traceback" not in page


@pytest.mark.parametrize("value", ["--to=x", "-x", "a b", HOSTILE, "../x"])
@pytest.mark.parametrize(("action", "field"), [("rollback", "to"), ("cancel", "run")])
def test_an_id_that_is_none_never_reaches_a_command(
    owner: TestClient, console: Console, action: str, field: str, value: str
) -> None:
    data = {"token": console.key.form_token, field: value}
    answer = owner.post(f"{PIPELINE}/act/{action}", data=data)
    assert answer.status_code == 422
    assert "is not an id" in answer.text
    assert console.runner.list_jobs("digits") == []


def test_an_action_of_no_pipeline_or_of_no_kind_is_refused(
    owner: TestClient, console: Console
) -> None:
    data = {"token": console.key.form_token}
    assert owner.post("/pipelines/none/act/halt", data=data).status_code == 404
    assert owner.post(f"{PIPELINE}/act/remove", data=data).status_code == 422


def test_what_is_offered_follows_where_things_stand(console: Console, source: StoredSource) -> None:
    def offers() -> dict[str, str]:
        return dict(list_offers(console.collector.snapshot, "digits"))

    assert offers() == {"trigger": "Start a run", "rollback": "Roll back", "halt": "Halt"}


def test_what_waits_for_a_person_is_asked_once_and_is_the_command(
    owner: TestClient, console: Console, source: StoredSource
) -> None:
    hold = {
        "node": "n1",
        "step": "approval",
        "run": "digits-4f0c1d2e3a5b",
        "asks": f"r1 becomes production {HOSTILE}",
        "since": "2026-11-30T14:40:02Z",
        "approvers": ["Ann Example"],
    }
    run = {"name": "digits-release-r1", "phase": "Running", "finishedAt": None, "hold": hold}
    keep(source, runs={"digits/digits-release": run})
    owner.portal.call(console.collector.refresh)
    offered = list_offers(console.collector.snapshot, "digits")
    assert offered[0] == ("approve", "Approve digits-4f0c1d2e3a5b")
    overview = owner.get("/").text
    assert "need somebody" in overview
    assert "waits since 2026-11-30T14:40:02Z for the approval of Ann Example" in overview
    asked = owner.get(f"{PIPELINE}/act/approve").text
    assert "Approved, it goes on: r1 becomes production" in asked
    assert HOSTILE not in overview + asked
    made = find_action(console.collector.snapshot, "digits", "approve", {})
    assert made.build_arguments({"reason": " looks  right "}) == (
        *("approve", "digits", "digits-4f0c1d2e3a5b", "--reason=looks right", "--output=json"),
    )
    assert "must not be empty" in confirm(owner, console, "approve", reason=" ")
    refused = confirm(owner, console, "approve", reason="looks right")
    assert "the runtime is not reachable from here" in refused


def test_labels_that_were_refused_are_told_on_the_pipeline_s_page(
    owner: TestClient, console: Console, source: StoredSource
) -> None:
    space = console.collector.snapshot.find_namespace("digits")
    inbox = {
        "refused": 1,
        "file": f"labels/digits/refused/{HOSTILE}",
        "reason": "no column `request`",
    }
    keep(source, inboxes={f"{space}.digits": inbox})
    owner.portal.call(console.collector.refresh)
    page = owner.get(PIPELINE).text
    assert "1 file of labels refused, the last one labels/digits/refused/" in page
    assert HOSTILE not in page


def test_an_unknown_action_names_those_that_there_are(console: Console) -> None:
    with pytest.raises(PipelineError, match="must be one of: `trigger`"):
        find_action(console.collector.snapshot, "digits", "x", {})


def test_words_of_a_refusal_are_the_command_s_own() -> None:
    result = CommandResult(1, "", "looking\nerror: no\n\nhint: try again")
    assert result.refusal == "no\n\nhint: try again"
    assert CommandResult(3, "", "").refusal == "exit code 3"


def test_a_draft_is_planned_and_put_on_a_branch(
    owner: TestClient, console: Console, shelf: Shelf
) -> None:
    text = console.collector.snapshot.repository.pipelines["digits"].spec
    draft = text.replace("window: 50", "window: 60")
    headers = {"x-driftloop-token": console.key.form_token}
    planned = owner.post(f"{PIPELINE}/spec/plan", data={"text": draft}, headers=headers).text
    assert "monitors.drift.window" in planned
    assert "50" in planned
    tip = shelf.repository.tip()
    data = {"token": console.key.form_token, "text": draft.replace("\n", "\r\n"), "way": "branch"}
    answer = owner.post(f"{PIPELINE}/spec/commit", data=data)
    page = finish(owner, answer.headers["location"])
    assert "Done." in page
    assert shelf.repository.tip() == tip
    data["way"] = "commit"
    page = finish(owner, owner.post(f"{PIPELINE}/spec/commit", data=data).headers["location"])
    assert "Done." in page
    assert shelf.repository.tree(shelf.repository.tip())["workflows/digits/pipeline.yaml"] == draft
