"""Files of a state folder as a crash, a full disk or a curious person leaves them."""

import json
import os
import shutil
from pathlib import Path
from random import Random

from tests.fuzz import values

SKIPPED = ("logs", "envs", "work", "hooks", "info")
"""Folders whose files nobody reads back."""
STORES = ("nats", "s3")
"""Folders of other programs, which read them at their leisure."""
TEXTS = (
    b"\xff\xfe\x00",
    b"\x80" * 40,
    "é".encode("latin-1"),
    "x".encode("utf-16"),
    b'{"a": "\xed\xa0\x80"}',
)
"""What is no UTF-8 text."""


def list_files(state: Path) -> list[Path]:
    """Return the files that can be damaged, relative to the state folder."""
    return sorted(
        file.relative_to(state)
        for file in state.rglob("*")
        if file.is_file() and not set(file.relative_to(state).parts) & set(SKIPPED)
    )


def damage_file(random: Random, root: Path, file: Path) -> str:
    """Damage a file of the state folder `root` and return what was done."""
    data = file.read_bytes()
    file.chmod(0o600)
    own = file.relative_to(root).parts[0] not in STORES
    match random.randrange(12):
        case 0:
            file.unlink()
            return "removed"
        case 1:
            file.write_bytes(b"")
            return "emptied"
        case 2:
            file.unlink()
            file.mkdir()
            if random.random() < 0.3:
                (file / "a").write_bytes(data)
            return "made a folder"
        case 3:
            file.unlink()
            other = file.with_name(f"{file.name}.other")
            if random.random() < 0.5:
                other.write_bytes(data)
            file.symlink_to(
                random.choice((other.name, "nowhere", file.name, "/dev/null", "/proc/self/mem"))
            )
            return "made a link"
        case 4 | 10 if own:
            file.unlink()
            os.mkfifo(file)
            return "made a pipe"
        case 11:
            text = random.choice(TEXTS)
            file.write_bytes(text)
            return f"now {text!r}"
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
