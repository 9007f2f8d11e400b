"""`driftloop traffic` on a local object store: what it lists, what it exports, and what it refuses."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.processes import Process, free_port
from support.recorder import BUCKET, KEY, SECRET, object_store

from driftloop.contract.captures import TrafficPart, traffic_key
from driftloop.contract.platform import (
    ACCESS_KEY,
    GATEWAY,
    GIT_URL,
    S3_ENDPOINT,
    S3_REGION,
    SECRET_KEY,
)
from driftloop.local.ground.settings import LocalSettings
from driftloop.local.ground.state import StateFolder

ROOT = Path(__file__).parents[2]
ENVS = ROOT / ".driftloop" / "envs"
TIME = pa.timestamp("us", tz="UTC")


def put_part(folder: Path, day: str, release: str, number: int, **columns: list[object]) -> None:
    """A file as the recorder writes it, of rows an hour apart."""
    rows = len(next(iter(columns.values())))
    hours = [f"{day}T{hour:02}:00:00Z" for hour in range(rows)]
    times = pa.array(hours).cast(TIME)
    part = TrafficPart(day, release, "6a2b", number, number, number, rows)
    file = folder / BUCKET / traffic_key("digits") / part.key
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"time": times, **columns}), file)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder whose store has the traffic of two days."""
    folder = tmp_path_factory.mktemp("traffic")
    store: Process = object_store(folder / "s3", free_port())
    put_part(folder / "s3", "2026-11-28", "r00000001", 1, request_id=["a", "b"], fare=[1.0, 2.0])
    put_part(folder / "s3", "2026-11-29", "r00000001", 2, request_id=["c"], fare=[3.0])
    put_part(folder / "s3", "2026-11-29", "r00000002", 2, request_id=["d"], miles=["x"])
    store.start()
    place = StateFolder.open_folder(folder / "state")
    place.create_folders()
    config = {
        S3_ENDPOINT.key: f"http://127.0.0.1:{store.port}",
        S3_REGION.key: "us-east-1",
        GATEWAY.key: "http://127.0.0.1:1",
        GIT_URL.key: str(place.repository),
    }
    LocalSettings(config, {ACCESS_KEY.key: KEY, SECRET_KEY.key: SECRET}).save(place)
    yield place.root
    store.kill()


def traffic(state: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "driftloop.cli", "traffic", "digits", *arguments]
    return subprocess.run(
        [*command, "--state", str(state), "--envs", str(ENVS)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_lists_days_and_releases(state: Path) -> None:
    listed = traffic(state)
    assert listed.returncode == 0, listed.stderr
    lines = [line.split() for line in listed.stdout.splitlines()]
    assert [line[:4] for line in lines] == [
        ["2026-11-28", "r00000001", "2", "rows"],
        ["2026-11-29", "r00000001", "1", "row"],
        ["2026-11-29", "r00000002", "1", "row"],
    ]
    assert f"4 rows in s3://{BUCKET}/traffic/digits" in listed.stderr
    some = traffic(state, "--since", "2026-11-29", "--release", "r00000002", "--output", "json")
    (found,) = json.loads(some.stdout)["traffic"]
    assert (found["day"], found["release"], found["rows"], found["files"]) == (
        "2026-11-29",
        "r00000002",
        1,
        1,
    )


@pytest.mark.timeout(300)
def test_it_exports_rows(state: Path, tmp_path: Path) -> None:
    lines = traffic(state, "-o", "jsonl", "--since", "2026-11-28T00:30:00Z")
    assert lines.returncode == 0, lines.stderr
    rows = [json.loads(line) for line in lines.stdout.splitlines()]
    assert [(row["request_id"], row["release"], row["fare"], row["miles"]) for row in rows] == [
        ("b", "r00000001", 2.0, None),
        ("c", "r00000001", 3.0, None),
        ("d", "r00000002", None, "x"),
    ]
    table = traffic(state, "-o", "csv", "--columns", "day,request_id", "--release", "r00000001")
    assert table.stdout.splitlines() == [
        '"day","request_id"',
        '"2026-11-28","a"',
        '"2026-11-28","b"',
        '"2026-11-29","c"',
    ]
    file = tmp_path / "all.parquet"
    written = traffic(state, "-o", "parquet", "--file", str(file))
    assert written.returncode == 0, written.stderr
    assert pq.read_table(file).num_rows == 4
    wrong = traffic(state, "-o", "csv", "--columns", "fair")
    assert wrong.returncode == 1
    assert "the traffic has no column `fair`, must be of: day, release, time" in wrong.stderr
    assert "hint: did you mean `fare`?" in wrong.stderr


def test_it_refuses_what_makes_no_sense(state: Path) -> None:
    for arguments, words in (
        (("--columns", "fare"), "--columns and --file go with -o parquet, csv or jsonl"),
        (("-o", "parquet"), "-o parquet needs --file"),
        (("--namespace", "digits"), "--kubeconfig, --context and --namespace need --cluster"),
        (
            ("--since", "monday"),
            "`monday` is not a time, must be a length of time before now, such as 12h",
        ),
    ):
        refused = traffic(state, *arguments)
        assert refused.returncode == 2
        assert words in refused.stderr
    nothing = traffic(state, "--release", "r0000000f")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert "hint: `capture: {}` in the spec records it" in nothing.stderr
