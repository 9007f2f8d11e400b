"""An event that comes while the machine is busy waits, unless it is old; nothing waits where nobody tells."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from driftloop.services.recorder import yielding
from driftloop.services.recorder.yielding import LONGEST_HOLD, PressureGauge, Yielder

Busy = Callable[[float], PressureGauge]


def tell(path: Path, microseconds: float) -> None:
    path.write_text(
        f"some avg10=0.00 avg60=0.00 avg300=0.00 total={microseconds:.0f}\nfull avg10=0.00 total=7\n"
    )


@pytest.fixture
def gauge_after(tmp_path: Path) -> Busy:
    """A gauge that has looked twice, ten seconds apart, with a program waiting for this share of them."""

    def made(share: float) -> PressureGauge:
        path, now = tmp_path / "pressure", [100.0]
        gauge = PressureGauge(path, lambda: now[0])
        tell(path, 5e6)
        assert not gauge.is_busy()
        now[0] += 10
        tell(path, 5e6 + share * 10e6)
        return gauge

    return made


def test_a_machine_is_busy_while_programs_wait_for_half_of_the_time(gauge_after: Busy) -> None:
    assert not gauge_after(0.49).is_busy()
    assert gauge_after(0.51).is_busy()


def test_the_gauge_looks_again_after_a_while_only(tmp_path: Path) -> None:
    path, now = tmp_path / "pressure", [0.0]
    gauge = PressureGauge(path, lambda: now[0])
    tell(path, 0)
    gauge.is_busy()
    now[0] = 1.0
    tell(path, 1e6)
    assert gauge.is_busy()
    now[0] = 1.1
    path.unlink()
    assert gauge.is_busy(), "the last look still holds"
    now[0] = 9.0
    assert not gauge.is_busy(), "nobody tells any more"


@pytest.mark.parametrize("text", ["", "some avg10=0.00", "some total=x"])
def test_nothing_waits_where_linux_does_not_tell(tmp_path: Path, text: str) -> None:
    gauge = PressureGauge(tmp_path / "pressure")
    assert not gauge.is_busy()
    (tmp_path / "pressure").write_text(text)
    assert not gauge.is_busy()


@pytest.mark.parametrize(
    ("share", "age", "holds"),
    [
        (0.9, 0.0, True),
        (0.9, LONGEST_HOLD - 5, True),
        (0.9, LONGEST_HOLD + 5, False),
        (0.1, 0.0, False),
    ],
)
async def test_a_young_event_waits_while_the_machine_is_busy(
    gauge_after: Busy, monkeypatch: pytest.MonkeyPatch, share: float, age: float, holds: bool
) -> None:
    monkeypatch.setattr(yielding, "HOLD", 0.01)
    registry = CollectorRegistry()
    yielder = Yielder(gauge_after(share), registry)
    arrived = datetime.now(UTC) - timedelta(seconds=age)
    await yielder.hold_event(arrived.isoformat())
    assert registry.get_sample_value("driftloop_recorder_held_events_total") == float(holds)


@pytest.mark.parametrize("arrived", [None, "", "soon", "2026-11-30T10:00:00"])
async def test_an_event_whose_age_is_not_known_does_not_wait(
    gauge_after: Busy, arrived: str | None
) -> None:
    registry = CollectorRegistry()
    await Yielder(gauge_after(0.9), registry).hold_event(arrived)
    assert registry.get_sample_value("driftloop_recorder_held_events_total") == 0.0
