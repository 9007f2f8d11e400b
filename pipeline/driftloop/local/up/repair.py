"""Repair of a state folder before anything starts: what is damaged is set aside and made anew, or
named."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from driftloop.contract.documents import DocumentError, is_text_map
from driftloop.contract.platform import TRACKING_SETTINGS
from driftloop.errors import LocalError
from driftloop.local.argo.objects import Objects
from driftloop.local.flux.record import AppliedRecord
from driftloop.local.ground import addresses, binaries, files
from driftloop.local.ground.files import SET_ASIDE, find_set_aside
from driftloop.local.ground.settings import LocalSettings
from driftloop.local.ground.state import StateFolder, replace_file
from driftloop.local.ground.timeline import EventTimeline
from driftloop.local.kubelet import images
from driftloop.local.up.history_record import HistoryRecord
from driftloop.local.up.signing import KEY_FILE, TRUSTED_FILE, find_damage

SHORTEST = 8
"""Characters of a secret at least; ours have more, a person may have put one there."""

FOLDERS = ("envoy",)
"""Folders beside the files of `run`."""

_WRITTEN = frozenset(setting.key for setting in TRACKING_SETTINGS)
"""Secrets that a person writes, with an editor that ends lines: another server knows them."""
_APPLIED = "what the branch holds is applied anew"
_HISTORY = "read again from the streams; what is in the timeline stays"
_SECRETS = {
    KEY_FILE: "releases are signed with a new key",
    TRUSTED_FILE: "releases that other keys than the present one have signed are refused",
}


def repair_state(state: StateFolder, timeline: EventTimeline) -> None:
    """Set damaged files aside, and tell which and what takes their place; `up` must hold the
    lock."""
    _clear_place(state.timeline, timeline)
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
    for file in sorted(state.run.iterdir()):
        if not file.name.endswith(SET_ASIDE) and not (file.name in FOLDERS and file.is_dir()):
            _clear_place(file, timeline)
    _repair_repository(state, timeline)


def _clear_place(file: Path, timeline: EventTimeline) -> None:
    if (kind := files.clear_place(file)) is not None:
        event = f"{file} was {kind}, set aside as {file.name}{SET_ASIDE}: it is written anew"
        timeline.add_entry("platform", event)


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
        if os.path.lexists(file):
            try:
                read()
            except LocalError as error:
                yield file, error.message, instead
    for file in sorted(state.secrets.iterdir()):
        if not file.name.endswith(SET_ASIDE) and (wrong := _check_secret(file)) is not None:
            instead = "a new secret is made"
            if file.name in _WRITTEN:
                instead = "the tracking server is asked without it"
            yield file, wrong, _SECRETS.get(file.name, instead)
    for file in sorted(state.images.glob("*/image.json")):
        try:
            images.read_record(file)
        except LocalError as error:
            yield file, error.message, "`driftloop up SPEC` registers the image again"


def _read_addresses(file: Path) -> None:
    try:
        document = files.read_document(file)
    except DocumentError as error:
        raise LocalError(error.message) from error
    if not is_text_map(document):
        raise LocalError(f"{file} is not an object of texts")


def _check_secret(file: Path) -> str | None:
    """Return the reason for which a file can't be a secret."""
    try:
        text = files.read_file(file)
    except LocalError as error:
        return error.message
    if file.name in _SECRETS:
        return find_damage(file.name, text)
    if file.name in _WRITTEN:
        text = text.strip()
    elif len(text) < SHORTEST:
        return f"it has {len(text)} characters, must have at least {SHORTEST}"
    if not all(0x21 <= byte <= 0x7E for byte in text):
        return "it holds characters that no secret has"
    return None


def _repair_repository(state: StateFolder, timeline: EventTimeline) -> None:
    """Make what git needs besides its objects; the objects themselves are git's to check."""
    head, config = state.repository / "HEAD", state.repository / "config"
    if not state.repository.exists():
        return
    for file in (head, config, state.repository / "packed-refs"):
        _clear_place(file, timeline)
    state.require_repository()
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
