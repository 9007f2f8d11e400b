"""The recorder, its writer, NATS, the store, the broker and a monitor of labels are killed at random: every acknowledged event
is in one row, every labelled request in one batch, and live accuracy is the offline one."""

from pathlib import Path

import pytest
from support.labelled_world import LabelledWorld
from support.recording import run_faults


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_every_acknowledged_event_is_in_one_row_and_live_accuracy_is_the_offline_one(
    monitor_python: Path, tmp_path: Path
) -> None:
    settings = {"every": 2.0, "releases": [{"id": "r1", "role": "production"}]}
    world = LabelledWorld(tmp_path, monitor_python, settings)
    try:
        world.start()
        result = await run_faults(world, requests=1500, rate=75.0, kills=9, seed=1)
        rows = world.read_rows()
        assert result.events > 2900
        assert result.find_faults(rows) == {"lost": [], "doubled": [], "wrong": []}
        assert {part.day for part, _ in world.list_files()} == {row["day"] for row in rows}
        batches = world.read_batches()
        assert result.find_batch_faults(batches) == {"lost": [], "doubled": [], "wrong": []}
        counts = await world.read_labels()
        assert counts is not None
        assert (counts.rows, counts.right) == result.measure_offline(rows)
        assert counts.rows > 100
        assert min(counts.repeated, counts.contradicting) > 0
    finally:
        world.kill()
