"""The readers of docs/guides/captured-traffic.md, as they are written there, on files of two days and releases."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from driftloop.contract.captures import TrafficPart, traffic_key

from .test_columns import ARRAY, ROW, TABLE, seldon
from .test_parts import DAY, RequestReader, exchange, write

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "captured-traffic.md"
READERS = dict(
    zip(
        ("duckdb", "pandas", "polars"),
        re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL),
        strict=True,
    )
)


@pytest.fixture
def traffic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of two releases whose columns differ, in the folder that the guide names."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / traffic_key("digits")
    made = {
        "r1": ([exchange(seldon([ROW]), seldon([[0.5]]), at=n * DAY) for n in (1, 1, 2)], TABLE),
        "r2": ([exchange(seldon([[1, 2, 3]]), seldon([[0.1]]), at=2 * DAY)], ARRAY),
    }
    for release, (exchanges, profile) in made.items():
        for day, _, data in write(exchanges, RequestReader([profile])):
            file = folder / TrafficPart(day, release, "6a2b", 1, 1, 2, 1).key
            file.parent.mkdir(parents=True)
            file.write_bytes(data)
    return tmp_path


@pytest.mark.parametrize("library", READERS)
def test_the_guide_s_readers_read_all_rows(library: str, traffic: Path) -> None:
    pytest.importorskip(library)
    printed = io.StringIO()
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(printed):
        exec(READERS[library], names)
    assert re.search(r"\br1\b", printed.getvalue()), printed.getvalue()
    assert re.search(r"\br2\b", printed.getvalue()), printed.getvalue()
    if library == "pandas":
        assert len(names["frame"]) == 4  # type: ignore[arg-type]
