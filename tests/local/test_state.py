"""The state folder: versions, ports, secrets, the lock, a full disk."""

import json
import socket
import stat
from pathlib import Path

import pytest

from driftloop.errors import LocalError
from driftloop.local.ground.state import PARTS, StateFolder, free_port
from driftloop.local.up import platform


@pytest.fixture
def fresh(tmp_path: Path) -> StateFolder:
    state = StateFolder.open_folder(tmp_path / "fresh")
    state.create_folders()
    return state


def test_ports_are_kept_unless_taken(fresh: StateFolder) -> None:
    ports = fresh.choose_ports()
    assert set(ports) == set(PARTS)
    assert len(set(ports.values())) == len(PARTS)
    assert fresh.choose_ports() == ports
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports["s3"]))
        taken.listen()
        again = fresh.choose_ports()
        assert again["s3"] != ports["s3"]
        assert {**again, "s3": 0} == {**ports, "s3": 0}
        with pytest.raises(LocalError, match=rf"port {ports['s3']} \(for s3\) is in use"):
            fresh.choose_ports({"s3": ports["s3"]})


def test_secrets_are_random_kept_and_private(fresh: StateFolder) -> None:
    ports = {part: free_port() for part in PARTS}
    config, secrets = platform.build_settings(fresh, ports)
    assert platform.build_settings(fresh, ports) == (config, secrets)
    assert len(secrets["webhook-token"]) == 48
    for file in (fresh.platform, *fresh.secrets.iterdir()):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(fresh.root.stat().st_mode) == 0o700
    password = (fresh.secrets / "nats-password").read_text()
    assert config["nats-url"] == f"nats://driftloop:{password}@127.0.0.1:{ports['nats']}"
    written = json.loads(fresh.platform.read_text())
    assert written == {"configMap": config, "secret": secrets}


def test_an_older_folder_gets_what_it_lacks(fresh: StateFolder) -> None:
    ports = fresh.choose_ports()
    platform.build_settings(fresh, ports)
    (fresh.secrets / "nats-password").unlink()
    (fresh.secrets / "s3-access").write_text("")
    fresh.root.chmod(0o755)
    fresh.create_folders()
    secrets = platform.build_settings(fresh, ports)[1]
    assert len((fresh.secrets / "nats-password").read_text()) == 48
    assert len(secrets["accesskey"]) == 20
    assert stat.S_IMODE(fresh.root.stat().st_mode) == 0o700


def test_another_versions_folder_is_refused(fresh: StateFolder) -> None:
    (fresh.root / "version").write_text("0\n")
    with pytest.raises(LocalError, match=r"written by another version \(layout 0"):
        fresh.create_folders()


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(LocalError, match="is not empty and no state folder"):
        StateFolder.open_folder(tmp_path).create_folders()
    with pytest.raises(LocalError, match="is not a folder"):
        StateFolder.open_folder(tmp_path / "thesis.tex").create_folders()


def test_a_full_disk_is_said_before_anything_starts(fresh: StateFolder) -> None:
    with pytest.raises(
        LocalError, match=r"MiB free on the disk of .*, at least \d+ MiB are needed"
    ):
        fresh.require_space(least=1 << 62)


def test_the_lock_names_its_holder(fresh: StateFolder) -> None:
    import os

    assert fresh.find_holder() is None
    with fresh.hold_lock():
        assert fresh.find_holder() == os.getpid()
        with (
            pytest.raises(LocalError, match=f"already running in .* by process {os.getpid()}"),
            fresh.hold_lock(),
        ):
            pass
    assert fresh.find_holder() is None
