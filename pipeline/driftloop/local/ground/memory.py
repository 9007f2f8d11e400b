"""Memory in proportional set size: shared pages are counted once in a sum."""

from collections.abc import Iterable
from pathlib import Path

from driftloop.local.ground.state import StateFolder


def measure_share(pid: int) -> float:
    """MB of one process; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1000


def measure_shares(pids: Iterable[int]) -> dict[int, float]:
    """MB of each process with all its descendants."""
    # where only clusters are looked at, psutil is not installed
    import psutil

    sizes: dict[int, float] = {}
    roots = set(pids)
    for pid in roots:
        try:
            below = psutil.Process(pid).children(recursive=True)
        except psutil.NoSuchProcess:
            continue
        # the supervisor's children are counted on their own
        members = (
            [pid]
            if roots & {child.pid for child in below}
            else [pid, *(child.pid for child in below)]
        )
        sizes[pid] = sum(map(measure_share, members))
    return sizes


def measure_total(state: StateFolder) -> float:
    """MB of the supervisor and of everything that carries its mark."""
    from driftloop.local.ground import leftovers

    pids = {process.pid for process in leftovers.find_leftovers(state)}
    if (holder := state.find_holder()) is not None:
        pids.add(holder)
    return sum(map(measure_share, pids))
