"""Rendered trees are what is recorded of them, one idea each. `--update` records them anew."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from driftloop.kube import (
    apps,
    autoscaling,
    core,
    events,
    flux,
    istio,
    istio_security,
    knative,
    kustomize,
    nats,
    networking,
    policy,
    prometheus,
    rbac,
    seldon,
)
from driftloop.kube.base import ObjectPart
from driftloop.render import render_tree
from tests.golden.trees import (
    HERE,
    NAMES,
    WHOLE,
    base_tree,
    documents,
    expected,
    recorded,
    tree,
    write_tree,
)

VALIDATOR = Path(__file__).parents[3] / "shared" / "bin" / "validate-manifests"

TYPED: dict[str, type[ObjectPart]] = {
    str(kind.model_fields["kind"].default): kind
    for kind in (
        apps.Deployment, autoscaling.HorizontalPodAutoscaler, core.ConfigMap, core.Namespace, core.KubernetesService,
        core.ServiceAccount, core.TokenSecret, events.EventBus, events.EventSource, events.Sensor, istio.VirtualService,
        istio_security.AuthorizationPolicy, istio_security.PeerAuthentication, istio_security.RequestAuthentication,
        knative.Broker, knative.Trigger,
        networking.NetworkPolicy, policy.PodDisruptionBudget, prometheus.PodMonitor, prometheus.PrometheusRule,
        rbac.Role, rbac.RoleBinding, seldon.SeldonDeployment,
    )
}  # fmt: skip


@cache
def objects(name: str) -> tuple[tuple[str, dict[str, Any]], ...]:
    """(path, object) of everything but the spec and the release."""
    return tuple(documents(tree(name)))


@pytest.mark.parametrize("name", NAMES)
def test_tree_is_as_expected(name: str, update: bool) -> None:
    files = expected(name)
    if update:
        for path in recorded(name).keys() - files.keys():
            (HERE / name / path).unlink()
        for path, text in files.items():
            (HERE / name / path).parent.mkdir(exist_ok=True)
            (HERE / name / path).write_text(text)
    assert files == recorded(name)


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(WHOLE)))
def test_a_pipeline_shows_an_idea(name: str) -> None:
    """A tree that is not recorded whole differs from its base, and by no more than half of its files."""
    files, base = tree(name), base_tree(name)
    kept = [path for path in files if files[path] == base.get(path)]
    assert len(files) / 2 <= len(kept) < len(files)


@pytest.mark.parametrize("name", NAMES)
def test_objects_survive_a_round_trip_through_their_types(name: str) -> None:
    from hera.workflows import models

    for path, document in objects(name):
        kind = document["kind"]
        if kind == "Kustomization":
            listing = document["apiVersion"].startswith("kustomize.config")
            typed = kustomize.KustomizationFile if listing else flux.Kustomization
            assert typed.model_validate(document).dump_object() == document, path
        elif kind in ("WorkflowTemplate", "CronWorkflow"):
            found = getattr(models, kind).model_validate(document)
            assert found.model_dump(mode="json", by_alias=True, exclude_none=True) == document, path
        else:
            assert TYPED[kind].model_validate(document).dump_object() == document, path


@pytest.mark.parametrize("name", NAMES)
def test_each_folder_lists_exactly_its_objects(name: str) -> None:
    found = tree(name)
    for path, content in found.items():
        if path.endswith("/kustomization.yaml"):
            folder = path.rpartition("/")[0]
            listed = yaml.safe_load(content)["resources"]
            here = [other.rpartition("/")[2] for other in found if other.startswith(f"{folder}/")]
            unlisted = {"kustomization.yaml", "pipeline.yaml", "release.yaml"}
            assert sorted(listed) == sorted(set(here) - unlisted)
            for file in listed:
                kind = yaml.safe_load(found[f"{folder}/{file}"])["kind"]
                assert file.endswith(f".{kind.lower()}.yaml")


def is_stub(item: dict[str, Any]) -> bool:
    """Return True for the Namespace that the first tree names and does not make."""
    marks = item["metadata"].get("annotations") or {}
    return marks.get("kustomize.toolkit.fluxcd.io/ssa") == "IfNotPresent"


@pytest.mark.parametrize("name", NAMES)
def test_references_between_objects_lead_somewhere(name: str) -> None:
    found = [item for _, item in objects(name) if not item["apiVersion"].startswith("kustomize")]
    (stub,) = (item for item in found if is_stub(item))
    found.remove(stub)
    there = {
        (item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"])
        for item in found
    }
    assert len(there) == len(found), "two objects have the same name"
    assert ("Namespace", "", stub["metadata"]["name"]) in there
    namespaces = {name for kind, _, name in there if kind == "Namespace"} | {
        "flux-system",
        "istio-system",
    }
    there |= {
        ("Service", item["metadata"]["namespace"], f"{item['metadata']['name']}-{made['name']}")
        for item in found
        if item["kind"] == "SeldonDeployment"
        for made in item["spec"]["predictors"]
    }
    for item in found:
        kind, metadata, spec = item["kind"], item["metadata"], item.get("spec", {})
        home = metadata.get("namespace", "")
        assert kind == "Namespace" or home in namespaces
        assert len(metadata["name"]) <= 52
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "driftloop"
        wanted: list[tuple[str, str]] = []
        match kind:
            case "Trigger":
                wanted = [
                    ("Broker", spec["broker"]),
                    ("Service", spec["subscriber"]["ref"]["name"]),
                ]
                wanted.append(("Service", spec["delivery"]["deadLetterSink"]["ref"]["name"]))
                assert {"retry", "backoffPolicy", "backoffDelay", "timeout"} <= spec[
                    "delivery"
                ].keys()
            case "Broker":
                wanted = [("ConfigMap", spec["config"]["name"])]
                assert {"retry", "backoffPolicy", "backoffDelay"} <= spec["delivery"].keys()
            case "Deployment":
                pod = spec["template"]["spec"]
                wanted = [("ServiceAccount", pod["serviceAccountName"])]
                others = (metadata.get("annotations") or {}).get("driftloop.dev/external", "")
                wanted += [
                    ("ConfigMap", v["configMap"]["name"])
                    for v in pod["volumes"]
                    if "configMap" in v
                    and f"ConfigMap/{v['configMap']['name']}" not in others.split(", ")
                ]
                assert (
                    spec["selector"]["matchLabels"].items()
                    <= spec["template"]["metadata"]["labels"].items()
                )
                mounted = {m["name"] for c in pod["containers"] for m in c.get("volumeMounts", [])}
                assert mounted <= {volume["name"] for volume in pod["volumes"]}
                # a monitor's function listens on the loopback, and its detector works without it
                probed = [each for each in pod["containers"] if each["name"] != "function"]
                assert all("readinessProbe" in container for container in probed)
            case "HorizontalPodAutoscaler":
                wanted = [("Deployment", spec["scaleTargetRef"]["name"])]
                (scaled,) = (
                    one
                    for one in found
                    if one["metadata"]["name"] == wanted[0][1] and one["kind"] == "Deployment"
                )
                assert "replicas" not in scaled["spec"], "Flux would set it again and again"
            case "PodDisruptionBudget":
                # the operator's pods carry its own labels
                if "seldon-app" not in spec["selector"]["matchLabels"]:
                    labels = [
                        one["spec"]["template"]["metadata"]["labels"]
                        for one in found
                        if one["kind"] == "Deployment"
                    ]
                    assert (
                        sum(
                            spec["selector"]["matchLabels"].items() <= own.items() for own in labels
                        )
                        == 1
                    )
            case "RoleBinding":
                wanted = [("Role", item["roleRef"]["name"])]
                assert (
                    "ServiceAccount",
                    item["subjects"][0]["namespace"],
                    item["subjects"][0]["name"],
                ) in there
            case "Sensor":
                created = spec["triggers"][0]["template"]["k8s"]["source"]["resource"]["spec"]
                wanted = [
                    ("ServiceAccount", spec["template"]["serviceAccountName"]),
                    ("EventSource", spec["dependencies"][0]["eventSourceName"]),
                    ("WorkflowTemplate", created["workflowTemplateRef"]["name"]),
                    ("EventBus", spec["eventBusName"]),
                ]
            case "CronWorkflow":
                wanted = [("WorkflowTemplate", spec["workflowSpec"]["workflowTemplateRef"]["name"])]
            case "WorkflowTemplate":
                executors = [spec["executor"]]
                executors += [made["executor"] for made in spec["templates"] if "executor" in made]
                own = [spec, *spec["templates"]]
                accounts = {
                    made["serviceAccountName"] for made in own if "serviceAccountName" in made
                }
                wanted = [("ServiceAccount", account) for account in accounts]
                for executor in executors:
                    account = executor["serviceAccountName"]
                    wanted.append(("ServiceAccount", account))
                    wanted.append(("Secret", f"{account}.service-account-token"))
            case "VirtualService":
                route = spec["http"][0]
                hosts = [r["destination"]["host"] for r in route.get("route", ())]
                hosts += [route["mirror"]["host"]] if "mirror" in route else []
                wanted = [("Service", host.split(".")[0]) for host in hosts]
                shares = [r["weight"] for r in route.get("route", ())]
                assert sum(shares) == 100 or "directResponse" in route
        for other in wanted:
            assert (other[0], home, other[1]) in there, f"{kind} {metadata['name']} needs {other}"


@pytest.mark.parametrize("name", NAMES)
def test_every_container_is_restricted_and_spells_its_command(name: str) -> None:
    def containers(value: Any) -> list[dict[str, Any]]:
        if isinstance(value, list):
            return [found for item in value for found in containers(item)]
        if not isinstance(value, dict):
            return []
        own = [value] if ("image" in value and "command" in value) or "image" in value else []
        return own + [found for item in value.values() for found in containers(item)]

    for path, document in objects(name):
        for container in containers(document):
            # the operator writes the command of a server that it brings along
            assert container.get("command") or "implementation: " in tree(name)[path], (
                path,
                container["image"],
            )
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            given = security["capabilities"].get("add", [])
            assert security["capabilities"] == {"drop": ["ALL"]} | ({"add": given} if given else {})
            assert {*given} <= {"NET_BIND_SERVICE"}
            assert security["runAsNonRoot"] is True
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()


def test_no_tree_holds_a_secret_or_a_run() -> None:
    for name in NAMES:
        for path, document in objects(name):
            assert document["kind"] != "Workflow", path
            if document["kind"] == "Secret":
                # Kubernetes writes the token into it
                assert document["type"] == "kubernetes.io/service-account-token"
                assert document.keys() == {"apiVersion", "kind", "type", "metadata"}
            assert "generateName" not in document.get("metadata", {}), path


@pytest.mark.skipif(not VALIDATOR.exists(), reason="the schemas of a real API server are not here")
def test_every_golden_object_fits_the_schemas_of_a_real_cluster(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            str(VALIDATOR),
            *(str(write_tree(name, tmp_path / name)) for name in NAMES),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_channel_template_is_the_type_it_was_made_from() -> None:
    content = yaml.safe_load(tree("minimal")["monitors/minimal/default-broker.configmap.yaml"])
    document = yaml.safe_load(content["data"]["channelTemplateSpec"])
    assert nats.ChannelTemplate.model_validate(document).dump_object() == document
    assert document["spec"]["consumerConfigTemplate"] == {"deliverPolicy": "New"}


def test_the_trees_of_the_repository_are_what_the_example_renders_to() -> None:
    root = HERE.parents[1]
    spec = root / "examples" / "digits" / "pipeline.yaml"
    for path, content in render_tree(spec.read_text(), None).items():
        assert (root / path).read_text() == content, (
            f"{path}: run `driftloop render {spec} --into .`"
        )
