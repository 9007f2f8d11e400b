"""`driftloop data` on a running `driftloop up`: labelled batches go where the pipeline trains on them."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from driftloop.clients.kubernetes import KubernetesClient
from driftloop.render import render_tree
from tests.local.conftest import Git, Up, kustomization

SPEC = """\
apiVersion: driftloop.dev/v1alpha1
kind: Pipeline
metadata: {name: shop}
spec:
  images: {trainer: {ref: example.org/echo:1}, server: {ref: example.org/echo:1}}
  data: {uri: s3://labels/shop}
  train: {run: "train:train"}
  evaluate: {run: "evaluate:evaluate"}
  serve: {model: Model, backend: plain}
  monitors: {drift: {detector: chi2}}
"""


def data(up: Up, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "driftloop.cli", "data", *arguments]
    state = ("--state", str(up.state.root))
    return subprocess.run([*command, *state], capture_output=True, text=True, check=False)


def test_batches_are_put_listed_and_not_overwritten(
    start: Callable[..., Up], git: Git, tmp_path: Path
) -> None:
    (template,) = (
        text
        for path, text in render_tree(SPEC, None).items()
        if path == "workflows/shop/train.workflowtemplate.yaml"
    )
    sha = git.commit(
        {
            "cluster/dev/pipelines/shop.yaml": kustomization("shop-workflows", "workflows/shop"),
            "workflows/shop/train.workflowtemplate.yaml": template,
        }
    )
    up = start().wait_up()
    up.wait_applied(sha)
    may = tmp_path / "may.csv"
    may.write_text("x,y\n1,0\n")

    result = data(up, "put", str(may), "--to", "shop")
    assert (result.returncode, result.stdout) == (0, "s3://labels/shop/may.csv\n"), result.stderr
    listed = data(up, "ls", "shop")
    assert listed.stdout.split() == ["8", "may.csv"]
    assert "1 file in s3://labels/shop" in listed.stderr

    may.write_text("x,y\n1,0\n2,1\n")
    result = data(up, "put", str(may), "--to", "shop")
    assert result.returncode == 1
    assert "s3://labels/shop/may.csv exists" in result.stderr
    assert data(up, "put", str(may), "--to", "shop", "--replace").returncode == 0
    assert data(up, "ls", "shop").stdout.split() == ["12", "may.csv"]

    june = tmp_path / "june.csv"
    june.write_text("weight,Y\n1,0\n")
    result = data(up, "put", str(june), "--to", "shop")
    assert result.returncode == 1
    assert "june.csv has no column `y` for the label" in result.stderr
    assert "hint: did you mean `Y`?" in result.stderr
    assert data(up, "ls", "shop").stdout.split() == ["12", "may.csv"]

    july = tmp_path / "july.csv"
    july.write_text("x,y\n" + "".join(f"{n / 8},0\n" for n in range(101)))
    result = data(up, "put", str(july), "--to", "shop")
    assert result.returncode == 1
    assert "july.csv: column `x` has more than 100 different values" in result.stderr
    assert "hint: use `ks` for measurements" in result.stderr
    july.write_text("x,y\n" + "".join(f"{n % 100},0\n" for n in range(300)))
    assert data(up, "put", str(july), "--to", "shop").returncode == 0

    notes = tmp_path / "notes.txt"
    notes.write_text("none")
    result = data(up, "put", str(notes), "--to", "shop")
    assert result.returncode == 1
    assert "must be one of: .npz, .csv, .jsonl" in result.stderr
    result = data(up, "put", str(may), "--to", "cafe")
    assert result.returncode == 1
    assert "pipeline `cafe` does not run in" in result.stderr
    client = KubernetesClient.from_url(f"http://127.0.0.1:{up.ports['api']}")
    assert client.request_fetch("flux-system", "flux-system") is None
    assert "answered 422" in (client.request_fetch("flux-system", "other") or "")
