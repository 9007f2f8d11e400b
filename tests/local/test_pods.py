"""Deployments as processes: what is substituted, what is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from driftloop.errors import LocalError
from driftloop.local.kubelet import pods
from driftloop.local.kubelet.images import LocalImage
from driftloop.local.kubelet.process import HttpProbe
from driftloop.local.kubelet.values import ConfigValues
from tests.golden.trees import tree
from tests.local.conftest import deployment

VALUES = ConfigValues(
    config_maps={("shop", "settings"): {"level": "info", "file.txt": "hello"}},
    platform={"nats-url": "nats://here"},
    secrets={"accesskey": "key"},
)


@pytest.fixture
def image(tmp_path: Path) -> LocalImage:
    (tmp_path / "bin").mkdir()
    for name in ("python", "serve"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return LocalImage(ref="r", digest="d", env=tmp_path, app=tmp_path / "app")


def one(image: LocalImage, folder: Path, **container: Any) -> Any:
    """The program of a Deployment whose container has these fields."""
    item = deployment("a")
    item["spec"]["template"]["spec"]["volumes"] = container.pop("volumes", [])
    item["spec"]["template"]["spec"]["containers"][0].update(container)
    pod = pods.plan_pod(item, VALUES, lambda ref: image)
    _, (program,) = pods.place_replica(
        pod, folder=folder, logs=folder, ports=dict.fromkeys(pod.ports, 20001), environment={}
    )
    return program


def test_the_container_port_becomes_a_free_port(image: LocalImage, tmp_path: Path) -> None:
    program = one(image, tmp_path)
    assert program.argv[-2:] == ("--port", "20001")
    assert program.probe == HttpProbe(20001, "/ready")
    for words, last in (
        (["--port=8080"], "--port=20001"),
        (["--bind", "0.0.0.0:8080"], "127.0.0.1:20001"),
        (["--bind=[::]:8080"], "--bind=127.0.0.1:20001"),
        (["--port", "8080", "--host", "0.0.0.0"], "127.0.0.1"),
        (["--port", "8080", "0.0.0.0/0"], "0.0.0.0/0"),
        (["--port", "8080", "a::b"], "a::b"),
    ):
        assert one(image, tmp_path, args=words).argv[-1] == last
    env = [
        {"name": "PREDICTIVE_UNIT_HTTP_SERVICE_PORT", "value": "8080"},
        {"name": "URL", "value": "http://127.0.0.1:8080/x"},
        {"name": "LIMIT", "value": "8080"},
    ]
    found = one(image, tmp_path, args=[], env=env).env
    assert (found["PREDICTIVE_UNIT_HTTP_SERVICE_PORT"], found["URL"], found["LIMIT"]) == (
        "20001",
        "http://127.0.0.1:20001/x",
        "8080",
    )


def test_a_port_nobody_is_told_is_refused(image: LocalImage, tmp_path: Path) -> None:
    with pytest.raises(
        LocalError, match="port 8080 is declared, but neither command, args nor env say so"
    ):
        one(image, tmp_path, args=[])


def test_references_are_resolved(image: LocalImage, tmp_path: Path) -> None:
    env = [
        {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "level"}}},
        {
            "name": "NATS_URL",
            "valueFrom": {"configMapKeyRef": {"name": "driftloop-platform", "key": "nats-url"}},
        },
        {
            "name": "KEY",
            "valueFrom": {"secretKeyRef": {"name": "driftloop-platform", "key": "accesskey"}},
        },
        {"name": "BOTH", "value": "$(LEVEL)-$(KEY)-$(UNKNOWN)"},
    ]
    found = one(image, tmp_path, env=env).env
    assert {name: found[name] for name in ("LEVEL", "NATS_URL", "KEY", "BOTH")} == {
        "LEVEL": "info",
        "NATS_URL": "nats://here",
        "KEY": "key",
        "BOTH": "info-key-$(UNKNOWN)",
    }


def test_mount_paths_become_folders_wherever_they_stand(image: LocalImage, tmp_path: Path) -> None:
    program = one(
        image,
        tmp_path,
        volumes=[
            {"name": "work", "emptyDir": {}},
            {"name": "conf", "configMap": {"name": "settings"}},
        ],
        volumeMounts=[
            {"name": "work", "mountPath": "/work"},
            {"name": "conf", "mountPath": "/etc/conf"},
        ],
        args=[
            "--port",
            "8080",
            "--out",
            "/work/out",
            "--path=/work",
            "/workshop",
            "a/work",
            '{"x":"/etc/conf/file.txt"}',
        ],
        env=[{"name": "PLACES", "value": "/work:/etc/conf"}],
    )
    folder = str(tmp_path)
    assert program.argv[-5:] == (
        f"{folder}/work/out",
        f"--path={folder}/work",
        "/workshop",
        "a/work",
        f'{{"x":"{folder}/conf/file.txt"}}',
    )
    assert program.env["PLACES"] == f"{folder}/work:{folder}/conf"
    assert (tmp_path / "conf" / "file.txt").read_text() == "hello"


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({"command": []}, "`command` is missing"),
        ({"tty": True}, "`container.tty` is not supported"),
        (
            {"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "own", "key": "k"}}}]},
            "env X takes key `k` of the Secret `own`, of which this machine has no value",
        ),
        (
            {"env": [{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
            "env X: `fieldRef` is not supported",
        ),
        ({"volumeMounts": [{"name": "gone", "mountPath": "/x"}]}, "volume gone is not defined"),
        (
            {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]},
            "takes the PersistentVolumeClaim `c`, for which this machine has no folder",
        ),
        (
            {"readinessProbe": {"exec": {"command": ["true"]}}},
            "`readinessProbe.exec` is not supported",
        ),
        ({"command": ["missing"]}, "has no program `missing`"),
    ],
)
def test_what_has_no_local_meaning_is_refused_by_name(
    image: LocalImage, tmp_path: Path, container: dict[str, Any], words: str
) -> None:
    with pytest.raises(LocalError, match=words):
        one(image, tmp_path, **container)


def test_a_pinned_envoy_is_the_logger_still(image: LocalImage) -> None:
    item = deployment("a")
    pod = item["spec"]["template"]["spec"]
    logger = {
        "name": "logger",
        "image": "docker.io/envoyproxy/envoy:v1.40.0",
        "ports": [{"containerPort": 8000}],
    }
    logger["args"] = ["-c", "/etc/logger/envoy.yaml"]
    logger["volumeMounts"] = [{"name": "logger", "mountPath": "/etc/logger"}]
    pod["volumes"] = [{"name": "logger", "configMap": {"name": "logger"}}]
    pod["containers"].append(logger)
    listener = {"address": {"socket_address": {"port_value": 8000}}}
    config = yaml.safe_dump({"static_resources": {"listeners": [listener]}})
    values = ConfigValues({("shop", "logger"): {"envoy.yaml": config}}, {}, {})
    plain = pods.plan_pod(item, values, lambda ref: image)
    logger["image"] += "@sha256:" + "a" * 64
    assert pods.plan_pod(item, values, lambda ref: image) == plain
    assert plain.logger is not None


def test_the_digest_changes_with_what_runs_and_with_nothing_else(image: LocalImage) -> None:
    def digest(**env: str) -> str:
        return pods.plan_pod(deployment("a", **env), VALUES, lambda ref: image).digest

    assert digest() == digest()
    assert digest() != digest(X="1")
    scaled = deployment("a")
    scaled["spec"]["replicas"] = 3
    scaled["spec"]["template"]["metadata"]["labels"]["role"] = "shadow"
    assert pods.plan_pod(scaled, VALUES, lambda ref: image).digest == digest()


def test_an_autoscaler_gives_a_deployment_its_minimum(image: LocalImage) -> None:
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "any", "namespace": "shop"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"},
            "maxReplicas": 5,
        },
    }
    least = pods.read_min_replicas(
        [deployment("a"), scaler | {"spec": scaler["spec"] | {"minReplicas": 3}}]
    )
    assert least == {("shop", "a"): 3}
    assert pods.read_min_replicas([scaler]) == {("shop", "a"): 1}
    assert pods.plan_pod(deployment("a"), VALUES, lambda ref: image, least=3).replicas == 3
    fixed = deployment("a")
    fixed["spec"]["replicas"] = 2
    assert pods.plan_pod(fixed, VALUES, lambda ref: image, least=3).replicas == 2


def test_the_function_of_a_monitor_gets_a_port_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("driftloop", "driftloop-train", "driftloop-detector"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\n")
        (tmp_path / "bin" / name).chmod(0o755)
    image = LocalImage(ref="r", digest="d", env=tmp_path, app=tmp_path / "app")
    item = yaml.safe_load(tree("function")["monitors/function/fares.deployment.yaml"])
    keys = ("nats-detector", "s3-endpoint", "s3-region", "s3-bucket", "accesskey", "secretkey")
    values = ConfigValues(
        config_maps={}, platform=dict.fromkeys(keys, "it"), secrets=dict.fromkeys(keys, "it")
    )
    pod = pods.plan_pod(item, values, lambda ref: image)
    _, (detector, function) = pods.place_replica(
        pod, folder=tmp_path, logs=tmp_path, ports={8080: 20001, 8090: 20002}, environment={}
    )
    assert detector.argv[-2:] == ("--function", "http://127.0.0.1:20002")
    assert function.argv[1] == "monitor"
    assert function.argv[function.argv.index("--port") + 1] == "20002"
    assert not {"NATS_URL", "AWS_SECRET_ACCESS_KEY"} & function.env.keys()
    assert function.env["HOME"] != detector.env["HOME"]
