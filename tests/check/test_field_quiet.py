"""Files that look wrong and are right: nothing is found in them."""

import pytest

from driftloop.check import check_files

KUSTOMIZATION = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"


def codes(files: dict[str, str]) -> list[str]:
    texts: dict[str, str | bytes] = {**files}
    return [finding.code for finding in check_files(texts)]


def route(weight: str, mirror: str = "new") -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web, namespace: shop}}
spec:
  hosts: [web]
  http:
  - route:
    - destination: {{host: web, subset: old}}
      weight: 90
    - destination: {{host: web, subset: new}}
{weight}    mirror: {{host: web, subset: {mirror}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: web, namespace: shop}}
spec:
  host: web
  subsets: [{{name: old, labels: {{v: a}}}}, {{name: new, labels: {{v: b}}}}]
"""


@pytest.mark.parametrize(
    ("weight", "found"), [("      weight: 0\n", False), ("", False), ("      weight: 10\n", True)]
)
def test_a_copy_goes_beside_a_destination_without_requests(weight: str, *, found: bool) -> None:
    assert ("DL412" in codes({"route.yaml": route(weight)})) == found


def test_the_only_destination_gets_every_request() -> None:
    alone = route("").replace("    - destination: {host: web, subset: old}\n      weight: 90\n", "")
    assert "DL412" in codes({"route.yaml": alone})


SHARED = """\
apiVersion: argoproj.io/v1alpha1
kind: WorkflowTemplate
metadata: {name: parts, namespace: shop}
spec:
  entrypoint: pack
  templates:
  - name: pack
    container:
      image: ghcr.io/acme/pack:1.0.0
      command: [pack]
      volumeMounts: [{name: disk, mountPath: /disk}]
"""


def caller(volume: str, call: str = "templateRef: {name: parts, template: pack}") -> str:
    return f"""\
apiVersion: argoproj.io/v1alpha1
kind: WorkflowTemplate
metadata: {{name: caller, namespace: shop}}
spec:
  entrypoint: all
  volumes: [{{name: {volume}, emptyDir: {{}}}}]
  templates:
  - name: all
    steps: [[{{name: pack, {call}}}]]
"""


@pytest.mark.parametrize(("volume", "found"), [("disk", []), ("desk", ["DL601"])])
def test_a_template_takes_the_volumes_of_the_workflow_that_calls_it(
    volume: str, found: list[str]
) -> None:
    assert codes({"parts.yaml": SHARED, "caller.yaml": caller(volume)}) == found


def test_a_template_takes_the_volumes_of_a_workflow_two_calls_away() -> None:
    between = caller("own").replace("name: caller", "name: between")
    outer = caller("disk", "templateRef: {name: between, template: all}")
    assert codes({"parts.yaml": SHARED, "between.yaml": between, "outer.yaml": outer}) == []


def convert(words: str, directory: str) -> str:
    return f"""\
apiVersion: argoproj.io/v1alpha1
kind: WorkflowTemplate
metadata: {{name: w}}
spec:
  entrypoint: main
  templates:
  - name: main
    container: {{image: 'ghcr.io/acme/w:1.0.0', {directory}command: [sh, -c], args: ['{words}']}}
    outputs: {{artifacts: [{{name: table, path: /data/out/table.csv}}]}}
"""


@pytest.mark.parametrize(
    ("words", "directory", "found"),
    [
        ("make-table data/out/table.csv", "workingDir: /, ", []),
        ("make-table data/out/table.csv", "", []),
        ("make-table out/table.csv", "workingDir: /data, ", []),
        ("make-table /data/out/tables.csv", "workingDir: /data, ", ["DL308"]),
    ],
)
def test_a_relative_path_counts_from_the_working_directory(
    words: str, directory: str, found: list[str]
) -> None:
    assert codes({"w.yaml": convert(words, directory)}) == found


SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 5000}]}
"""
ROUTED = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web.example.org]
  gateways: [mesh-gateway]
  http: [{route: [{destination: {host: web, port: {number: 80}}}]}]
"""


@pytest.mark.parametrize(
    ("patches", "found"),
    [
        ("", ["DL501"]),
        ("patches: [{path: port.yaml, target: {kind: Service, name: web}}]\n", []),
    ],
)
def test_a_patch_may_set_the_port_that_a_route_names(patches: str, found: list[str]) -> None:
    files = {
        "base/kustomization.yaml": KUSTOMIZATION + "resources: [service.yaml]\n",
        "base/service.yaml": SERVICE,
        "lab/kustomization.yaml": KUSTOMIZATION + f"resources: [../base, route.yaml]\n{patches}",
        "lab/port.yaml": "- {op: replace, path: /spec/ports/0/port, value: 80}\n",
        "lab/route.yaml": ROUTED,
    }
    assert codes(files) == found


BINDING = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: robot}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: robot}]
"""


def test_a_kustomization_above_may_say_the_namespace_of_an_account() -> None:
    above = {
        "base/kustomization.yaml": KUSTOMIZATION + "resources: [deep/rights.yaml]\n",
        "lab/kustomization.yaml": KUSTOMIZATION + "namespace: shop\nresources: [../base]\n",
    }
    assert codes({"base/deep/rights.yaml": BINDING, **above}) == []
    assert codes({"base/deep/rights.yaml": BINDING}) == ["DL612"]


@pytest.mark.parametrize(("part", "found"), [("flux", []), ("shop", ["DL612"])])
def test_flux_binds_accounts_of_components_that_are_not_installed(
    part: str, found: list[str]
) -> None:
    text = BINDING.replace(
        "{name: robot}", f"{{name: r, labels: {{app.kubernetes.io/part-of: {part}}}}}", 1
    )
    text = text.replace("name: robot}]", "name: source-watcher, namespace: flux-system}]")
    space = "apiVersion: v1\nkind: Namespace\nmetadata: {name: flux-system}\n---\n"
    assert codes({"clusters/staging/flux-system/gotk-components.yaml": space + text}) == found


def secret(settings: str) -> str:
    lines = "".join(f"    {line}\n" for line in settings.splitlines())
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData:\n  remote: |\n{lines}"


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ("type: s3\nanonymous: true\n", []),
        ("type: s3\nanonymous: true\npassword: ''\n", []),
        ("type: s3\nanonymous: true\nsecret_key: abcd\n", ["DL801"]),
        ("type: s3\nanonymous: true\nurl: https://me:word@example.org\n", ["DL801"]),
        ("type: s3\nanonymous: false\n", ["DL801"]),
        ("just some words\n", ["DL801"]),
    ],
)
def test_settings_that_sign_nobody_in_are_no_credential(settings: str, found: list[str]) -> None:
    assert codes({"s.yaml": secret(settings)}) == found


def test_a_file_that_nobody_applies_is_told_once() -> None:
    old = "apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: web}\n"
    account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web}\n"
    files = {
        "kustomization.yaml": KUSTOMIZATION + "resources: [account.yaml]\n",
        "account.yaml": account,
        "old.yaml": old,
    }
    assert codes(files) == ["DL712"]
    files["kustomization.yaml"] = KUSTOMIZATION + "resources: [account.yaml, old.yaml]\n"
    assert codes(files) == ["DL111"]
