"""What pages show of stored records, and that nothing in these takes a page over."""

import asyncio
import re
from html import unescape
from html.parser import HTMLParser

import pytest
from starlette.testclient import TestClient
from support.console_world import HOSTILE, StoredSource, build_status, keep

from driftloop.console.answers import Console
from driftloop.console.views import rollout
from driftloop.contract.handovers import RolloutLimits
from driftloop.operations.rollouts.rollout_progress import RolloutProgress, StageProgress
from driftloop.release.judgement import Answers, Measured
from tests.console.conftest import RUNS

PIPELINE = "/pipelines/digits"
ALL = (
    "/", "/runs", "/runs?sort=length&outcome=failed", f"/runs/{RUNS[0]}", f"/runs/{RUNS[1]}", f"/runs/{RUNS[3]}",
    f"/runs/compare?run={RUNS[0]}&run={RUNS[1]}", "/requests", "/requests?id=abc&kind=request", "/events",
    PIPELINE, f"{PIPELINE}/drift", f"{PIPELINE}/drift?monitor=drift&window=4", f"{PIPELINE}/runs",
    f"{PIPELINE}/rollout", f"{PIPELINE}/releases", f"{PIPELINE}/spec", f"{PIPELINE}/act/trigger", f"{PIPELINE}/act/approve",
    f"{PIPELINE}/act/rollback", f"{PIPELINE}/act/halt", f"{PIPELINE}/act/label", f"{PIPELINE}?span=7d",
)  # fmt: skip


STABLE = {"phase": "stable", "production": "r1", "candidate": None, "weights": {"r1": 100}}


class Reader(HTMLParser):
    """Elements and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def read(owner: TestClient, path: str, status: int = 200) -> Reader:
    for _ in range(50):
        answer = owner.get(path)
        # a page waits less than a second for what it asks; the next one has it
        if "has not answered yet" not in answer.text:
            break
    assert answer.status_code == status, answer.text
    return Reader(answer.text)


@pytest.mark.parametrize("path", ALL)
def test_a_page_is_whole_small_and_safe(owner: TestClient, path: str) -> None:
    answer = owner.get(path)
    assert answer.status_code == 200
    assert len(answer.content) < 300_000
    page = Reader(answer.text)
    scripts = [attrs for tag, attrs in page.tags if tag == "script"]
    assert {attrs["src"] for attrs in scripts} == {
        "/assets/htmx.min.js", "/assets/idiomorph-ext.min.js", "/assets/console.js",
    }  # fmt: skip
    own = {
        name for _, attrs in page.tags for name in attrs if name.startswith("on") or name == "style"
    }
    assert own == set()
    assert [tag for tag, _ in page.tags if tag in ("img", "iframe", "object", "style")] == []
    titles = [tag for tag, _ in page.tags if tag == "h1"]
    assert len(titles) == 1
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for tag, attrs in page.tags:
        if tag == "a":
            assert (attrs.get("href") or "#").startswith(("/", "?", "#")), attrs


def test_the_overview_says_who_needs_somebody(
    owner: TestClient, source: StoredSource, console: Console
) -> None:
    page = read(owner, "/")
    assert "digits" in page.text
    assert "1 calm" in page.text
    broken = {
        "digits": {"error": f"release.yaml:3: {HOSTILE}"},
        "other": {"phase": "stable", "production": "r1", "candidate": None, "weights": {"r1": 100}},
    }
    keep(source, releases=broken)
    owner.portal.call(console.collector.refresh)
    page = read(owner, "/")
    names = [
        attrs.get("id")
        for tag, attrs in page.tags
        if (attrs.get("id") or "").startswith("pipeline-")
    ]
    assert names == ["pipeline-digits", "pipeline-other"]
    assert "1 need somebody" in page.text
    assert HOSTILE in page.text


@pytest.mark.parametrize(
    ("phase", "summary", "word"),
    [
        ("halted", "was halted at 2026: somebody", "Resume"),
        ("waiting", "waits for data since 2026", "waits for data"),
        ("held", "starts nothing after a person's commit", "Resume"),
        ("running", "run digits-5 is running", "run digits-5"),
    ],
)
def test_a_pipeline_s_page_says_what_the_loop_does(
    owner: TestClient, source: StoredSource, console: Console, phase: str, summary: str, word: str
) -> None:
    keep(source, decisions={"digits.digits": phase}, loops={"digits.digits": summary})
    owner.portal.call(console.collector.refresh)
    page = read(owner, PIPELINE)
    assert summary in page.text
    assert word in page.text


def test_the_loop_and_the_time_axis_lead_to_what_they_show(owner: TestClient) -> None:
    page = read(owner, PIPELINE)
    stations = [attrs["href"] for tag, attrs in page.tags if tag == "a" and attrs.get("href")]
    for place in ("releases", "drift", "rollout", "runs"):
        assert f"{PIPELINE}/{place}" in stations
    windows = [href for href in stations if href and "window=" in href]
    assert len(windows) == 6
    for href in windows:
        assert read(owner, href.partition("#")[0])
    assert any(href and href.startswith("/commits/") for href in stations)
    assert "waits for 2 alarms in a row of drift." in page.text


def test_a_window_says_what_moved_and_what_the_decision_did(owner: TestClient) -> None:
    page = read(owner, f"{PIPELINE}/drift?monitor=drift&window=4")
    assert "It alarms: hue median 1 -> 1.5" in page.text
    assert f"Its alarm started run {RUNS[1]}" in page.text
    assert HOSTILE in unescape(page.text)
    cells = [
        attrs["href"] or ""
        for tag, attrs in page.tags
        if tag == "a" and attrs.get("tabindex") == "-1" and (attrs["href"] or "").startswith("?")
    ]
    assert "?monitor=drift&window=4#window" in cells
    quiet = read(owner, f"{PIPELINE}/drift?monitor=drift&window=1")
    assert "It does not alarm: no column moved beyond chance." in quiet.text
    for window, words in (("99", "is not kept any more"), ("x", "is not a window")):
        assert words in read(owner, f"{PIPELINE}/drift?monitor=drift&window={window}").text


def test_runs_are_sorted_and_filtered(owner: TestClient) -> None:
    def rows(query: str) -> list[str | None]:
        page = read(owner, f"/runs{query}")
        return [attrs["id"] for tag, attrs in page.tags if tag == "tr" and "id" in attrs]

    assert len(rows("")) == 4
    assert rows("?outcome=failed") == [f"run-{RUNS[3]}"]
    assert rows("?trigger=alarm") == [f"run-{RUNS[1]}"]
    assert rows("?q=2222") == [f"run-{RUNS[1]}"]
    assert rows("?pipeline=none") == []
    assert rows("?sort=outcome")[0] == rows("?sort=-outcome")[-1] == f"run-{RUNS[3]}"
    assert len(rows("?sort=nonsense")) == 4


def test_runs_side_by_side_mark_what_differs(owner: TestClient) -> None:
    page = read(owner, f"/runs/compare?run={RUNS[0]}&run={RUNS[1]}&run=gone")
    assert "not known: gone" in page.text
    assert "rate" in page.text
    assert [attrs for tag, attrs in page.tags if tag == "tr" and attrs.get("class") == "differs"]
    assert "Choose two or more" in read(owner, f"/runs/compare?run={RUNS[0]}").text


def test_a_run_shows_trials_gates_and_its_end(owner: TestClient) -> None:
    page = read(owner, f"/runs/{RUNS[1]}")
    assert "released: the rollout ended" in page.text
    assert "accuracy 0.98" in page.text
    assert "windows 3-4 of drift" in page.text
    assert f"/runs/compare?run={RUNS[0]}&run={RUNS[1]}" in [
        attrs.get("href") for _, attrs in page.tags
    ]


def test_a_release_leads_to_its_run_its_commits_and_the_way_back(owner: TestClient) -> None:
    page = read(owner, f"{PIPELINE}/releases")
    hrefs = [attrs["href"] for tag, attrs in page.tags if tag == "a" and attrs.get("href")]
    releases = [href for href in hrefs if href and "/releases/r" in href]
    assert len(releases) == 2
    current = read(owner, releases[0])
    assert "git revert" in current.text
    assert f"/runs/{RUNS[1]}" in [attrs.get("href") for _, attrs in current.tags]
    assert "What is other than in r" in current.text
    assert [attrs for tag, attrs in current.tags if attrs.get("scope") == "rowgroup"]
    assert "has no `card`" in read(owner, f"{releases[0]}/card").text
    earlier = read(owner, releases[1])
    assert any("act/rollback?to=" in (attrs.get("href") or "") for _, attrs in earlier.tags)


def test_the_editor_says_what_is_possible_at_a_place(owner: TestClient, console: Console) -> None:
    text = console.collector.snapshot.repository.pipelines["digits"].spec
    headers = {"x-driftloop-token": console.key.form_token}
    data = {
        "text": f"{text}  monitors:\r\n    drift:\r\n      detector: ",
        "line": "99",
        "column": "0",
    }
    assert "button" not in owner.post(f"{PIPELINE}/spec/complete", data=data, headers=headers).text
    data["line"], data["column"] = str(data["text"].count("\n") + 1), "16"
    answer = owner.post(f"{PIPELINE}/spec/complete", data=data, headers=headers)
    assert 'data-insert="tabular"' in answer.text
    lost = owner.post(f"{PIPELINE}/spec/complete", data={**data, "line": "x"}, headers=headers)
    assert (lost.status_code, lost.text.strip()) == (200, "")


def test_a_rollout_says_what_its_stage_still_needs() -> None:
    def left(limits: RolloutLimits, *, joined: int = 0, seconds: float = 60.0) -> str:
        stage = StageProgress("shadow", limits, "Running", None, None)
        measured = Measured(seconds, Answers(), Answers(requests=joined), joined=joined)
        return rollout.describe_left(RolloutProgress("w", (stage,), measured, None))

    shadow = RolloutLimits(seconds=90.0, requests=500, mirrored=True)
    assert left(shadow) == "This stage needs at least 30 s, 500 requests more."
    assert (
        left(shadow, joined=250) == "This stage needs about 60 s, 250 requests more at this rate."
    )
    assert left(shadow, joined=500) == "This stage needs about 30 s."
    assert "Nothing is missing" in left(shadow, joined=500, seconds=91)
    assert rollout.describe_left(RolloutProgress("w", (), None, None)) == ""
    waits = StageProgress("approval", shadow, "Running", None, None)
    progress = RolloutProgress("w", (waits,), Measured(1.0, Answers(), Answers()), None)
    assert "It waits for a person" in rollout.describe_left(progress)


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/pipelines/none",
        "/runs/none",
        f"{PIPELINE}/releases/r00000000",
        "/jobs/7",
        "/commits/xyz",
    ],
)
def test_what_is_not_there_is_said_on_a_page(owner: TestClient, path: str) -> None:
    page = read(owner, path, 404)
    assert "There is nothing here" in page.text


@pytest.mark.parametrize(
    "name", [HOSTILE, "../../etc/passwd", "%00", "a" * 3000, "{{ 7777*7777 }}"]
)
def test_a_hostile_path_is_only_text(owner: TestClient, name: str) -> None:
    answer = owner.get(f"/pipelines/{name.replace('/', '%2f').replace('?', '')}")
    assert answer.status_code == 404
    page = Reader(answer.text)
    assert [tag for tag, _ in page.tags if tag in ("img", "iframe")] == []
    assert len([tag for tag, _ in page.tags if tag == "script"]) in (0, 3)
    assert "60481729" not in page.text


def test_a_platform_that_is_stopped_is_said_and_comes_back(
    owner: TestClient, source: StoredSource, console: Console
) -> None:
    source.status = None
    owner.portal.call(console.collector.refresh)
    for path in ("/", PIPELINE, f"{PIPELINE}/drift", f"{PIPELINE}/rollout", "/runs"):
        page = read(owner, path)
        assert "nothing runs here" in page.text
        assert "digits" in page.text
    source.status = build_status()
    owner.portal.call(console.collector.refresh)
    assert "nothing runs here" not in read(owner, "/").text


def test_a_draft_is_checked_as_it_is_typed(owner: TestClient, console: Console) -> None:
    text = console.collector.snapshot.repository.pipelines["digits"].spec
    headers = {"x-driftloop-token": console.key.form_token}

    def check(draft: str) -> str:
        answer = owner.post(f"{PIPELINE}/spec/check", data={"text": draft}, headers=headers)
        assert answer.status_code == 200
        return Reader(answer.text).text

    assert "What a commit would change" in check(text)
    assert "line 12" in check(
        text.replace("window: 50", f"window: '{HOSTILE}'")
    ) or "line" in check("a: [")
    assert "must be `digits`" in check(text.replace("name: digits", "name: other"))
    for broken in ("", "[", "a: &a [*a]", "\x00", "x" * 1000, "- 1\n- 2"):
        assert "to mend" in check(broken)


def test_a_process_that_has_died_is_named_on_the_overview(
    visitor: TestClient, console: Console, source: StoredSource
) -> None:
    process = {"pid": None, "uptime": 0.0, "restarts": 3, "memory": None}
    listed = [
        process | {"name": "nats", "phase": "waiting"},
        process | {"name": "s3", "phase": "ready"},
    ]
    keep(source, processes=listed, memory={"up": 1, "total": 2}, pid=1, uptime=1)
    asyncio.run(console.collector.refresh())
    page = read(visitor, "/")
    assert "nats has died and is started again" in page.text
    assert "s3 has died" not in page.text
