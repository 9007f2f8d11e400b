"""Repair of a state folder before anything starts: what is damaged is set aside and made anew, or
named."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from driftloop.contract.documents import LONGEST_FILE, DocumentError, is_text_map, parse_json
from driftloop.errors import LocalError
from driftloop.local.argo.objects import Objects
from driftloop.local.flux.record import AppliedRecord
from driftloop.local.ground import addresses, binaries
from driftloop.local.ground.settings import LocalSettings
from driftloop.local.ground.state import SET_ASIDE, StateFolder, find_set_aside, replace_file
from driftloop.local.ground.timeline import EventTimeline
from driftloop.local.kubelet import images
from driftloop.local.up.history_record import HistoryRecord

SHORTEST = 8
"""Characters of a secret at least; ours have more, a person may have put one there."""

_APPLIED = "what the branch holds is applied anew"
_HISTORY = "read again from the streams; what is in the timeline stays"


def repair_state(state: StateFolder, timeline: EventTimeline) -> None:
    """Set damaged files aside, and tell which and what takes their place; `up` must hold the
    lock."""
    for file, wrong, instead in _find_damaged(state):
        try:
            file.replace(find_set_aside(file))
        except OSError as error:
            raise LocalError(
                f"{file} is damaged and can't be set aside: {error}", hint="remove it by hand"
            ) from error
        timeline.add_entry(
            "platform", f"{file} is damaged, set aside as {file.name}{SET_ASIDE}: {instead}", wrong
        )
    _repair_repository(state, timeline)


def _find_damaged(state: StateFolder) -> Iterator[tuple[Path, str, str]]:
    """Yield each damaged file, its error, and what takes its place."""
    readers: tuple[tuple[Path, Callable[[], object], str], ...] = (
        (state.ports_file, state.known_ports, "ports are chosen anew"),
        (state.objects, lambda: Objects.read(state.objects), _APPLIED),
        (state.addresses, lambda: _read_addresses(state.addresses), _APPLIED),
        (state.platform, lambda: LocalSettings.load(state), "the settings are written anew"),
        (state.applied, lambda: AppliedRecord.load(state.applied), _APPLIED),
        (state.history, lambda: HistoryRecord.load(state.history), _HISTORY),
    )
    for file, read, instead in readers:
        if file.exists():
            try:
                read()
            except LocalError as error:
                yield file, error.message, instead
    for file in sorted(state.secrets.iterdir()):
        if not file.name.endswith(SET_ASIDE) and (wrong := _check_secret(file)) is not None:
            yield file, wrong, "a new secret is made"
    for file in sorted(state.images.glob("*/image.json")):
        try:
            images.read_record(file)
        except LocalError as error:
            yield file, error.message, "`driftloop up SPEC` registers the image again"


def _read_addresses(file: Path) -> None:
    try:
        document = parse_json(file.read_bytes(), label=str(file), longest=LONGEST_FILE)
    except DocumentError as error:
        raise LocalError(error.message) from error
    if not is_text_map(document):
        raise LocalError(f"{file} is not an object of texts")


def _check_secret(file: Path) -> str | None:
    """Return the reason for which a file can't be a secret."""
    text = file.read_bytes()
    if len(text) < SHORTEST:
        return f"it has {len(text)} characters, must have at least {SHORTEST}"
    if not all(0x21 <= byte <= 0x7E for byte in text):
        return "it holds characters that no secret has"
    return None


def _repair_repository(state: StateFolder, timeline: EventTimeline) -> None:
    """Make what git needs besides its objects; the objects themselves are git's to check."""
    head, config = state.repository / "HEAD", state.repository / "config"
    if not state.repository.exists():
        return
    branch = f"ref: refs/heads/{addresses.BRANCH}\n"
    if not head.exists() or not head.read_bytes().startswith(b"ref: refs/heads/"):
        replace_file(head, branch)
        timeline.add_entry("platform", f"{head} was damaged: it names `{addresses.BRANCH}` again")
    if not _reads_config(config):
        if config.exists():
            config.replace(find_set_aside(config))
        replace_file(config, "[core]\n\trepositoryformatversion = 0\n\tbare = true\n")
        timeline.add_entry("platform", f"{config} was damaged: it is written anew")


def _reads_config(config: Path) -> bool:
    """Return True when git reads a repository's settings and they say that it is bare."""
    command = [binaries.find_git(), "config", "--file", str(config), "--get", "core.bare"]
    result = subprocess.run(command, capture_output=True, check=False)
    return result.returncode == 0 and result.stdout.strip() == b"true"
