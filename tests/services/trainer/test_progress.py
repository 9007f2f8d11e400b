"""How far a function is, by the lines that it prints."""

from pathlib import Path
from typing import Any

import pytest

from driftloop.services.trainer.progress import ProgressFile


@pytest.mark.parametrize(
    ("lines", "parameters", "text"),
    [
        ([{"epoch": 1, "epochs": 12}, {"epoch": 3, "epochs": 12, "loss": 0.5}], {}, "3/12"),
        # keras counts from 0
        ([{"epoch": 0}, {"epoch": 1}], {"epochs": 12}, "2/12"),
        ([{"epoch": 0}, {"epoch": 11}], {"epochs": 12}, "12/12"),
        ([{"step": 250, "steps": 1000, "epoch": 3}], {"epochs": 3.0}, "250/1000"),
        # what comes after it says nothing of it
        ([{"fold": 2, "folds": 5}, {"loss": 1.0}, {"fold": 6}], {"folds": 5}, "2/5"),
        ([{"epoch": 3}, {"epoch": True}, {"epoch": "3", "epochs": 12}, {"epoch": -1}], {}, None),
        ([{"epoch": 3, "epochs": 0}, {"row": 1, "rows": 2}], {"epochs": 10}, None),
    ],
)
def test_the_last_place_is_told(
    lines: list[dict[str, Any]], parameters: dict[str, Any], text: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "progress"
    progress = ProgressFile(file, parameters)
    for line in lines:
        progress.note_line(line)
    assert (file.read_text() if file.exists() else None) == text


def test_where_nobody_asks_and_where_nothing_can_be_written_nothing_happens(tmp_path: Path) -> None:
    ProgressFile(None, {}).note_line({"epoch": 1, "epochs": 2})
    ProgressFile(tmp_path / "no" / "folder", {}).note_line({"epoch": 1, "epochs": 2})
