"""A console behind a login: whom the gateway names gets in, and commits under that name."""

import asyncio
import re
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient
from support.console_world import StoredSource
from support.stored_runs import Shelf

from driftloop.console import actions
from driftloop.console.answers import Console
from driftloop.console.application import build_application
from driftloop.console.jobs import sign_as
from driftloop.console.login import USER_HEADER, LoginAccess
from driftloop.console.serving import build_console
from tests.console.test_acting import PIPELINE, finish, tip_of

HOST = "console.acme.example"
ALICE, BOB = {USER_HEADER: "alice@acme.example"}, {USER_HEADER: "bob"}

pytestmark = pytest.mark.timeout(600)


def open_console(shelf: Shelf, source: StoredSource, *, commits: bool) -> Console:
    """The console of a cluster whose repository and status are those of the stored world."""
    url = shelf.state.repository_url if commits else None
    console = build_console(
        source, LoginAccess(HOST), state=None, place=(), environment={}, repository=url
    )
    asyncio.run(console.collector.refresh())
    return console


def visit(console: Console) -> TestClient:
    return TestClient(build_application(console), base_url=f"http://{HOST}", follow_redirects=False)


@pytest.fixture
def gateway(shelf: Shelf, source: StoredSource) -> Iterator[TestClient]:
    """What reaches a console that may commit."""
    with visit(open_console(shelf, source, commits=True)) as client:
        yield client


def read_token(client: TestClient, person: dict[str, str], page: str) -> str:
    found = re.search(r'name="token" value="([^"]+)"', client.get(page, headers=person).text)
    assert found is not None
    return found[1]


def test_who_is_not_named_sees_nothing(gateway: TestClient) -> None:
    assert gateway.get("/healthz", headers={"host": "10.0.0.7:8080"}).status_code == 200
    assert gateway.get("/healthz").text == "ok\n"
    for path in ("/", "/assets/console.js", "/live", PIPELINE, "/enter?key=x"):
        assert gateway.get(path).status_code == 401
    assert gateway.get("/", headers={USER_HEADER: " "}).status_code == 401
    twice = [(USER_HEADER, "alice"), (USER_HEADER, "bob")]
    assert gateway.get("/", headers=twice).status_code == 401
    assert gateway.get("/", headers={**ALICE, "host": "evil.example"}).status_code == 421
    assert gateway.put("/", headers=ALICE).status_code == 405
    page = gateway.get("/", headers=ALICE)
    assert page.status_code == 200
    assert "digits" in page.text
    assert "set-cookie" not in page.headers


def test_a_form_is_of_one_person_and_of_our_pages(gateway: TestClient) -> None:
    ask = f"{PIPELINE}/act/promote"
    token = read_token(gateway, ALICE, ask)
    assert token != read_token(gateway, BOB, ask)
    for headers, data in (
        (BOB, {"token": token}),
        (ALICE, {}),
        ({**ALICE, "origin": "https://evil.example"}, {"token": token}),
        ({**ALICE, "sec-fetch-site": "cross-site"}, {"token": token}),
    ):
        assert gateway.post(ask, headers=headers, data=data).status_code == 403
    own = {**ALICE, "origin": f"https://{HOST}", "sec-fetch-site": "same-origin"}
    assert gateway.post(ask, headers=own, data={"token": token}).status_code == 303


def test_what_is_no_commit_is_not_offered_and_refused(
    gateway: TestClient, shelf: Shelf, source: StoredSource
) -> None:
    page = gateway.get(PIPELINE, headers=ALICE).text
    assert "/act/rollback" in page
    assert "/act/trigger" not in page
    assert "/act/halt" not in page
    for action in ("trigger", "halt", "label"):
        refused = gateway.get(f"{PIPELINE}/act/{action}", headers=ALICE)
        assert refused.status_code == 422
        assert "the console of a cluster commits" in refused.text
    with visit(open_console(shelf, source, commits=False)) as reader:
        assert "/act/" not in reader.get(PIPELINE, headers=ALICE).text
        refused = reader.get(f"{PIPELINE}/act/rollback", headers=ALICE)
        assert refused.status_code == 422
        assert "only reads a cluster" in refused.text


def test_a_rollback_is_the_command_s_commit_under_the_name_of_who_asked(
    gateway: TestClient, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    # no cluster here: the store is not looked into
    monkeypatch.setattr(actions, "ON_CLUSTERS", {"rollback": ("--unchecked",)})
    production = shelf.make_version("digits-1111").id
    current = shelf.make_version("digits-2222").id
    ask = f"{PIPELINE}/act/rollback"
    token = read_token(gateway, ALICE, ask)
    asked = gateway.post(ask, headers=ALICE, data={"token": token, "to": production})
    assert asked.status_code == 303, asked.text
    gateway.headers.update(ALICE)
    page = finish(gateway, asked.headers["location"])
    assert "Done." in page, page
    ours = shelf.repository.find(tip_of(shelf), "Driftloop-Release", production)
    assert ours is not None
    assert ours.author == "alice"
    assert ours.trailers["Driftloop-Cause"] == "person alice"
    shelf.types("rollback", "digits", "--to", current)
    theirs = shelf.repository.find(tip_of(shelf), "Driftloop-Release", current)
    assert theirs is not None
    assert ours.commit.subject == theirs.commit.subject.replace(current, production)
    assert list(ours.trailers) == list(theirs.trailers)


def test_a_name_without_an_address_gets_one_that_nobody_has() -> None:
    assert sign_as("bob")["GIT_CONFIG_VALUE_1"] == "bob@users.noreply.localhost"
    assert sign_as("alice@acme.example")["GIT_CONFIG_VALUE_0"] == "alice"
