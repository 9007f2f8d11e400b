"""Who gets in, and what a page may do: the key, the host, the owner, the form."""

import os
import re
import socket
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from driftloop.console.access import LARGEST_BODY, AccessKey, find_peer
from driftloop.console.answers import Console
from tests.console.conftest import PORT

PAGES = (
    "/",
    "/runs",
    "/requests",
    "/pipelines/digits",
    "/pipelines/digits/spec",
    "/live",
    "/trace?kind=run&id=x",
)
FORM = "/pipelines/digits/act/halt"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_needs_the_key(stranger: TestClient, page: str) -> None:
    answer = stranger.get(page)
    assert answer.status_code == 401
    assert "driftloop console" in answer.text
    assert "digits" not in answer.text


@pytest.mark.parametrize("key", ["", "x", "k" * 42, "k" * 44, "é"])
def test_a_wrong_key_opens_nothing(stranger: TestClient, key: str) -> None:
    answer = stranger.get("/enter", params={"key": key})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_the_printed_address_opens_a_session_and_takes_the_key_out_of_the_address(
    stranger: TestClient, console: Console
) -> None:
    answer = stranger.get(console.key.address)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert console.key.secret not in cookie
    assert stranger.get("/").status_code == 200


def test_the_cookie_of_another_console_is_none_of_this_one(stranger: TestClient) -> None:
    other = AccessKey(PORT, "o" * 43)
    stranger.cookies.set(other.cookie, other.derive_token("session"))
    assert stranger.get("/").status_code == 401


@pytest.mark.parametrize(
    "host", ["evil.example:4711", "127.0.0.1", "127.0.0.1:80", "localhost.evil.example:4711", ""]
)
def test_another_host_name_is_refused(owner: TestClient, host: str) -> None:
    answer = owner.get("/", headers={"host": host})
    assert answer.status_code == 421
    assert owner.get("/", headers={"host": f"localhost:{PORT}"}).status_code in (200, 401)


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ({}, ""),
        ({}, "0" * 64),
        ({"origin": "http://evil.example"}, None),
        ({"origin": "http://127.0.0.1:4712"}, None),
        ({"origin": "null"}, None),
        ({"sec-fetch-site": "cross-site"}, None),
        ({"sec-fetch-site": "same-site"}, None),
    ],
)
def test_a_form_of_another_page_changes_nothing(
    owner: TestClient, console: Console, headers: dict[str, str], token: str | None
) -> None:
    given = console.key.form_token if token is None else token
    answer = owner.post(FORM, data={"token": given, "reason": "x"}, headers=headers)
    assert answer.status_code == 403
    assert console.runner.list_jobs("digits") == []


def test_a_form_that_is_too_large_is_not_read(owner: TestClient, console: Console) -> None:
    data = {"token": console.key.form_token, "text": "x" * LARGEST_BODY}
    assert owner.post("/pipelines/digits/spec/check", data=data).status_code == 413


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_refused(owner: TestClient, method: str) -> None:
    assert owner.request(method, FORM).status_code == 405


def test_every_answer_has_the_headers_that_bound_a_page(owner: TestClient) -> None:
    for path in (
        "/",
        "/nowhere",
        "/pipelines/none",
        "/assets/console.js",
        "/healthz",
        "/enter?key=x",
    ):
        headers = owner.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["referrer-policy"] == "same-origin"
        assert headers["x-content-type-options"] == "nosniff"
    assert owner.get("/").headers["cache-control"] == "no-store"


def test_no_page_has_the_key_a_style_or_a_script_of_its_own(
    owner: TestClient, console: Console
) -> None:
    for path in ("/", "/pipelines/digits", "/pipelines/digits/act/halt", "/pipelines/digits/spec"):
        text = owner.get(path).text
        assert console.key.secret not in text
        assert console.key.derive_token("session") not in text
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|href=.javascript:", text)


def test_the_kernel_tells_whose_connection_it_is() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        table = Path("/proc/net/tcp").read_text()
        assert find_peer(client.getsockname(), server.getsockname(), table) == os.geteuid()
        assert find_peer(("127.0.0.1", 1), server.getsockname(), table) is None


def test_the_connection_of_another_user_is_found_in_the_table() -> None:
    table = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:1267 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 1 1\n"
        "   1: 0100007F:C350 0100007F:1267 01 00000000:00000000 00:00000000 00000000  1234        0 2 1\n"
    )
    assert find_peer(("127.0.0.1", 50000), ("127.0.0.1", 4711), table) == 1234
