"""Notices to a webhook: each arrives once, a receiver that is away is tried again, and what is lost is told."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from support.processes import free_port

from driftloop.contract.streams import WORKFLOWS
from driftloop.local.ground.timeline import EventTimeline
from driftloop.local.up.history import RunHistory
from driftloop.local.up.notices import MOST_WAITING, Notice, WebhookNotifier


class Receiver:
    """What a person's webhook gets, and what it answers: the last answer stays."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.bodies: list[dict[str, Any]] = []
        self.port = free_port()

    async def handle(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.json())
        code = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.Response(status=code)

    async def __aenter__(self) -> "Receiver":
        application = web.Application()
        application.router.add_post("/secret-path", self.handle)
        self.runner = web.AppRunner(application)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/secret-path"


def notice(text: str = "run digits-1 failed") -> Notice:
    return Notice("failure", "digits", "digits", text, "no rows", "digits-1")


async def until(check: Any) -> None:
    for _ in range(9000):
        if check():
            return
        await asyncio.sleep(0.01)
    raise AssertionError


@pytest.fixture(autouse=True)
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


async def test_a_receiver_that_fails_is_tried_again() -> None:
    async with Receiver(503, 429, 200) as receiver:
        notifier = WebhookNotifier(receiver.url, waits=(0.0, 0.0, 0.0))
        delivering = asyncio.create_task(notifier.deliver_forever())
        notifier.add_notice(notice())
        notifier.add_notice(notice("run digits-2 failed"))
        await until(lambda: len(receiver.bodies) == 4)
        assert [body["text"] for body in receiver.bodies] == [
            *["run digits-1 failed"] * 3,
            "run digits-2 failed",
        ]
        body = receiver.bodies[0]
        assert (body["kind"], body["pipeline"], body["why"], body["run"]) == (
            *("failure", "digits", "no rows", "digits-1"),
        )
        assert notifier.list_troubles() == []
        delivering.cancel()


@pytest.mark.parametrize(("answers", "posts", "said"), [((404,), 1, "it answered 404"), ((500,), 3, "it answered 500")])  # fmt: skip
async def test_what_is_refused_is_told_without_the_secret_of_the_address(
    answers: tuple[int, ...], posts: int, said: str
) -> None:
    async with Receiver(*answers) as receiver:
        notifier = WebhookNotifier(receiver.url, waits=(0.0, 0.0))
        delivering = asyncio.create_task(notifier.deliver_forever())
        notifier.add_notice(notice())
        await until(notifier.list_troubles)
        (line,) = notifier.list_troubles()
        assert line.startswith(f"1 notices did not reach 127.0.0.1: {said}, ")
        assert "secret-path" not in line
        assert len(receiver.bodies) == posts
        delivering.cancel()


async def test_a_receiver_that_is_away_holds_nothing_up() -> None:
    notifier = WebhookNotifier(f"http://127.0.0.1:{free_port()}/secret-path", waits=())
    for _ in range(MOST_WAITING + 3):
        notifier.add_notice(notice())
    assert notifier.list_troubles() == [
        f"3 notices did not reach 127.0.0.1: more than {MOST_WAITING} wait"
    ]
    delivering = asyncio.create_task(notifier.deliver_forever())
    await until(lambda: "203 notices" in notifier.list_troubles()[0])
    assert "secret-path" not in notifier.list_troubles()[0]
    delivering.cancel()


def workflow(name: str, phase: str, outcome: str | None = None, held: str = "") -> bytes:
    nodes: dict[str, Any] = {}
    if outcome is not None:
        end = {"outcome": outcome, "reason": "because", "time": "2026-01-02T03:04:05Z"}
        values = {"outcome": json.dumps(end), "rollout": ""}
        parameters = [{"name": key, "value": value} for key, value in values.items()]
        nodes["e"] = {"type": "Pod", "phase": "Succeeded", "outputs": {"parameters": parameters}}
    if held:
        given = {"run": name, "asks": "r1 becomes production", "approvers": "[]"}
        nodes["h"] = {
            "id": "h",
            "type": "Suspend",
            "phase": held,
            "startedAt": "2026-01-02T03:04:05Z",
            "inputs": {"parameters": [{"name": k, "value": v} for k, v in given.items()]},
        }
    return json.dumps(
        {
            "metadata": {
                "name": name,
                "namespace": "digits",
                "labels": {"app.kubernetes.io/name": "digits"},
            },
            "spec": {},
            "status": {"phase": phase, "nodes": nodes},
        }
    ).encode()


def test_people_hear_of_ends_and_of_what_waits_for_them_once(tmp_path: Any) -> None:
    heard: list[Notice] = []
    timeline = EventTimeline(tmp_path / "timeline", lambda _: None)
    history = RunHistory(tmp_path / "history", timeline, heard.append)
    for name, *states in (
        ("digits-1", workflow("digits-1", "Running", held="Running"),
         workflow("digits-1", "Running", held="Running"),
         workflow("digits-1", "Succeeded", "released", held="Succeeded")),
        ("digits-2", workflow("digits-2", "Failed", "rejected")),
        ("digits-3", workflow("digits-3", "Succeeded", "not-started")),
        ("digits-4", workflow("digits-4", "Failed")),
        ("digits-5", workflow("digits-5", "Failed", "cancelled")),
    ):  # fmt: skip
        for state in states:
            history._record_workflow(f"{WORKFLOWS.prefix}digits.{name}", state)
    assert [(each.kind, each.pipeline, each.run) for each in heard] == [
        ("waiting", "digits", "digits-1"),
        ("promotion", "digits", "digits-1"),
        ("refusal", "digits", "digits-2"),
        ("failure", "digits", "digits-4"),
    ]
    assert heard[0].text == "run digits-1 waits for a person: r1 becomes production"
