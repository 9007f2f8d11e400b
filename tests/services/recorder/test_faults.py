"""The recorder, its writer, NATS and the store are killed at random: every acknowledged event is in one row."""

from collections.abc import Callable

import pytest
from support.recorder import RecorderWorld
from support.recording import run_faults


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_every_acknowledged_event_is_in_one_row(start: Callable[..., RecorderWorld]) -> None:
    world = start(every=2.0)
    result = await run_faults(world, requests=1500, rate=75.0, kills=8, seed=1)
    rows = world.read_rows()
    assert result.events > 2900
    assert result.find_faults(rows) == {"lost": [], "doubled": [], "wrong": []}
    assert {part.day for part, _ in world.list_files()} == {row["day"] for row in rows}
