"""Counting the alarms of detectors on windows that all of them get."""

from collections.abc import Sequence
from functools import cache

import numpy as np

from power.judges import Judge, Release, Window
from power.shares import FEW, AlarmCount
from power.tables import Draw


class WindowSource:
    """Windows of one change and size, drawn once for all that judge them; each is read by one of several
    releases, in turn."""

    def __init__(
        self, releases: Sequence[Release], draw: Draw, size: int, *, seed: Sequence[int]
    ) -> None:
        self._releases = releases
        self._draw = draw
        self._size = size
        self._seed = seed
        self._read = cache(self._read_window)

    def _read_window(self, number: int) -> Window:
        random = np.random.default_rng([*self._seed, self._size, number])
        release = self._releases[number % len(self._releases)]
        return release.read_window(self._draw(random, self._size))

    def count_alarms(
        self, judges: Sequence[Judge], windows: int, *, early: bool = True
    ) -> AlarmCount:
        """Count the alarms of a detector that is fitted on each release; `early` ends with few windows when
        all of them say the same."""
        alarms = 0
        for number in range(windows):
            alarms += judges[number % len(judges)](self._read(number))
            if early and number + 1 == FEW and alarms in (0, FEW):
                return AlarmCount(alarms, FEW)
        return AlarmCount(alarms, windows)
