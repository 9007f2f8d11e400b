"""How much of what is known to be wrong in files from the field `driftloop validate` finds, and whether it is quiet where nothing is.

    python tests/bench/field_cases.py FOLDER

FOLDER has a folder for each case. One whose name begins with `F`, and within the others what is called `good`, `wide` or
`zero`, must have no error; all else must have an error or a warning. Prints both shares, and what is judged otherwise.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

QUIET = ("good", "wide", "zero")


def list_units(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Yield what is checked by itself, and whether it must be quiet."""
    for case in sorted(each for each in folder.iterdir() if each.is_dir()):
        parts = sorted(case.iterdir())
        if any(part.stem in QUIET for part in parts):
            yield from ((part, part.stem in QUIET) for part in parts)
        else:
            yield case, case.name.startswith("F")


def judge(unit: Path) -> set[str]:
    """Return the severities of what is found in a file or a folder."""
    place, name = (unit.parent, unit.name) if unit.is_file() else (unit, ".")
    command = [sys.executable, "-m", "driftloop.cli", "validate", name, "--output", "json"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    return {finding["severity"] for finding in json.loads(done.stdout)["findings"]}


def main(folder: Path) -> int:
    """Judge every case of a folder, and print how many as they must be."""
    right = {True: 0, False: 0}
    count = {True: 0, False: 0}
    for unit, quiet in list_units(folder):
        found = judge(unit)
        as_it_must = ("error" not in found) if quiet else bool(found)
        count[quiet] += 1
        right[quiet] += as_it_must
        if not as_it_must:
            print(f"{unit.relative_to(folder)}: {', '.join(sorted(found)) or 'nothing is found'}")
    for quiet, words in ((False, "found of what is wrong"), (True, "quiet of what is right")):
        print(f"{words}: {right[quiet]} of {count[quiet]} ({right[quiet] / count[quiet]:.0%})")
    return 0 if right == count else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
