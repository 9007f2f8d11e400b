"""Recording waits for answering: while a machine has no processor to spare, an event that came lately is taken late.

What is not taken yet is in the broker's stream. Linux tells for how long some program has waited for a processor (PSI,
`/proc/pressure/cpu`); where it does not, nothing waits.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter

PRESSURE = Path("/proc/pressure/cpu")
BUSY = 0.5
"""Share of the time in which a program waited for a processor, from which on a machine is busy."""
LOOK = 0.5
"""Seconds from one look at the machine to the next."""
HOLD = 1.0
"""Seconds that an event waits: well below those that a Trigger gives a delivery."""
LONGEST_HOLD = 30.0
"""Age in seconds from which on an event, or a part, does not wait, however busy the machine is."""
ARRIVAL = "knativearrivaltime"


class PressureGauge:
    """How busy the processors of this machine are."""

    def __init__(self, path: Path = PRESSURE, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._before: tuple[float, int] | None = None
        self._busy = False

    def is_busy(self) -> bool:
        """Return True while programs waited for a processor for at least half of the time between the last two looks."""
        now = self._clock()
        if self._before is not None and now - self._before[0] < LOOK:
            return self._busy
        waited = self._read_waited()
        if waited is None:
            return False
        if self._before is not None:
            self._busy = waited - self._before[1] >= BUSY * 1e6 * (now - self._before[0])
        self._before = now, waited
        return self._busy

    def _read_waited(self) -> int | None:
        """Microseconds since the start of the machine in which a program waited; None where Linux does not tell."""
        try:
            first = self._path.read_text().split("\n", 1)[0]
            return int(first.rpartition("total=")[2])
        except (OSError, ValueError):
            return None


class Yielder:
    """Lets events wait while the machine is busy and they are young."""

    def __init__(self, gauge: PressureGauge, registry: CollectorRegistry) -> None:
        self._gauge = gauge
        self._counter = Counter(
            "driftloop_recorder_held_events",
            "Events that waited while predictions had the processors",
            registry=registry,
        )

    async def hold_event(self, arrived: str | None) -> None:
        """Wait when it is time to; `arrived` is when the broker got the event, in RFC 3339."""
        if arrived is None or not self._gauge.is_busy() or _compute_age(arrived) >= LONGEST_HOLD:
            return
        self._counter.inc()
        await asyncio.sleep(HOLD)


def _compute_age(arrived: str) -> float:
    """Seconds since a time; as old as can be for one that can't be read."""
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(arrived)).total_seconds()
    except (ValueError, TypeError):
        return LONGEST_HOLD
