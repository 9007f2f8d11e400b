"""The key that signs releases on this machine, and those whose signatures count."""

from pathlib import Path

from driftloop.errors import LocalError
from driftloop.local.ground import files
from driftloop.local.ground.state import StateFolder, replace_file
from driftloop.release import minisign
from driftloop.release.minisign import SignatureError

KEY_FILE, TRUSTED_FILE = "signing-key", "signing-keys"
"""Files of `secrets/`: removing the first makes a new key, which the second gets as its first line."""


def ensure_signing_keys(state: StateFolder) -> tuple[str, str]:
    """Return the key that signs, made on first use and kept, and the keys that are trusted, as text;
    LocalError when a file of them is damaged."""
    private, public = state.secrets / KEY_FILE, state.secrets / TRUSTED_FILE
    text = _read_text(private)
    if not text:
        text = minisign.make_signing_key().text
        replace_file(private, f"{text}\n", mode=0o600)
    try:
        key = minisign.read_signing_key(text, label=str(private)).public
    except SignatureError as error:
        raise LocalError(
            error.message, hint="remove it: the next `driftloop up` makes a new key"
        ) from error
    try:
        trusted = minisign.read_public_keys(_read_text(public), label=str(public))
    except SignatureError as error:
        raise LocalError(
            error.message, hint="correct the line, or remove it: releases of that key are refused"
        ) from error
    if not trusted or trusted[0] != key:
        trusted = (key, *(old for old in trusted if old != key))
        replace_file(public, "".join(f"{each.text}\n" for each in trusted), mode=0o600)
    return text, "\n".join(each.text for each in trusted)


def find_damage(name: str, content: bytes) -> str | None:
    """Return why one of these files can't be what its name says; None when it can."""
    try:
        text = content.decode()
        if name == KEY_FILE:
            minisign.read_signing_key(text, label=name)
        elif not minisign.read_public_keys(text, label=name):
            return "it has no key"
    except UnicodeDecodeError:
        return "it is not UTF-8 text"
    except SignatureError as error:
        return error.message
    return None


def _read_text(file: Path) -> str:
    try:
        return files.read_text(file).strip()
    except FileNotFoundError:
        return ""
