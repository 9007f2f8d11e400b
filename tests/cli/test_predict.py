"""`driftloop predict`, against a gateway that answers as a model server does."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.commands import type_command
from support.committed import copy_committed

from driftloop.cli.predict import format_answer
from driftloop.errors import StepError
from driftloop.git.repository import Repository
from driftloop.operations.commits import releases as pipelines
from driftloop.operations.commits.guard import refuse_harm
from driftloop.operations.commits.releases import TransitionMessage
from driftloop.operations.servers import predicting
from driftloop.operations.servers.given_rows import AT_ONCE, GivenRows, build_body, read_rows_file
from driftloop.release import record
from driftloop.release.payloads import read_parts
from driftloop.release.tables import join_parts
from tests.pipelines import SPEC, version


class Gateway:
    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.paths: list[str] = []
        self.logins: list[str | None] = []
        self.status, self.reply = 200, b""
        self.later: list[int] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.bodies.append(body)
                outer.paths.append(self.path)
                outer.logins.append(self.headers["Authorization"])
                rows = len(body.get("data", {}).get("ndarray", []))
                answer = {"data": {"names": ["no", "yes"], "ndarray": [[0.25, 0.75]] * rows}}
                self.send_response(outer.later.pop(0) if outer.later else outer.status)
                self.send_header("Seldon-Puid", "order-1")
                self.end_headers()
                self.wfile.write(outer.reply or json.dumps(answer).encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    found = Gateway()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A cluster repository with a release of `digits`."""
    return release_of(SPEC, tmp_path_factory.mktemp("predict"))


def release_of(spec: str, folder: Path) -> str:
    """A cluster repository with a release of a spec's pipeline."""
    copy_committed(spec, folder / "cluster.git")
    opened = Repository(
        f"file://{folder}/cluster.git", guard=refuse_harm, workdir=folder / "repository"
    )
    first = version("1")
    pipelines.commit_transition(
        opened,
        "digits",
        lambda it: record.release_first(it, first),
        lambda before, after: TransitionMessage(
            f"Release {first.id} of digits", first, "person eve"
        ),
    )
    return f"file://{folder}/cluster.git"


def ask(gateway: Gateway, repository: str, folder: Path, *arguments: str, code: int = 0):  # type: ignore[no-untyped-def]
    own = ("--repository", repository, "--gateway", gateway.url)
    return type_command("predict", "digits", *arguments, *own, folder=folder, code=code)


def test_rows_are_asked_and_answered_in_words(
    gateway: Gateway, repository: str, tmp_path: Path
) -> None:
    done = ask(gateway, repository, tmp_path, "--row", "[1, 2.5, null]", "--row", '[3, 4, "UA"]')
    assert done.stdout.splitlines() == ["yes 0.75, no 0.25"] * 2
    assert done.stderr == "request order-1\n"
    assert gateway.bodies == [{"data": {"ndarray": [[1, 2.5, None], [3, 4, "UA"]]}}]
    assert gateway.paths == ["/seldon/digits/digits/api/v1.0/predictions"]


def test_a_file_has_the_types_of_its_columns_and_loses_its_label(
    gateway: Gateway, repository: str, tmp_path: Path
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text('zip,dist,late,y\n00501,1.5,true,1\n10001,,false,0\n"a,b",-3e2,,1\n')
    done = ask(gateway, repository, tmp_path, "--file", "rows.csv", "--most", "3", "-o", "json")
    assert gateway.bodies == [
        {
            "data": {
                "names": ["zip", "dist", "late"],
                "ndarray": [["00501", 1.5, True], ["10001", None, False], ["a,b", -3e2, None]],
            }
        }
    ]  # fmt: skip
    assert "`y` is the right answer, so it is left out" in done.stderr
    document = json.loads(done.stdout)
    assert document["answers"] == [[0.25, 0.75]] * 3
    assert (document["request"], document["names"]) == ("order-1", ["no", "yes"])


def test_many_rows_are_several_requests(gateway: Gateway, repository: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(f'{{"a": {n}}}\n' for n in range(AT_ONCE + 1)))
    done = ask(gateway, repository, tmp_path, "--file", str(file))
    assert len(done.stdout.splitlines()) == AT_ONCE + 1
    assert [len(body["data"]["ndarray"]) for body in gateway.bodies] == [AT_ONCE, 1]


def test_a_whole_request_goes_as_it_is(gateway: Gateway, repository: str, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text('{"strData": "hello"}')
    gateway.reply = b'{"said": "world"}'
    done = ask(gateway, repository, tmp_path, "--body", "request.json")
    assert gateway.bodies == [{"strData": "hello"}]
    assert done.stdout == '{"said": "world"}\n'


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--row", "[1, 2"], "row 1 is not JSON"),
        (["--row", "3"], "row 1 is `3`, must be a list of values"),
        (["--row", "[1]", "--row", "[1, 2]"], "row 2 has 2 values, the rows before 1 values"),
        (["--row", '{"a": 1}', "--row", '{"b": 1}'], "row 2 has the columns b, the rows before the columns a"),
        (["--row", "[]"], "row 1 has no value"),
        (["--file", "odd.csv"], "odd.csv:3 has another number of values than the 2 of the header"),
        (["--file", "empty.csv"], "there are no rows"),
        (["--file", "rows.xlsx"], "rows.xlsx is of kind `.xlsx`, must be one of: .csv, .jsonl"),
        (["--file", "latin.csv"], "latin.csv can't be read"),
    ],
)  # fmt: skip
def test_what_is_no_row_is_said_with_its_place(
    gateway: Gateway, repository: str, tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n1\n")
    (tmp_path / "empty.csv").write_text("a,b\n")
    (tmp_path / "rows.xlsx").write_text("")
    (tmp_path / "latin.csv").write_bytes(b"a\n\xff\n")
    assert said in ask(gateway, repository, tmp_path, *arguments, code=1).stderr
    assert gateway.bodies == []


@pytest.mark.parametrize("arguments", [[], ["--row", "[1]", "--body", "-"], ["--row", "[1]", "--most", "1"]])  # fmt: skip
def test_one_source_of_rows_is_needed(
    gateway: Gateway, repository: str, tmp_path: Path, arguments: list[str]
) -> None:
    ask(gateway, repository, tmp_path, *arguments, code=2)


def test_a_refusal_of_the_model_is_told_with_its_words(
    gateway: Gateway, repository: str, tmp_path: Path
) -> None:
    gateway.status, gateway.reply = 400, b'{"status": {"info": "X has 2 features,\\n but 64"}}'
    done = ask(gateway, repository, tmp_path, "--row", "[1, 2]", code=1)
    assert "the model of `digits` answered 400" in done.stderr
    assert "X has 2 features" in done.stderr
    assert "columns of the training data" in done.stderr


def test_a_login_is_sent_where_the_pipeline_asks_for_one(
    gateway: Gateway, repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = "jwt: {issuer: https://login.example.org, jwksUri: https://login.example.org/keys, audiences: [digits]}"
    closed = release_of(f"{SPEC}  access: {{{login}}}\n", tmp_path / "closed")
    gateway.status = 401
    done = ask(gateway, closed, tmp_path, "--row", "[1]", code=1)
    assert (
        "put a token of https://login.example.org for `digits` into DRIFTLOOP_TOKEN" in done.stderr
    )
    gateway.status = 200
    monkeypatch.setenv("DRIFTLOOP_TOKEN", "a.b.c")
    for place in (closed, repository):
        ask(gateway, place, tmp_path, "--row", "[1]")
    assert gateway.logins == [None, "Bearer a.b.c", None]


def test_a_route_that_is_not_there_yet_is_asked_again(
    gateway: Gateway, repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predicting, "PAUSE", 0.0)
    gateway.later = [404, 503, 200]
    done = ask(gateway, repository, tmp_path, "--row", "[1]")
    assert done.stderr.count("asked again") == 2
    assert done.stdout == "yes 0.75, no 0.25\n"


def test_what_has_no_release_or_does_not_answer_is_told(repository: str, tmp_path: Path) -> None:
    copy_committed(SPEC, tmp_path / "empty.git")
    words = ("predict", "digits", "--row", "[1]", "--gateway", "http://127.0.0.1:1")
    done = type_command(*words, "--repository", f"file://{tmp_path}/empty.git", folder=tmp_path, code=1)  # fmt: skip
    assert "pipeline `digits` has no release yet" in done.stderr
    done = type_command(*words, "--repository", repository, folder=tmp_path, code=1)
    assert "can't be reached" in done.stderr
    done = type_command(*words, "--repository", repository, "--row", "[1]", folder=tmp_path, code=1)
    assert "is `driftloop up` running?" in done.stderr


@given(
    rows=st.integers(1, 4).flatmap(
        lambda width: st.lists(
            st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=width, max_size=width),
            min_size=1,
            max_size=5,
        )
    ),
    named=st.booleans(),
)  # fmt: skip
def test_detectors_read_the_rows_of_every_protocol(rows: list[list[float]], named: bool) -> None:
    given_rows = GivenRows(
        tuple({f"c{n}": value for n, value in enumerate(row)} if named else row for row in rows)
    )
    for protocol in ("seldon", "tensorflow", "v2"):
        body = json.loads(build_body(given_rows, protocol))  # type: ignore[arg-type]
        read = join_parts(read_parts(body, protocol))
        values = [list(row.values()) if isinstance(row, dict) else row for row in read]
        plain = [row if isinstance(row, list) else [row] for row in values]
        assert plain == rows


def test_a_tensor_of_several_kinds_is_refused() -> None:
    with pytest.raises(StepError, match="values of several kinds"):
        build_body(GivenRows(([1, "a"],)), "v2")


def test_the_label_of_the_spec_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"a": 1, "species": "x"}\n{"species": "y", "a": 2}\n')
    assert read_rows_file(file, "species") == GivenRows(({"a": 1}, {"a": 2}), "species")


@pytest.mark.parametrize(
    ("names", "answer", "said"),
    [
        ([], [3], "3"),
        ([], ["cat"], "cat"),
        (["x"], [1.23456], "1.235"),
        (["no", "yes"], [0.125, 0.875], "yes 0.875, no 0.125"),
        (["a", "b"], ["u", 1], "a u, b 1"),
        ([], [0.5, None, True], "0.5, null, true"),
    ],
)
def test_an_answer_is_one_line(names: list[str], answer: list[object], said: str) -> None:
    assert format_answer(names, answer) == said
