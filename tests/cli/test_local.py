"""`up`, `down`, `status`, `logs` as a user runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from driftloop.local.ground import leftovers
from driftloop.local.ground.state import StateFolder
from tests.local.conftest import (
    Git,
    context,
    deployment,
    envs,
    git,
    kustomization,
    service,
    state,
    virtual_service,
)
from tests.spec.specs import MINIMAL

__all__ = ["context", "envs", "git", "state"]


def driftloop(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command; its exit code must be `code`."""
    command = [sys.executable, "-m", "driftloop.cli", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == code, result.stderr + result.stdout
    return result


def test_the_whole_life_of_a_platform(state: StateFolder, git: Git, envs: Path) -> None:
    version = {
        "run": "shop-1",
        "model": "s3://driftloop/runs/shop-1/release/model",
        "modelDigest": "sha256:" + "1" * 64,
        "dataDigest": "sha256:" + "2" * 64,
    }
    release = {
        "apiVersion": "driftloop.dev/v1alpha1",
        "kind": "Release",
        "metadata": {"name": "shop", "namespace": "shop"},
        "spec": {
            "phase": "canary",
            "production": {"id": "r00000001"} | version,
            "candidate": {"id": "r00000002"} | version,
            "weights": {"r00000001": 90, "r00000002": 10},
        },
    }
    sha = git.commit(
        {
            "cluster/dev/pipelines/shop.yaml": kustomization(
                "shop-deployments", "deployments/shop"
            ),
            "deployments/shop/kustomization.yaml": {"resources": ["a.yaml", "traffic.yaml"]},
            "deployments/shop/a.yaml": [deployment("a"), service("a")],
            "deployments/shop/traffic.yaml": virtual_service({"a": 100}),
            "deployments/shop/release.yaml": release,
            "deployments/broken/release.yaml": {"spec": {"phase": "canary"}},
        },
        "Open the shop",
    )
    folder = ("--state", str(state.root))
    try:
        up = driftloop("up", *folder, "--envs", str(envs), "--detach")
        assert "up after" in up.stderr
        assert (
            f"already running in {state.root}"
            in driftloop("up", *folder, "--detach", code=1).stderr
        )
        found = json.loads(driftloop("status", *folder, "--output", "json").stdout)
        assert found["applied"] == sha
        names = {process["name"]: process for process in found["processes"]}
        # it is started last, and nobody waits for it
        assert names.pop("console")["phase"] in ("starting", "ready")
        assert {"nats", "s3", "envoy", "broker", "argo", "shop/a"} == set(names)
        assert all(
            process["phase"] == "ready" and process["memory"] > 1 for process in names.values()
        )
        parts = found["memory"]["up"] + sum(each["memory"] for each in found["processes"])
        assert found["memory"]["total"] == pytest.approx(parts, rel=0.2)
        assert found["releases"]["shop"]["weights"] == {"r00000001": 90, "r00000002": 10}
        table = driftloop("status", *folder).stdout
        assert (
            "release  shop: canary; production r00000001; candidate r00000002; "
            "weights r00000001 90%, r00000002 10%" in table
        )
        assert "release  broken: deployments/broken/release.yaml:1: kind: Field required" in table
        assert f"commit   {sha[:12]} applied" in table
        assert "Open the shop" in driftloop("logs", *folder).stdout
        assert "listening" in driftloop("logs", "shop/a", *folder).stdout
        assert "listening" in driftloop("logs", "a", *folder).stdout
        assert driftloop("logs", "s", *folder, code=1).stderr.count("shop/a") == 1
        assert "log `nobody` does not exist" in driftloop("logs", "nobody", *folder, code=1).stderr
        exports = driftloop("env", *folder).stdout
        bucket = 'python -c \'import boto3; boto3.client("s3").create_bucket(Bucket="mine")\''
        subprocess.run(["sh", "-c", f'eval "$1"; {bucket}', "sh", exports], check=True, env=_path())
        assert (state.root / "s3" / "mine").is_dir()
        assert (
            json.loads(driftloop("env", *folder, "--output", "json").stdout)["DRIFTLOOP_GATEWAY"]
            in table
        )
        pid = state.find_holder()
        assert pid is not None
        assert "stopping process" in driftloop("down", *folder).stderr
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        assert leftovers.find_leftovers(state) == []
        assert "nothing was running" in driftloop("down", *folder).stderr
        assert "nothing runs" in driftloop("status", *folder, code=1).stderr
    finally:
        if (holder := state.find_holder()) is not None:
            os.kill(holder, 9)
        leftovers.stop_leftovers(state)


def _path() -> dict[str, str]:
    """This environment's programs and no settings."""
    return {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def test_explain_prints_the_three_lists() -> None:
    text = driftloop("up", "--explain").stdout
    assert "Acts on" in text
    assert "Accepts without local effect" in text
    assert "Refuses" in text


@pytest.mark.parametrize("command", ["down", "env", "status", "logs"])
def test_a_folder_that_is_no_state_folder(tmp_path: Path, command: str) -> None:
    assert "is not a state folder" in driftloop(command, "--state", str(tmp_path), code=1).stderr


def test_up_without_anything_to_run(tmp_path: Path) -> None:
    result = driftloop("up", "--state", str(tmp_path / "none"), code=1)
    assert "does not exist" in result.stderr
    assert "driftloop up pipeline.yaml" in result.stderr
    assert not (tmp_path / "none").exists()


def test_up_says_what_is_wrong_with_a_project_before_it_builds_anything(tmp_path: Path) -> None:
    driftloop("init", str(tmp_path / "mine"))
    spec = tmp_path / "mine" / "pipeline.yaml"
    text = spec.read_text()
    spec.write_text(text.replace("train:train", "train:trian"))
    said = driftloop("up", str(spec), "--state", str(tmp_path / "state"), code=1).stderr
    assert f"{spec}:10:16: spec.train.run is `train:trian`, must be a function in" in said
    assert "building its environment" not in said
    spec.write_bytes(b"\x8c\xff")
    assert (
        "is not UTF-8 text"
        in driftloop("up", str(spec), "--state", str(tmp_path / "state"), code=1).stderr
    )


@pytest.mark.parametrize(
    ("serve", "expected", "hint"),
    [
        ("server: sklearn", "spec.serve.server is `sklearn`, which only Seldon's operator can run", "`server: python`"),
        ("model: D, graph: {type: transformer, name: a, image: server, class: A, children: [{type: released}]}",
         "spec.serve.graph is a graph, which only Seldon's executor can walk", "without `graph`"),
    ],
)  # fmt: skip
def test_what_only_the_operator_can_serve_is_refused_before_anything_starts(
    tmp_path: Path, serve: str, expected: str, hint: str
) -> None:
    spec = tmp_path / "pipeline.yaml"
    spec.write_text(MINIMAL.replace("{model: Digits}", f"{{{serve}}}"))
    said = driftloop("up", str(spec), "--state", str(tmp_path / "state"), code=1).stderr
    assert expected in said
    assert hint in said.partition("hint: ")[2]
    assert not any((tmp_path / "state" / "images").iterdir())
