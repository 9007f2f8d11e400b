"""`local.yaml`: values of the Secrets and ConfigMaps that a spec names, on one machine."""

import subprocess
from pathlib import Path

import pytest
from support.commands import type_command

from driftloop.errors import LocalError
from driftloop.local.argo.configuration import Configuration
from driftloop.local.argo.parts import KeyRef
from driftloop.local.ground.own_values import OwnValues
from driftloop.local.ground.settings import LocalSettings
from driftloop.local.ground.state import StateFolder
from driftloop.local.kubelet.values import (
    ConfigValues,
    require_own,
    require_volumes,
    resolve_environment,
    start_own,
)
from driftloop.spec.environment import Environment
from driftloop.spec.volumes import ClaimFolder, SecretFiles
from tests.spec.specs import changed

SPEC = changed(
    'train: {run: "train:train"}',
    'train: {run: "train:train", env: {TOKEN: {secret: atlas, key: token}}, envFrom: [{config: site}]}',
)
VALUES = 'secrets:\n  atlas: {token: "geheim"}\nconfigs:\n  site: {REGION: south}\n'


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    state = StateFolder.open_folder(tmp_path / ".driftloop")
    state.root.mkdir()
    return state


def test_up_says_what_is_missing_before_anything_is_built(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "pipeline.yaml").write_text(SPEC)
    told = type_command("up", "pipeline.yaml", folder=tmp_path, code=1).stderr
    file = tmp_path / ".driftloop" / "local.yaml"
    assert (
        "pipeline.yaml:9:44: spec.train.env.TOKEN takes key `token` of the Secret `atlas`, of which this machine has no "
        "value\n" in told
    )
    assert "spec.train.envFrom[0] takes ConfigMap `site`" in told
    assert f"write into {file}, which git ignores:\n  secrets:\n    atlas:\n      token: …" in told
    assert "environment" not in told
    file.write_text(VALUES)
    status = ["git", "-C", tmp_path, "status", "--porcelain", "-uall"]
    shown = subprocess.run(status, check=True, capture_output=True, text=True).stdout
    assert shown.split() == ["??", "pipeline.yaml"]


def test_a_folder_with_nothing_but_the_file_becomes_a_state_folder(state: StateFolder) -> None:
    state.own_values.write_text(VALUES)
    OwnValues.load(state)
    assert state.ignored.read_text() == "*\n"
    state.create_folders()
    assert state.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("secrets: {atlas: {token: 4711}}\n", ":1:26: secrets.atlas.token must be a text, in quotes"),
        ("secrets: {atlas: geheim}\n", ":1:18: secrets.atlas must be a mapping"),
        ("secret: {atlas: {token: x}}\n", ":1:1: secret is not a known key, must be one of: `secrets`"),
        ("secrets: {a: {b: c}, a: {b: d}}\n", ":1:22: "),
        ("- x\n", ":1:1: the file must be a mapping"),
        ("volumes: {a: there}\n", ":1:14: volumes.a is `there`, must be an absolute path of a folder that exists"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line_and_without_the_value(
    state: StateFolder, text: str, message: str
) -> None:
    state.own_values.write_text(text)
    with pytest.raises(LocalError) as caught:
        OwnValues.load(state)
    assert f"{state.own_values}{message}" in caught.value.message
    assert "geheim" not in str(caught.value)
    assert "4711" not in str(caught.value)


def test_containers_and_steps_get_the_same(state: StateFolder) -> None:
    state.own_values.write_text(VALUES)
    LocalSettings({}, {}).save(_with_run(state))
    own = OwnValues.load(state)
    values = ConfigValues({("shop", "site"): {"REGION": "git's"}}, {}, {}, own)
    token = {"secretKeyRef": {"name": "atlas", "key": "token"}}
    container = {
        "env": [{"name": "TOKEN", "valueFrom": token}, {"name": "A", "value": "$(REGION)!"}],
        "envFrom": [{"configMapRef": {"name": "site"}}],
    }
    environment = resolve_environment("here", "shop", container, values)
    assert environment == {"REGION": "south", "TOKEN": "geheim", "A": "south!"}
    configuration = Configuration.of(state, "shop", lambda *_: None)
    assert configuration.secret_key(KeyRef(name="atlas", key="token")) == "geheim"
    assert configuration.config_maps("site") == {"REGION": "south"}


def test_a_step_without_its_value_is_refused_with_its_commit(state: StateFolder) -> None:
    """A pushed commit has not been asked by `up`."""
    values = ConfigValues({}, {}, {}, OwnValues.load(state))
    other = {"secretKeyRef": {"name": "driftloop-platform", "key": "accesskey"}}
    require_own("here", "shop", {"env": [{"name": "K", "valueFrom": other}]}, values)
    token = {"secretKeyRef": {"name": "atlas", "key": "token"}}
    with pytest.raises(LocalError) as caught:
        require_own("here", "shop", {"env": [{"name": "K", "valueFrom": token}]}, values)
    assert caught.value.message == (
        "here: env K takes key `token` of the Secret `atlas`, of which this machine has no value"
    )
    claim = {"name": "pvc-data", "persistentVolumeClaim": {"claimName": "data"}}
    with pytest.raises(
        LocalError, match="PersistentVolumeClaim `data`, for which this machine has no folder"
    ):
        require_volumes("here", "shop", [claim], values)
    assert str(state.own_values) in (caught.value.hint or "")


def test_a_program_outside_pods_has_its_folders_and_their_paths(
    state: StateFolder, tmp_path: Path
) -> None:
    data = tmp_path / "there"
    data.mkdir()
    state.own_values.write_text(f"{VALUES}volumes: {{data: {data}}}\n")
    volumes = (
        ClaimFolder(pvc="data", mount_path="/data"),
        SecretFiles(secret="atlas", mount_path="/etc/ca"),
    )
    given = Environment({"DATA": "/data/x", "CA": "/etc/ca/token"}, (), volumes)
    things = start_own("here", given, OwnValues.load(state), tmp_path / "work")
    assert things.folders["/data"] == data
    assert things.variables["DATA"] == f"{data}/x"
    secret = Path(things.variables["CA"])
    assert secret.read_text() == "geheim"
    assert secret.stat().st_mode & 0o777 == 0o600


def _with_run(state: StateFolder) -> StateFolder:
    state.run.mkdir()
    return state
