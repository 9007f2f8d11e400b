"""The key that signs releases on one machine: made once, kept, replaced by removing it."""

import pytest

from driftloop.errors import LocalError
from driftloop.local.ground.state import StateFolder
from driftloop.local.up.signing import KEY_FILE, TRUSTED_FILE, ensure_signing_keys
from driftloop.release import minisign


def test_a_key_is_made_once_and_rotates_when_it_is_removed(tmp_path):
    state = StateFolder.open_folder(tmp_path / "state")
    state.secrets.mkdir(parents=True)
    first, trusted = ensure_signing_keys(state)
    assert ensure_signing_keys(state) == (first, trusted)
    for name in (KEY_FILE, TRUSTED_FILE):
        assert (state.secrets / name).stat().st_mode & 0o777 == 0o600

    (state.secrets / KEY_FILE).unlink()
    second, both = ensure_signing_keys(state)
    assert second != first
    keys = [minisign.read_signing_key(key, label="x").public.text for key in (second, first)]
    assert both.splitlines() == keys
    # a line that is taken out is trusted no more
    (state.secrets / TRUSTED_FILE).write_text(f"{keys[0]}\n")
    assert ensure_signing_keys(state) == (second, keys[0])


@pytest.mark.parametrize("name", [KEY_FILE, TRUSTED_FILE])
def test_a_damaged_file_is_named(tmp_path, name):
    state = StateFolder.open_folder(tmp_path / "state")
    state.secrets.mkdir(parents=True)
    ensure_signing_keys(state)
    (state.secrets / name).write_text("RWQA\n")
    with pytest.raises(LocalError, match=f"{state.secrets / name}.* is not a minisign") as caught:
        ensure_signing_keys(state)
    assert "remove it" in (caught.value.hint or "")
