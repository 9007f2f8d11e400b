"""Patches of a spec: what kustomize makes of them, what is refused, and what plan and one machine say of them."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.commands import type_command

from driftloop.render import patch_tree, render_tree
from driftloop.spec import InvalidSpec
from tests.golden.trees import release_text, spec_text, tree

KUBECTL = Path("/var/tmp/cluster-bin/kubectl")
HEAD, _, PATCHES = spec_text("patches").partition("  patches:\n")


def render(patches: str, release: str | None = None) -> dict[str, str]:
    return render_tree(
        f"{HEAD}  patches:\n{patches}", release or release_text("patches"), path="p.yaml"
    )


def objects(text: str) -> list[dict[str, Any]]:
    found = [item for item in yaml.load_all(text, yaml.CSafeLoader) if item]
    return sorted(found, key=lambda item: (item["kind"], item["metadata"]["name"]))


def build(files: dict[str, str], folder: str) -> list[dict[str, Any]]:
    """Return the objects of a folder of a tree as we say that kustomize builds it."""
    patched = patch_tree(files).files
    listed = yaml.safe_load(patched[f"{folder}/kustomization.yaml"])["resources"]
    return objects("---\n".join(patched[f"{folder}/{name}"] for name in listed))


LABELLED = """\
    - target: {kind: Deployment, labels: {app.kubernetes.io/component: serving}}
      merge:
        spec:
          replicas: 3
          paused: null
          template:
            spec:
              restartPolicy: null
              tolerations: [{key: spot, operator: Exists}]
              volumes: [{name: extra, emptyDir: {sizeLimit: 1Gi}}]
              imagePullSecrets: [{name: acme}]
              containers:
                - name: model
                  args: [other]
                  env: [{name: NEW, value: "1"}, {name: HOME, value: /elsewhere}]
                  volumeMounts: [{name: extra, mountPath: /extra}]
                - name: logger
                  resources: {requests: {cpu: "1"}, limits: null}
    - target: {kind: WorkflowTemplate}
      merge: {metadata: {labels: {acme.example/team: ml}}, spec: {ttlStrategy: {secondsAfterSuccess: 60}}}
    - target: {kind: Service, name: patches-retrain}
      operations:
        - {op: add, path: /metadata/annotations, value: {a/b: c}}
        - {op: add, path: /metadata/annotations/d~1e, value: "f"}
"""


@pytest.mark.skipif(
    not KUBECTL.exists(), reason="kubectl, whose kustomize is the judge, is not here"
)
@pytest.mark.parametrize("patches", [PATCHES, LABELLED], ids=["golden", "lists"])
def test_what_is_computed_is_what_kustomize_builds(tmp_path: Path, patches: str) -> None:
    files = render(patches)
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    for folder in ("workflows/patches", "deployments/patches"):
        command = [KUBECTL, "kustomize", tmp_path / folder]
        built = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert build(files, folder) == objects(built)
        assert build(files, folder) != objects_of(tree("plain-shadow"), folder)


def objects_of(files: dict[str, str], folder: str) -> list[dict[str, Any]]:
    return objects(
        "---\n".join(text for path, text in files.items() if path.startswith(f"{folder}/"))
    )


REFUSED = [
    (
        "target: {kind: Workflowtemplate}, operations: [{op: remove, path: /spec/x}]",
        "p.yaml:14:16: spec.patches[0] on Workflowtemplate: no object of this kind is rendered, must be one of: `Broker`, ",
        "did you mean `WorkflowTemplate`?",
    ),
    (
        "target: {kind: WorkflowTemplate, name: patches-trian}, operations: [{op: remove, path: /spec/x}]",
        "no object of this name is rendered, must be one of: `patches-release`, `patches-train`",
        "did you mean `patches-train`?",
    ),
    (
        "target: {kind: Deployment, labels: {tier: gold}}, operations: [{op: remove, path: /spec/x}]",
        "no object has these labels, must be of: `app.kubernetes.io/component=decision`, ",
        "",
    ),
    (
        "target: {kind: Deployment, name: patches-RELEASE}, operations: [{op: remove, path: /spec/x}]",
        "it is named after a version, must fit the next one, too",
        "leave out `name`",
    ),
    (
        "target: {kind: Deployment}, operations: [{op: add, path: /spec/replicas, value: 1}, "
        "{op: remove, path: /spec/template/spec/nodeName}]",
        "p.yaml:14:111: spec.patches[0] on Deployment `patches-r15f9becd`: `op: remove` of "
        "`/spec/template/spec/nodeName`: `/spec/template/spec` has `",
        "",
    ),
    (
        "target: {kind: WorkflowTemplate, name: patches-train}, operations: [{op: replace, path: /spec/templates/99/x, value: 1}]",
        "`/spec/templates` is a list of 1",
        "",
    ),
    (
        "target: {kind: WorkflowTemplate, name: patches-train}, operations: [{op: test, path: /spec/templates/3/name, value: a}]",
        "the value there is `'snapshot'`, must be `'a'`",
        "",
    ),
    (
        "target: {kind: Deployment}, merge: {spec: {template: {spec: {containers: [{image: x}]}}}}",
        "p.yaml:14:82: spec.patches[0] on Deployment `patches-r15f9becd`: an item of containers must have `name`",
        "",
    ),
    (
        "target: {kind: Service}, merge: {spec: {ports: [{port: 1}]}}",
        "ports can't be merged here",
        "change it by `operations`",
    ),
    (
        "target: {kind: Service}, merge: {metadata: {labels: {a: null}}}",
        "metadata.labels must be texts",
        "remove one by `operations`",
    ),
]


@pytest.mark.parametrize(("patch", "message", "hint"), REFUSED)
def test_a_patch_that_can_not_be_applied_is_refused_with_what_is_there(
    patch: str, message: str, hint: str
) -> None:
    release = yaml.safe_load(release_text("patches") or "")["spec"]["production"]["id"]
    with pytest.raises(InvalidSpec) as caught:
        render(f"    - {{{patch.replace('RELEASE', release)}}}\n")
    told = f"{caught.value}\n{caught.value.hint}"
    assert message in told
    assert hint in told


@pytest.mark.parametrize(
    ("target", "patch", "message"),
    [
        ("kind: NetworkPolicy", "merge: {spec: {policyTypes: []}}", "changes NetworkPolicy `"),
        ("kind: Role", "merge: {rules: []}", "rights in the cluster are driftloop's to give"),
        (
            "kind: Deployment",
            "merge: {spec: {template: {spec: {securityContext: {runAsUser: 0}}}}}",
            "it changes spec.template.spec.securityContext, must leave it",
        ),
        (
            "kind: Deployment",
            "merge: {spec: {template: {spec: {serviceAccountName: default}}}}",
            "it changes spec.template.spec.serviceAccountName, must leave it: a pod's account is a wall",
        ),
        (
            "kind: Deployment",
            "merge: {spec: {template: {spec: {containers: [{name: model, securityContext: {privileged: true}}]}}}}",
            "spec.template.spec.containers[model] as a container, must leave it",
        ),
        (
            "kind: Deployment",
            "merge: {spec: {template: {spec: {containers: [{name: new, image: a/b:1}]}}}}",
            "adds the container spec.template.spec.containers[new], whose `securityContext` must be {'",
        ),
        (
            "kind: Deployment",
            "merge: {spec: {template: {spec: {volumes: [{name: v, hostPath: {path: /}}]}}}}",
            "changes spec.template.spec.volumes[v].hostPath, must leave it",
        ),
        (
            "kind: Deployment",
            "merge: {spec: {template: {spec: {volumes: [{name: v, secret: {secretName: driftloop-git}}]}}}}",
            "volumes[v].secret, must leave it: it holds keys of the platform",
        ),
        (
            "kind: Deployment",
            "merge: {spec: {template: {metadata: {labels: {app.kubernetes.io/name: x}}}}}",
            "changes spec.template.metadata.labels[app.kubernetes.io/name], must leave it",
        ),
        ("kind: Deployment", "operations: [{op: replace, path: /metadata/name, value: x}]", "changes metadata.name"),
        (
            "kind: WorkflowTemplate, name: patches-train",
            "operations: [{op: replace, path: /spec/templates/2/container/image, value: x}]",
            "it changes spec.templates[claim], must leave it: the claim keeps two runs apart",
        ),
        (
            "kind: WorkflowTemplate, name: patches-train",
            "operations: [{op: remove, path: /spec/templates/1/dag/tasks/5}]",
            "it changes spec.templates[loop].dag, must leave it: the order of a run",
        ),
        (
            "kind: WorkflowTemplate, name: patches-train",
            "operations: [{op: replace, path: /spec/templates/8/container/args, value: []}]",
            "it changes spec.templates[gate].container as a container, must leave it",
        ),
        (
            "kind: WorkflowTemplate, name: patches-train",
            "operations: [{op: add, path: /spec/podSpecPatch, value: '{}'}]",
            "Argo would put it over all walls",
        ),
    ],
)  # fmt: skip
def test_a_patch_leaves_the_walls_where_they_are(target: str, patch: str, message: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        render(f"    - {{target: {{{target}}}, {patch}}}\n")
    assert message in str(caught.value)
    assert str(caught.value).startswith("p.yaml:14:")


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ("target: {kind: Service}", "must have either `operations` or `merge`"),
        ("target: {kind: Service}, merge: {}", "must say what to merge"),
        ("target: {kind: Service}, merge: {kind: Pod}", "must not hold `kind`"),
        ("target: {kind: Service}, merge: {spec: {$patch: delete}}", "must not hold `$patch`"),
        ("target: {kind: service}, merge: {spec: {}}", "must be a kind of object, such as"),
        ("target: {kind: Service}, operations: [{op: add, path: spec, value: 1}]", "must be a path such as"),
        ("target: {kind: Service}, operations: [{op: add, path: /spec}]", "must have a `value` with `op: add`"),
        ("target: {kind: Service}, operations: [{op: remove, path: /spec, value: 1}]", "must have no `value`"),
        ("target: {kind: Service}, operations: [{op: move, path: /spec}]", "must be one of: `add`, `remove`, `replace`, `test`"),
    ],
)  # fmt: skip
def test_a_patch_of_another_form_is_refused(patch: str, message: str) -> None:
    with pytest.raises(InvalidSpec, match=re.escape(message)):
        render(f"    - {{{patch}}}\n")


def test_plan_shows_what_of_which_object_patches_change(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(spec_text("patches"))
    (tmp_path / "cluster").mkdir()
    told = type_command("plan", "pipeline.yaml", "--into", "cluster", folder=tmp_path).stdout
    assert (
        "patches\n"
        "  WorkflowTemplate patches/patches-train\n"
        "    spec.archiveLogs: true -> not set\n"
        "    spec.templates[snapshot].activeDeadlineSeconds: 1800 -> 3600\n"
        '    spec.templates[snapshot].container.env[HTTPS_PROXY]: not set -> {"name": "HTTPS_PROXY", '
    ) in told
    type_command("render", "pipeline.yaml", "--into", "cluster", folder=tmp_path)
    spec = tmp_path / "pipeline.yaml"
    spec.write_text(spec.read_text().replace("value: 3600", "value: 7200"))
    told = type_command("plan", "pipeline.yaml", "--into", "cluster", "-o", "json", folder=tmp_path)
    document = json.loads(told.stdout)
    assert {"change": "changed", "kind": "WorkflowTemplate", "namespace": "patches", "name": "patches-train"} in (
        document["resources"]
    )  # fmt: skip
    assert (1800, 7200) in [(each["old"], each["new"]) for each in document["patches"]]
    broken = spec.read_text().replace("/spec/archiveLogs", "/spec/archiveLog")
    spec.write_text(broken)
    told = type_command("validate", "pipeline.yaml", folder=tmp_path, code=1)
    assert (
        "pipeline.yaml:19:30: spec.patches[0] on WorkflowTemplate `patches-train`: `op: remove` of"
        in told.stderr
    )
