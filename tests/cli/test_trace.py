"""`driftloop trace`: requests, releases, runs, commits and batches of a pipeline with a drift story."""

import asyncio
import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.stored_runs import Shelf

from driftloop.clients import events
from driftloop.clients.nats import ensure_contract_stream, open_connection, publish_message
from driftloop.contract.approvals import Approval
from driftloop.contract.captures import TrafficPart, traffic_key
from driftloop.contract.distributions import (
    DISTRIBUTIONS,
    StoredDistribution,
    write_distributions,
)
from driftloop.contract.documents import to_json
from driftloop.contract.events import inference_type
from driftloop.contract.names import release_id
from driftloop.contract.outcomes import RunOutcome
from driftloop.contract.runs import RunAlarm
from driftloop.contract.streams import VERDICTS, DetectorStreams
from driftloop.contract.trees import report_key, run_key
from driftloop.contract.verdicts import ColumnChange, WindowRecord
from driftloop.operations.commits import released
from driftloop.operations.runs.run_reports import KnownRun
from driftloop.release import record
from driftloop.release.record import Version
from tests.steps.conftest import nats_url, s3_url

__all__ = ["nats_url", "s3_url"]

ENVS = Path(__file__).parents[2] / ".driftloop" / "envs"
A, B, C = "digits-aaaaaaaaaaaa", "digits-bbbbbbbbbbbb", "digits-cccccccccccc"
ID = "6b1f8a1e-request"
ALARM = RunAlarm(event="e4", monitor="drift", release=release_id(A), first=3, last=4)
NAME = "<script>alert('hue')</script>"
"""A column, as somebody hostile calls it."""
DRAWN = {
    "columns": [
        to_json(
            ColumnChange(
                column=NAME, type="category", kind="level", of="red", before=0.1, after=0.6,
                effect=0.5, score=9.0, alarm=True,
            )
        )
    ],
    DISTRIBUTIONS: write_distributions(
        [
            StoredDistribution(
                column=NAME, type="category", labels=("red", "blue"), before=(0.1, 0.9),
                after=(0.6, 0.3), missing_before=0.0, missing_after=0.1,
            )
        ]
    ),
}  # fmt: skip


APPROVAL = Approval(
    run=C,
    step="approve-label",
    who="ann",
    when="2026-01-31T09:30:00Z",
    reason="labels are in",
    asked="2026-01-30T09:30:00Z",
)


@dataclass(frozen=True)
class Story:
    shelf: Shelf
    a: Version
    b: Version
    promotion: str

    def traces(self, *arguments: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(
            self.shelf.types("trace", *arguments, "-o", "json").stdout
        )
        return document


def ended(kind, reason):
    return RunOutcome(kind=kind, reason=reason, time="2026-01-31T10:00:00Z")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, s3_url: str, nats_url: str) -> Story:
    shelf = Shelf.open(tmp_path_factory.mktemp("trace"), s3_url)
    first = ended("released", "the first release")
    shelf.put_run(
        A,
        batches={"a.npz": "one"},
        known=KnownRun(pipeline="digits", namespace="digits", cause="person eve", outcome=first),
    )
    both = {"a.npz": "one", "b.npz": "two"}
    cause = "alarm e4: hue 1 -> 2"
    about = KnownRun(
        pipeline="digits",
        namespace="digits",
        cause=cause,
        alarm=ALARM,
        outcome=ended("released", "it is production"),
    )
    shelf.put_run(B, parameters=({"rate": 0.2},), batches=both, known=about)
    refused = ended("refused", "accuracy 0.5 is below 0.9")
    shelf.put_run(
        C,
        accuracies=(0.5,),
        batches=both,
        known=KnownRun(pipeline="digits", namespace="digits", cause="schedule", outcome=refused),
        approvals=(APPROVAL,),
    )
    a, b = shelf.make_version(A), shelf.make_version(B)
    shelf.move(lambda it: record.release_first(it, a), a, outcome=ended("released", "first"))
    shelf.move(lambda it: record.start_shadow(it, b), b, cause=cause)
    promotion = shelf.move(
        record.promote_candidate, b, cause=cause, outcome=ended("released", "it is production"),
        approved_by="ann",
    )  # fmt: skip
    asyncio.run(publish(nats_url, a, b))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NATS_READER_URL", nats_url)
        yield Story(shelf, a, b, promotion)


async def publish(url: str, a: Version, b: Version) -> None:
    """What the monitor `drift` keeps: verdicts on the first release, and the last events of the second."""
    async with open_connection(url, name="test") as js:
        old = DetectorStreams("digits", "digits", "drift", a.id)
        await ensure_contract_stream(js, VERDICTS)
        for window in range(1, 6):
            verdict = WindowRecord(
                detector="drift", release=a.id, window=window, size=50, first=window, last=window,
                alarm=window > 2, score=window / 10, threshold=0.25, time="2026-01-31T09:00:00Z",
                details=DRAWN if window == 5 else {}, requests=(),
            )  # fmt: skip
            await publish_message(js, old.verdicts, json.dumps(to_json(verdict)).encode())
        new = DetectorStreams("digits", "digits", "drift", b.id)
        await ensure_contract_stream(js, new.events_stream)
        for id in ("another", ID, f"{ID}-2"):
            event = events.make_event(
                inference_type("request"), "test", {"data": {"ndarray": [[1]]}},
                endpoint=b.id, requestid=id,
            )  # fmt: skip
            await publish_message(js, new.event_subject(b.id), events.pack_event(event))


def kinds(document: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(link["kind"] for link in document["links"]))


def ids(document: dict[str, Any], kind: str, side: str = "links") -> list[str]:
    return [link["id"] for link in document[side] if link["kind"] == kind]


WHOLE = [
    "release",
    "model",
    "run",
    "parameters",
    "data",
    "batch",
    "code",
    "commit",
    "cause",
    "alarm",
    "window",
]
"""All kinds of links; the last two are of a release that an alarm caused."""


def test_a_request_leads_to_the_window_of_the_alarm_that_made_its_model(story: Story) -> None:
    document = story.traces(ID)
    assert document["kind"] == "request"
    assert kinds(document) == ["request", *WHOLE]
    request = document["links"][0]
    assert (request["id"], request["release"], request["role"]) == (ID, story.b.id, "production")
    assert ids(document, "release") == [story.b.id]
    assert ids(document, "model") == [story.b.model_digest]
    assert ids(document, "run") == [B]
    assert ids(document, "batch") == ["a.npz", "b.npz"]
    assert ids(document, "cause") == ["alarm e4: hue 1 -> 2"]
    assert ids(document, "alarm") == ["e4"]
    assert ids(document, "window") == ["3", "4"]
    assert document["notes"] == []
    text = story.shelf.types("trace", ID).stdout.splitlines()
    assert any(line.startswith(f"request     {ID}  20") for line in text)
    assert "window      3  score 0.3 against 0.25, 50 rows" in text


@pytest.mark.timeout(300)
def test_a_recorded_request_is_found_in_its_file(story: Story, tmp_path: Path) -> None:
    times = pa.array(["2026-11-28T08:00:00Z", *["2026-11-28T09:00:00Z"] * 4]).cast(
        pa.timestamp("us", tz="UTC")
    )
    names = ["other", "recorded-1", *["of-three"] * 3]
    columns = {"request_id": names, "row": [0, 0, 0, 1, 2], "role": ["production"] * 5}
    answers = {
        "status": [200] * 5,
        "latency_ms": [1.5, 2.5, 3.0, 3.0, 3.0],
        "hue": [0.1, 0.7, 1.0, 2.0, None],
    }
    file, folder = tmp_path / "part.parquet", story.shelf.bucket / traffic_key("digits")
    pq.write_table(pa.table({"time": times, **columns, **answers}), file)
    part = TrafficPart("2026-11-28", story.a.id, "6a2b", 1, 1, 5, 5)
    story.shelf.store.put_file(file, folder / part.key)
    document = story.traces("recorded-1", "--envs", str(ENVS))
    request, answer = document["links"][:2]
    assert (request["release"], request["role"], request["hue"]) == (story.a.id, "production", 0.7)
    assert answer["text"] == f"status 200 after 2.5 ms, of {story.a.id}"
    assert ids(document, "run") == [A]
    request, answer, *others = story.traces("of-three", "--envs", str(ENVS))["links"]
    assert "of digits, rows 0 to 2, " in request["text"], "rows that came together are one link"
    assert [row.get("hue") for row in request["rows"]] == [1.0, 2.0, None]
    assert answer["text"] == f"status 200 after 3.0 ms, of {story.a.id}"
    assert not {"request", "answer"} & {link["kind"] for link in others}
    said = story.shelf.types("trace", "nowhere", "--envs", str(ENVS), code=1).stderr
    assert "recorded traffic of digits is kept since 2026-11-28; monitor drift of digits" in said
    story.shelf.store.delete_object(folder / part.key)


def test_a_request_that_is_not_kept_is_told_with_what_is(story: Story) -> None:
    said = story.shelf.types("trace", "no-such-request", code=1).stderr
    assert (
        "request `no-such-request` is not kept: monitor drift of digits keeps what came since 20"
        in said
    )


def test_a_release_leads_back_and_forth(story: Story) -> None:
    document = story.traces(story.a.id)
    assert document["kind"] == "release"
    assert kinds(document) == WHOLE[:-2]
    assert ids(document, "run", "leadsTo") == [B]
    assert ids(document, "release", "leadsTo") == [story.b.id]
    assert kinds(story.traces(story.b.id)) == WHOLE


def test_a_run_leads_to_its_release_and_a_refused_one_to_none(story: Story) -> None:
    document = story.traces(B)
    assert document["kind"] == "run"
    assert document["links"][0]["id"] == B
    assert ids(document, "release", "leadsTo") == [story.b.id]
    refused = story.traces(C)
    assert "refused: accuracy 0.5 is below 0.9" in refused["links"][0]["text"]
    assert refused["leadsTo"] == []
    assert [link["text"] for link in refused["links"] if link["kind"] == "approval"] == [
        "approved by ann: labels are in at 2026-01-31T09:30:00Z"
    ]
    shown = story.shelf.types("runs", "show", C).stdout
    assert (
        "approval     approve-label by ann at 2026-01-31T09:30:00Z, asked at 2026-01-30T09:30:00Z: labels are in"
        in shown
    )


def test_a_commit_leads_to_the_release_that_it_is_about(story: Story) -> None:
    for revision in (story.promotion, story.promotion[:9]):
        document = story.traces(revision)
        assert document["kind"] == "commit"
        assert document["links"][0]["id"] == story.promotion
        assert ids(document, "release") == [story.b.id]
    code = story.traces("f" * 40, "--as", "commit")
    assert ids(code, "run", "leadsTo") == [A, B, C]
    unknown = story.shelf.types("trace", "0" * 12, "--as", "commit", code=1).stderr
    assert "`000000000000` is no commit of" in unknown


def test_a_batch_leads_to_the_runs_that_were_trained_on_it(story: Story) -> None:
    document = story.traces("b.npz")
    assert document["kind"] == "batch"
    assert ids(document, "run", "leadsTo") == [B, C]
    assert ids(document, "release", "leadsTo") == [story.b.id]
    digest = document["links"][0]["sha256"]
    for name in ("s3://digits/batches/b.npz", f"sha256:{digest}", digest):
        same = story.traces(name, "--as", "batch")
        assert same["leadsTo"] == document["leadsTo"]
    assert (
        "no stored run was trained on a batch `c.npz`"
        in story.shelf.types("trace", "c.npz", code=1).stderr
    )


def test_a_report_tells_the_story_with_what_the_columns_looked_like(
    story: Story, tmp_path: Path
) -> None:
    file = tmp_path / "story.html"
    done = story.shelf.types("report", "digits", "-o", str(file))
    assert done.stdout.strip() == str(file)
    assert "note:" not in done.stderr
    text = file.read_text()
    assert "<script" not in text
    words = html.unescape(re.sub(r"<[^>]+>", " ", text))
    for sentence in (
        f"{story.b.id} is production, in phase stable",
        f"{story.a.id} is the first release and answers all traffic (asked for by eve).",
        f"{story.b.id} gets a copy of the traffic, in shadow (because of an alarm: e4: hue 1 -> 2).",
        f"{story.b.id} is production and answers all traffic (because of an alarm: e4: hue 1 -> 2), approved by ann.",
        f"drift raised an alarm in window 3 of {story.a.id}.",
        "So did the next 2 windows, up to 5.",
        f"Run {C} ended: refused: accuracy 0.5 is below 0.9.",
        f"{NAME} red 10 % -> 60 %",
        "5 windows, 3 alarms",
        f"Window 5 of {story.a.id} beside the reference data",
        "10 % → 60 %",
        "0 % → 10 %",
        "rate 0.2",
    ):
        assert sentence in " ".join(words.split()), sentence
    assert story.promotion[:10] in text


def test_a_report_of_a_release_leaves_out_the_others(story: Story, tmp_path: Path) -> None:
    file = tmp_path / "release.html"
    story.shelf.types("report", "digits", "--release", story.b.id, "-o", str(file))
    text = file.read_text()
    assert f"Release {story.b.id} of digits" in text
    assert f"was trained by {B}, because of an alarm: e4: hue 1 -&gt; 2." in text
    assert C not in text
    done = story.shelf.types("report", "digits", "--release", "r00000000", code=1)
    assert "no commit of `digits` is about a release `r00000000`" in done.stderr
    assert story.b.id in done.stderr
    done = story.shelf.types("report", "digits", "-o", str(tmp_path / "no" / "x.html"), code=2)
    assert "can't be written: No such file or directory" in done.stderr


def test_a_release_whose_run_is_pruned_is_told_from_git(tmp_path: Path, s3_url: str) -> None:
    shelf = Shelf.open(tmp_path, s3_url)
    shelf.put_run(A)
    a = shelf.make_version(A)
    shelf.move(lambda it: record.release_first(it, a), a)
    for entry in shelf.store.list_folder(shelf.bucket / run_key(A)):
        shelf.store.delete_object(type(shelf.bucket)(shelf.bucket.bucket, entry.key))
    assert not shelf.store.has_object(shelf.bucket / report_key(A))
    document = json.loads(shelf.types("trace", a.id, "-o", "json").stdout)
    assert kinds(document) == ["release", "model", "run", "data", "code", "commit", "cause"]
    assert ids(document, "data") == [a.data_digest]
    assert any("are not stored any more" in note for note in document["notes"])


@pytest.mark.timeout(300)
def test_requests_of_each_kind_lead_to_their_releases_also_when_the_pipeline_is_gone(
    tmp_path: Path, s3_url: str
) -> None:
    """Production before, during and after a rollout that is taken back, its shadow and canary, and a failed one."""
    shelf = Shelf.open(tmp_path, s3_url)
    shelf.put_run(A)
    shelf.put_run(B, parameters=({"rate": 0.2},))
    a, b = shelf.make_version(A), shelf.make_version(B)
    shelf.move(lambda it: record.release_first(it, a), a)
    shelf.move(lambda it: record.start_shadow(it, b), b)
    shelf.move(lambda it: record.set_canary(it, 20), b)
    shelf.move(record.promote_candidate, b)
    shelf.move(record.restore_previous, a)
    rows = {
        a.id: (
            ("before", "production", 200), ("copied", "production", 200), ("failed", "production", 500),
            ("back", "production", 200),
        ),
        b.id: (("copied", "shadow", 200), ("canary", "candidate", 200), ("promoted", "production", 200)),
    }  # fmt: skip
    for number, (release, asked) in enumerate(rows.items(), 1):
        write_traffic(shelf, tmp_path / f"{number}.parquet", release, number, asked)

    def check(*chosen: str) -> None:
        wanted = {
            "before": [(a.id, "production", A)],
            "copied": [(a.id, "production", A), (b.id, "shadow", B)],
            "canary": [(b.id, "candidate", B)],
            "promoted": [(b.id, "production", B)],
            "back": [(a.id, "production", A)],
            "failed": [(a.id, "production", A)],
        }
        for id in chosen or wanted:
            found = wanted[id]
            document = json.loads(
                shelf.types("trace", id, "--envs", str(ENVS), "-o", "json").stdout
            )
            requests = [link for link in document["links"] if link["kind"] == "request"]
            told = sorted((link["release"], link["role"]) for link in requests)
            assert told == sorted((release, role) for release, role, _ in found), id
            assert sorted(ids(document, "run")) == sorted({run for *_, run in found}), id
            status = 500 if id == "failed" else 200
            answers = [link["text"] for link in document["links"] if link["kind"] == "answer"]
            assert all(text.startswith(f"status {status} ") for text in answers), answers

    check()
    # without a runtime each stage is a commit of its own
    for _ in range(2):
        shelf.types("remove", "digits", "--yes")
    assert released.list_pipelines(shelf.repository.tree(shelf.repository.tip())) == ()
    check("copied", "back")


def write_traffic(
    shelf: Shelf, file: Path, release: str, number: int, asked: Sequence[tuple[str, str, int]]
) -> None:
    """A file of recorded rows of one release."""
    names, roles, statuses = zip(*asked, strict=True)
    times = pa.array(["2026-11-28T08:00:00Z"] * len(asked)).cast(pa.timestamp("us", tz="UTC"))
    columns = {"request_id": names, "row": [0] * len(asked), "role": roles, "status": statuses}
    table = pa.table({"time": times, **columns, "latency_ms": [1.5] * len(asked)})
    pq.write_table(table, file)
    part = TrafficPart("2026-11-28", release, "6a2b", number, number, len(asked), len(asked))
    shelf.store.put_file(file, shelf.bucket / traffic_key("digits") / part.key)
