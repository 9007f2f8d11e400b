"""The walls of a rendered pipeline: what a person's code is given, what each account may do, and by
whose rights Flux applies it."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from driftloop.contract.names import SIGNING_SECRET
from tests.golden.trees import NAMES, documents, spec_text, tree

FLUX = "flux-system"
OWN = ("driftloop", "driftloop-detector")
"""Programs of our own images; any other container runs what a person has made."""
NAMED = {"pods": {"atlas", "warehouse", "acme.ca"}}
"""Secrets of others that the spec of a pipeline gives to its code."""
HELD = ("approved", "steps")
"""Pipelines whose promotions wait for a person."""
PLURALS = {
    "EventBus": "eventbus",
    "NetworkPolicy": "networkpolicies",
    "AuthorizationPolicy": "authorizationpolicies",
}


class Rendered:
    """One pipeline's objects, and the rights of its accounts."""

    def __init__(self, name: str) -> None:
        every = list(documents(tree(name)))
        self.entry = [
            item for path, item in every if path.startswith("cluster/") and "/access/" in path
        ]
        self.kustomizations = [item for path, item in every if "/pipelines/" in path]
        self.objects = [
            item
            for path, item in every
            if not path.startswith("cluster/") and not path.endswith("/kustomization.yaml")
        ]
        self.namespace = next(item for item in self.entry if item["kind"] == "Namespace")
        self.home = self.namespace["metadata"]["name"]

    def rules(self, account: str, *, of: str, where: str) -> list[dict[str, Any]]:
        """What an account of the namespace `of` may do in the namespace `where`."""
        everything = [*self.entry, *self.objects]
        granted = {
            item["roleRef"]["name"]
            for item in everything
            if item["kind"] == "RoleBinding"
            and item["metadata"]["namespace"] == where
            and {"kind": "ServiceAccount", "name": account, "namespace": of} in item["subjects"]
        }
        return [
            rule
            for item in everything
            if item["kind"] == "Role"
            and item["metadata"]["namespace"] == where
            and item["metadata"]["name"] in granted
            for rule in item["rules"]
        ]

    def steps(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """(spec of a workflow, template) of each pod of a workflow."""
        for item in self.objects:
            if item["kind"] == "WorkflowTemplate":
                for made in item["spec"]["templates"]:
                    if "dag" not in made and "suspend" not in made:
                        yield item["spec"], made

    def persons_steps(self) -> list[dict[str, Any]]:
        """Templates whose pods run what a person has made."""
        return [
            made
            for _, made in self.steps()
            if "container" in made
            and (made.get("sidecars") or made["container"]["command"][0] not in OWN)
        ]


@cache
def rendered(name: str) -> Rendered:
    return Rendered(name)


def covers(rules: list[dict[str, Any]], group: str, resource: str, verb: str) -> bool:
    return any(
        group in rule["apiGroups"]
        and resource in rule["resources"]
        and verb in rule["verbs"]
        and "resourceNames" not in rule
        for rule in rules
    )


def resource_of(item: dict[str, Any]) -> tuple[str, str]:
    group = item["apiVersion"].rpartition("/")[0]
    kind = item["kind"]
    return group, PLURALS.get(kind, f"{kind.lower()}s")


def secrets_of(value: Any) -> list[Any]:
    """Every reference to a Secret."""
    if isinstance(value, list):
        return [ref for item in value for ref in secrets_of(item)]
    if not isinstance(value, dict):
        return []
    named = ("secretKeyRef", "secretRef", "secret", "secretName")
    return [value[key] for key in named if key in value] + [
        ref for item in value.values() for ref in secrets_of(item)
    ]


def secret_name(ref: Any) -> str:
    return str(ref if isinstance(ref, str) else ref.get("name") or ref["secretName"])


@pytest.mark.parametrize("name", NAMES)
def test_a_persons_code_has_no_token_no_secret_and_no_right(name: str) -> None:
    found = rendered(name)
    templates = found.persons_steps()
    assert {"train", "evaluate", "split"} <= {made["name"] for made in templates}
    account = next(found.steps())[0]["serviceAccountName"]
    for spec, made in found.steps():
        assert spec["automountServiceAccountToken"] is False
        if made not in templates:
            continue
        assert "automountServiceAccountToken" not in made, made["name"]
        assert "serviceAccountName" not in made, made["name"]
        assert "driftloop.dev/reaches" not in made.get("metadata", {}).get("labels", {})
        given = {secret_name(ref) for ref in secrets_of([made["container"], made.get("volumes")])}
        assert given <= NAMED.get(name, set()), made["name"]
    for where in (found.home, FLUX):
        assert found.rules(account, of=found.home, where=where) == []


@pytest.mark.parametrize("name", NAMES)
def test_no_pod_gets_the_addresses_of_services_in_its_environment(name: str) -> None:
    found = rendered(name)
    for _, made in found.steps():
        assert json.loads(made["podSpecPatch"])["enableServiceLinks"] is False, made["name"]
    for item in found.objects:
        pods = []
        if item["kind"] == "Deployment":
            pods = [item["spec"]["template"]["spec"]]
        elif item["kind"] == "SeldonDeployment":
            predictors = item["spec"]["predictors"]
            pods = [part["spec"] for each in predictors for part in each["componentSpecs"]]
        assert all(pod["enableServiceLinks"] is False for pod in pods), item["metadata"]["name"]


def test_the_key_that_signs_is_in_the_pod_of_one_step_alone() -> None:
    signed = rendered("signed")
    holders = [made["name"] for _, made in signed.steps() if SIGNING_SECRET in json.dumps(made)]
    assert holders == ["register"]
    others = [item for item in signed.objects if item["kind"] != "WorkflowTemplate"]
    assert SIGNING_SECRET not in json.dumps(others)
    having = {
        name
        for name in NAMES
        if any(SIGNING_SECRET in json.dumps(item) for item in rendered(name).objects)
    }
    asking = {name for name in NAMES if "signatures: " in spec_text(name)}
    assert having == asking


@pytest.mark.parametrize("name", NAMES)
def test_no_token_in_a_step_of_ours_starts_anything_or_reads_a_secret(name: str) -> None:
    found = rendered(name)
    with_token = [made for _, made in found.steps() if made.get("automountServiceAccountToken")]
    assert {made["container"]["command"][0] for made in with_token} == {"driftloop"}
    for made in with_token:
        assert not made.get("sidecars")
        for where in (found.home, FLUX):
            for rule in found.rules(made["serviceAccountName"], of=found.home, where=where):
                # a step that watches a candidate while it waits for a person may end the wait
                ends = name in HELD and rule["resources"] == ["workflows"]
                assert set(rule["verbs"]) <= {"get", "list", *(("patch",) if ends else ())}
                assert "secrets" not in rule["resources"]


@pytest.mark.parametrize("name", NAMES)
def test_only_pipelines_that_wait_for_people_have_the_right_to_end_a_wait(name: str) -> None:
    found = rendered(name)
    watching = [made for _, made in found.steps() if made["name"] == "watch"]
    assert bool(watching) is (name in HELD)
    for _, made in found.steps():
        rules = found.rules(made.get("serviceAccountName", ""), of=found.home, where=found.home)
        ends = covers(rules, "argoproj.io", "workflows", "patch")
        assert not ends or name in HELD, made["name"]
    for made in watching:
        rules = found.rules(made["serviceAccountName"], of=found.home, where=found.home)
        assert covers(rules, "argoproj.io", "workflows", "patch")
        assert covers(rules, "argoproj.io", "workflows", "get")


@pytest.mark.parametrize("name", NAMES)
def test_argos_own_containers_report_and_only_one_starts_a_workflow(name: str) -> None:
    found = rendered(name)
    report = {"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"],
              "verbs": ["create", "patch"]}  # fmt: skip
    for spec, made in found.steps():
        executor = made.get("executor", spec["executor"])["serviceAccountName"]
        rules = found.rules(executor, of=found.home, where=found.home)
        assert report in rules
        starts = covers(rules, "argoproj.io", "workflows", "create")
        assert starts is ("resource" in made), made["name"]
        secret = f"{executor}.service-account-token"
        (token,) = (item for item in found.entry if item["metadata"]["name"] == secret)
        assert token["metadata"]["annotations"] == {"kubernetes.io/service-account.name": executor}


def test_flux_applies_each_kind_that_some_pipeline_has_and_no_other() -> None:
    kinds = {
        resource_of(item)
        for name in NAMES
        for item in rendered(name).objects
        if item["kind"] != "Namespace"
    }
    (account,) = {k["spec"]["serviceAccountName"] for k in rendered("minimal").kustomizations}
    found = rendered("minimal")
    rules = found.rules(account, of=FLUX, where=found.home)
    applied = {
        (group, resource)
        for rule in rules
        if "patch" in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    # cron jobs, autoscalers and the like may come with the next commit, and must go with it
    assert applied == kinds | {("bitnami.com", "sealedsecrets")}
    for group, resource in kinds:
        for verb in ("get", "list", "watch", "create", "patch", "delete"):
            assert covers(rules, group, resource, verb)


@pytest.mark.parametrize("name", NAMES)
def test_fluxs_account_ends_at_the_namespace(name: str) -> None:
    found = rendered(name)
    accounts = {item["spec"]["serviceAccountName"] for item in found.kustomizations}
    (account,) = accounts
    rules = found.rules(account, of=FLUX, where=found.home)
    for resource in ("secrets", "namespaces"):
        for verb in ("create", "patch", "delete", "list"):
            assert not covers(rules, "", resource, verb)
    assert {item["metadata"].get("namespace") for item in found.objects} == {None, found.home}
    # what an earlier version left there, by name
    (left,) = found.rules(account, of=FLUX, where=FLUX)
    assert left["resourceNames"] == [f"{name_of(found)}-train"]
    assert left["verbs"] == ["get", "delete"]
    bound = [
        item
        for item in found.entry
        if item["kind"] == "RoleBinding" and item["subjects"][0]["name"] == account
    ]
    assert {item["metadata"]["namespace"] for item in bound} == {found.home, FLUX}
    assert not any(item["kind"].startswith("Cluster") for item in found.entry)


def name_of(found: Rendered) -> str:
    return str(found.namespace["metadata"]["labels"]["app.kubernetes.io/name"])


@pytest.mark.parametrize("name", NAMES)
def test_flux_grants_nothing_that_its_account_does_not_have(name: str) -> None:
    """The API server refuses a Role with more, and takes these."""
    found = rendered(name)
    account = found.kustomizations[0]["spec"]["serviceAccountName"]
    own = found.rules(account, of=FLUX, where=found.home)
    for item in found.objects:
        for rule in item["rules"] if item["kind"] == "Role" else ():
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for verb in rule["verbs"]:
                        assert covers(own, group, resource, verb), (item["metadata"]["name"], rule)


@pytest.mark.parametrize("name", NAMES)
def test_flux_may_bind_the_roles_of_the_trees_before_they_are_there_and_no_other(name: str) -> None:
    """Flux tries a binding before its Role is applied; the API server then asks for `bind`."""
    found = rendered(name)
    account = found.kustomizations[0]["spec"]["serviceAccountName"]
    binds = [
        rule for rule in found.rules(account, of=FLUX, where=found.home) if "bind" in rule["verbs"]
    ]
    granted = {item["roleRef"]["name"] for item in found.objects if item["kind"] == "RoleBinding"}
    made = {item["metadata"]["name"] for item in found.objects if item["kind"] == "Role"}
    assert granted == made
    (rule,) = binds
    assert (rule["resources"], rule["verbs"]) == (["roles"], ["bind"])
    assert granted <= set(rule["resourceNames"])
    # the account's own Role, and those of Argo's containers, stand outside what it applies
    assert not {account, *(f"{name_of(found)}-{part}" for part in ("executor", "starter"))} & set(
        rule["resourceNames"]
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_first_tree_names_the_namespace_and_leaves_it_as_it_is(name: str) -> None:
    found = rendered(name)
    (stub,) = (item for item in found.objects if item["kind"] == "Namespace")
    assert stub["metadata"]["name"] == found.home
    marks = stub["metadata"]["annotations"]
    assert marks["kustomize.toolkit.fluxcd.io/ssa"] == "IfNotPresent"
    assert marks["kustomize.toolkit.fluxcd.io/prune"] == "disabled"
    assert not any("pod-security" in key for key in stub["metadata"]["labels"])
    assert "pod-security.kubernetes.io/enforce" in found.namespace["metadata"]["labels"]


def test_every_account_of_a_pipelines_pods_pulls_with_the_specs_secrets() -> None:
    accounts = {
        found["metadata"]["name"]: found.get("imagePullSecrets")
        for _, found in documents(tree("pinned"))
        if found["kind"] == "ServiceAccount" and found["metadata"]["namespace"] == "pinned"
    }
    used = {
        value
        for _, found in documents(tree("pinned"))
        for key, value in find_keys(found)
        if key == "serviceAccountName" and not str(value).startswith("{{")
    }
    assert {"pinned-model", "pinned-train", "pinned-executor"} <= used & accounts.keys()
    for name in used & accounts.keys():
        assert accounts[name] == [{"name": "acme-registry"}], name


def find_keys(value: object) -> Iterator[tuple[str, object]]:
    """Every key of a document, however deep, with its value."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield key, each
            yield from find_keys(each)
    elif isinstance(value, list):
        for each in value:
            yield from find_keys(each)
