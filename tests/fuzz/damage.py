"""Files of a state folder as a crash, a full disk or a curious person leaves them."""

import json
import os
import shutil
from pathlib import Path
from random import Random

from tests.fuzz import values

SKIPPED = ("logs", "envs", "work", "hooks", "info")
"""Folders whose files nobody reads back."""


def list_files(state: Path) -> list[Path]:
    """Return the files that can be damaged, relative to the state folder."""
    return sorted(
        file.relative_to(state)
        for file in state.rglob("*")
        if file.is_file() and not set(file.relative_to(state).parts) & set(SKIPPED)
    )


def damage_file(random: Random, file: Path) -> str:
    """Damage a file and return what was done."""
    data = file.read_bytes()
    file.chmod(0o600)
    match random.randrange(10):
        case 0:
            file.unlink()
            return "removed"
        case 1:
            file.write_bytes(b"")
            return "emptied"
        case 2:
            file.unlink()
            file.mkdir()
            return "made a folder"
        case 3:
            file.unlink()
            file.symlink_to(random.choice(("nowhere", file.name, "/dev/null", "/proc/self/mem")))
            return "made a link"
        case 4 if file.parent.name == "run" and file.suffix == ".json":
            file.unlink()
            os.mkfifo(file)
            return "made a pipe"
        case 5 | 6 | 7:
            try:
                document = json.loads(data)
            except ValueError:
                document = None
            if document is not None:
                text = json.dumps(values.mutate_document(random, document))
                file.write_text(text)
                return f"now {text[:300]}"
    changed = values.mutate_bytes(random, data)
    file.write_bytes(changed)
    return f"now {changed[:100]!r}"


def copy_folder(source: Path, to: Path) -> None:
    """Copy a state folder that nothing runs in, in the place of another."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(source, to, symlinks=True, ignore=shutil.ignore_patterns("*.sock"))
