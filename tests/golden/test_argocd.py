"""The tree of a cluster that Argo CD follows: what is other than with Flux is recorded, from one spec and one release."""

import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.commands import type_command

from driftloop.kube import argocd
from driftloop.platform import parse_platform
from driftloop.render import render_tree
from driftloop.resources.argocd_health import list_health_settings
from driftloop.resources.guarding.entry import APPLY
from tests.golden.trees import HERE, compare_trees, documents, release_text, spec_text

SPEC = "plain-shadow"
FOLDER = HERE / "argocd"
PATH = "driftloop/dev/platform.yaml"


def render(platform: str) -> dict[str, str]:
    read = parse_platform(platform, path=PATH)
    return render_tree(spec_text(SPEC), release_text(SPEC), platform=read)


@cache
def with_argocd() -> dict[str, str]:
    return render((FOLDER / "argocd.yaml").read_text())


def find(kind: str) -> list[dict[str, Any]]:
    return [item for _, item in documents(with_argocd()) if item["kind"] == kind]


def test_what_argo_cd_changes_is_as_recorded(update: bool) -> None:
    text = (FOLDER / "argocd.yaml").read_text()
    flux = "".join(line for line in text.splitlines(keepends=True) if "argocd" not in line)
    changes = compare_trees(render(flux), with_argocd())
    if update:
        (FOLDER / "changes.diff").write_text(changes)
    assert changes == (FOLDER / "changes.diff").read_text()


def test_nothing_of_flux_is_left() -> None:
    for path, item in documents(with_argocd()):
        assert "fluxcd" not in yaml.safe_dump(item), path


def test_the_objects_survive_a_round_trip_through_their_types() -> None:
    for kind in (argocd.Application, argocd.AppProject):
        for item in find(kind.model_fields["kind"].default):
            assert kind.model_validate(item).dump_object() == item


def test_a_project_allows_what_fluxs_account_may_apply_in_one_namespace() -> None:
    (project,) = find("AppProject")
    spec = project["spec"]
    allowed = [(each["group"], each["kind"].lower()) for each in spec["namespaceResourceWhitelist"]]
    singular = {
        "authorizationpolicies": "authorizationpolicy",
        "networkpolicies": "networkpolicy",
        "eventbus": "eventbus",
    }
    (role,) = (each for each in find("Role") if each["metadata"]["name"] == "mirror-argocd")
    assert allowed == sorted(
        (group, singular.get(each, each.removesuffix("s")))
        for rule in role["rules"]
        if tuple(rule["verbs"]) == APPLY
        for group in rule["apiGroups"]
        for each in rule["resources"]
    )
    assert spec["clusterResourceWhitelist"] == []
    assert [each["namespace"] for each in spec["destinations"]] == ["mirror"]
    (account,) = spec["destinationServiceAccounts"]
    home, _, name = account["defaultServiceAccount"].partition(":")
    accounts = [each["metadata"] for each in find("ServiceAccount")]
    assert (home, name) in [(each["namespace"], each["name"]) for each in accounts]


def test_its_applications_come_in_waves_and_may_apply_all_that_they_hold() -> None:
    applications = find("Application")
    waves = [
        each["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"] for each in applications
    ]
    assert waves == ["1", "2", "3"]
    (project,) = find("AppProject")
    allowed = {
        (each["group"], each["kind"]) for each in project["spec"]["namespaceResourceWhitelist"]
    }
    files = with_argocd()
    place = parse_platform((FOLDER / "argocd.yaml").read_text(), path=PATH).layout.place
    for each in applications:
        assert each["spec"]["project"] == project["metadata"]["name"]
        folder = f"{each['spec']['source']['path']}/"
        held = [item for path, item in documents(files) if place(path).startswith(folder)]
        kinds = {
            (item["apiVersion"].rpartition("/")[0], item["kind"])
            for item in held
            if item["kind"] != "Kustomization"
        }
        assert kinds
        assert kinds <= allowed


ARGOCD = os.environ.get("ARGOCD", "")
TRIGGER = {"apiVersion": "eventing.knative.dev/v1", "kind": "Trigger"}
SELDON = {
    "apiVersion": "machinelearning.seldon.io/v1",
    "kind": "SeldonDeployment",
    "spec": {"predictors": [{"name": "r1"}, {"name": "r2"}]},
}
SENSOR = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Sensor"}
OWN = {"app.kubernetes.io/managed-by": "driftloop"}
APPLICATION = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application"}


def conditions(**states: str) -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": state} for kind, state in states.items()]}


@pytest.mark.skipif(not ARGOCD, reason="ARGOCD names no program of Argo CD")
@pytest.mark.parametrize(
    ("item", "status", "health"),
    [
        (TRIGGER, None, "Progressing"),
        (TRIGGER, conditions(BrokerReady="True", Ready="False"), "Degraded"),
        (TRIGGER, conditions(BrokerReady="False", Ready="True"), "Healthy"),
        (TRIGGER, conditions(Ready="True") | {"observedGeneration": 1}, "Progressing"),
        (SENSOR, conditions(Deployed="True", TriggersProvided="Unknown"), "Progressing"),
        (SENSOR, conditions(Deployed="True", TriggersProvided="True"), "Healthy"),
        (SELDON, {"state": "Available", "serviceStatus": {"d-r1": {}}}, "Progressing"),
        (SELDON, {"state": "Available", "serviceStatus": {"d-r1": {}, "d-r2": {}}}, "Healthy"),
        (SELDON, {"state": "Failed"}, "Degraded"),
        (APPLICATION, {"health": {"status": "Degraded"}}, "Degraded"),
        (APPLICATION | {"labels": OWN}, {"health": {"status": "Degraded"}}, "Progressing"),
        (APPLICATION | {"labels": OWN}, {"history": [{}], "health": {"status": "Degraded"}}, "Healthy"),
    ],
)  # fmt: skip
def test_argo_cd_itself_says_how_an_object_is(
    item: dict[str, Any], status: dict[str, Any] | None, health: str, tmp_path: Path
) -> None:
    labels = item.get("labels", {})
    made = {key: value for key, value in item.items() if key != "labels"} | {
        "metadata": {"name": "d", "namespace": "n", "generation": 2, "labels": labels}
    }
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm"}}
    (tmp_path / "item.yaml").write_text(json.dumps(made | ({"status": status} if status else {})))
    (tmp_path / "cm.yaml").write_text(json.dumps(settings | {"data": list_health_settings()}))
    words = ("admin", "settings", "resource-overrides", "health", "item.yaml", "--argocd-cm-path")
    done = subprocess.run(
        [ARGOCD, *words, "cm.yaml"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert f"STATUS: {health}\n" in done.stdout


CRDS = os.environ.get("ARGOCD_CRDS", "")


@pytest.mark.skipif(not CRDS, reason="ARGOCD_CRDS names no folder with Argo CD's CRDs")
def test_its_objects_fit_argo_cds_crds(tmp_path: Path) -> None:
    made, schemas = tmp_path / "made", {}
    for file in Path(CRDS).glob("*.yaml"):
        crd = yaml.load(file.read_text(), yaml.CSafeLoader)
        if crd["kind"] == "CustomResourceDefinition":
            (version,), kind = crd["spec"]["versions"], crd["spec"]["names"]["kind"]
            named = {"group": crd["spec"]["group"], "version": version["name"], "kind": kind}
            shape = version["schema"]["openAPIV3Schema"]
            schemas[kind] = {**shape, "x-kubernetes-group-version-kind": [named]}
    made.mkdir()
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "argocd.json").write_text(
        json.dumps({"components": {"schemas": schemas}})
    )
    for index, item in enumerate((*find("Application"), *find("AppProject"))):
        (made / f"{index}.yaml").write_text(yaml.safe_dump(item))
    done = type_command("validate", "--schemas", "schemas", "made", folder=tmp_path)
    said = done.stdout + done.stderr
    assert "4 objects in 4 files: 0 errors, 0 warnings" in said
    assert "no schema" not in said
