"""The requirements.in of an image's folder against the requirements.txt that was made of it, which alone is installed."""

import re
from collections.abc import Iterator
from pathlib import Path

from driftloop.local.kubelet.environments import list_lines, normalize_name
from driftloop.text.words import join_some

_WANTED = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*(?:==\s*([^\s;,*]+)\s*(?:;|$))?"
)
_MADE_BY = re.compile(r"^#\s+(uv pip compile .*|pip-compile.*)$", re.MULTILINE)
MOST_NAMED = 5


def list_lock_notes(context: Path) -> Iterator[str]:
    """Yield a note where requirements.in asks for what requirements.txt lacks, or has in another version."""
    wanted, lock = context / "requirements.in", context / "requirements.txt"
    try:
        asked, text = _read_names(wanted.read_text()), lock.read_text()
    except (OSError, UnicodeDecodeError):
        return
    overridden = context / "overrides.txt"
    kept = _read_names(overridden.read_text()) if overridden.is_file() else {}
    locked = _read_names(text)
    differing = []
    for name, (line, version) in asked.items():
        found = locked.get(name)
        if found is None:
            differing.append(f"`{name}` (line {line}), which it lacks")
        elif version and found[1] and found[1] != version and name not in kept:
            differing.append(f"`{name}=={version}` (line {line}), of which it has {found[1]}")
    if not differing:
        return
    named = join_some(differing, MOST_NAMED)
    made = _MADE_BY.search(text)
    command = made[1].strip() if made else "uv pip compile requirements.in -o requirements.txt"
    yield (
        f"{lock} is what the image installs, and {wanted.name} asks for {named}: `cd {context} && {command}` makes it anew"
    )


def _read_names(text: str) -> dict[str, tuple[int, str | None]]:
    """Return each named package with its line, and its version where one is demanded; options, addresses and what
    holds only elsewhere (markers) are left out."""
    names: dict[str, tuple[int, str | None]] = {}
    for number, line in list_lines(text):
        match = _WANTED.match(line.partition(" --hash=")[0].strip())
        if match is None or ";" in line or "://" in line:
            continue
        names.setdefault(normalize_name(match[1]), (number, match[2]))
    return names
