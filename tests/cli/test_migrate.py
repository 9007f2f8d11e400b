"""`driftloop migrate`: what `validate` knows to be dead is written anew, in place; the rest is left with a reason."""

import json
from pathlib import Path

import pytest
from support.commands import type_command

from driftloop.check import check_files
from driftloop.check.migration import CODES, migrate_references, migrate_text

FLUX = """\
# what Flux applies
apiVersion: kustomize.toolkit.fluxcd.io/v1beta1  # since 2021
kind: Kustomization
metadata:
  name: eventing
  namespace: flux-system
spec:
  interval: 5m0s
  # where it is
  path: ./toolchain/eventing
  prune: true
  sourceRef: {kind: GitRepository, name: flux-system}
  validation: client
  healthChecks:
  - apiVersion: "helm.toolkit.fluxcd.io/v2beta1"   # the chart
    kind: HelmRelease
    name: nats
    namespace: nats
---
{apiVersion: source.toolkit.fluxcd.io/v1beta2, kind: GitRepository, metadata: {name: flux-system, namespace: flux-system},
 spec: {interval: 1m, url: 'https://github.com/acme/cluster', gitImplementation: go-git, ref: {branch: main}}}
"""
FLUX_AFTER = """\
# what Flux applies
apiVersion: kustomize.toolkit.fluxcd.io/v1  # since 2021
kind: Kustomization
metadata:
  name: eventing
  namespace: flux-system
spec:
  interval: 5m0s
  # where it is
  path: ./toolchain/eventing
  prune: true
  sourceRef: {kind: GitRepository, name: flux-system}
  healthChecks:
  - apiVersion: "helm.toolkit.fluxcd.io/v2"   # the chart
    kind: HelmRelease
    name: nats
    namespace: nats
---
{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: flux-system, namespace: flux-system},
 spec: {interval: 1m, url: 'https://github.com/acme/cluster', ref: {branch: main}}}
"""
ARGO = """\
apiVersion: argoproj.io/v1alpha1
kind: CronWorkflow
metadata: {name: nightly, namespace: ml}
spec:
  schedule: "0 3 * * *"   # at night
  workflowSpec:
    entrypoint: main
    synchronization:
      mutex:
        # one at a time
        name: training
        namespace: ml
    templates:
    - name: main
      synchronization: {semaphore: {configMapKeyRef: {name: locks, key: gpus}}}
      container: {image: "busybox:1.37", command: ["true"]}
"""
ARGO_AFTER = """\
apiVersion: argoproj.io/v1alpha1
kind: CronWorkflow
metadata: {name: nightly, namespace: ml}
spec:
  schedules: ["0 3 * * *"]   # at night
  workflowSpec:
    entrypoint: main
    synchronization:
      mutexes:
        # one at a time
        - name: training
          namespace: ml
    templates:
    - name: main
      synchronization: {semaphores: [{configMapKeyRef: {name: locks, key: gpus}}]}
      container: {image: "busybox:1.37", command: ["true"]}
"""
STAN = """\
apiVersion: messaging.knative.dev/v1beta1
kind: NatssChannel
metadata: {name: requests, namespace: ml}
---
apiVersion: argoproj.io/v1alpha1
kind: EventBus
metadata: {name: default, namespace: ml}
spec: {nats: {native: {replicas: 3}}}
---
apiVersion: eventing.knative.dev/v1beta1
kind: Trigger
metadata: {name: all, namespace: ml}
spec:
  broker: default
  subscriber: {ref: {apiVersion: serving.knative.dev/v1beta1, kind: Service, name: dump}}
"""

CRON = "apiVersion: argoproj.io/v1alpha1\nkind: CronWorkflow\nmetadata: {{name: a}}\nspec:\n  {}\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in (("flux.yaml", FLUX), ("argo.yaml", ARGO), ("stan.yaml", STAN)):
        (tmp_path / name).write_text(text)
    return tmp_path


def list_dead(folder: Path) -> list[str]:
    files = {file.name: file.read_text() for file in folder.glob("*.yaml")}
    return [f"{each.code} {each.subject}" for each in check_files(files) if each.code in CODES]


def test_dead_things_are_rewritten_in_place(tree: Path) -> None:
    assert len(list_dead(tree)) == 8
    done = type_command("migrate", ".", folder=tree, code=1)
    assert (tree / "flux.yaml").read_text() == FLUX_AFTER
    assert (tree / "argo.yaml").read_text() == ARGO_AFTER
    assert "apiVersion: eventing.knative.dev/v1\n" in (tree / "stan.yaml").read_text()
    assert "{apiVersion: serving.knative.dev/v1, kind: Service" in (tree / "stan.yaml").read_text()
    assert list_dead(tree) == ["DL111 NatssChannel ml/requests", "DL112 EventBus ml/default"]
    assert "argo.yaml:5: CronWorkflow ml/nightly: schedule -> schedules\n" in done.stdout
    assert "left: stan.yaml:1:13 DL111: NatssChannel ml/requests" in done.stdout
    assert (
        "why: written anew by hand: a NatsJetStreamChannel keeps events in a stream" in done.stdout
    )
    assert "write `jetstream`" in done.stdout
    assert "3 files read: 8 rewritten in 3 files, 2 left" in done.stderr
    again = type_command("migrate", ".", folder=tree, code=1)
    assert "3 files read: 0 rewritten in 0 files, 2 left" in again.stderr
    (tree / "stan.yaml").unlink()
    assert "0 left" in type_command("migrate", ".", folder=tree).stderr


def test_the_guide_shows_what_is_printed(tree: Path) -> None:
    guide = Path(__file__).parents[2] / "docs" / "guides" / "validate.md"
    section = guide.read_text().partition("## Rewriting what is dead")[2]
    shown = section.split("```")[3].strip().splitlines()
    done = type_command("migrate", ".", "--dry-run", folder=tree, code=1)
    printed = (done.stdout + done.stderr).splitlines()
    assert len(shown) > 10
    assert [line for line in shown if line not in printed] == []


def test_a_dry_run_shows_the_difference_and_writes_nothing(tree: Path) -> None:
    done = type_command("migrate", "argo.yaml", "--dry-run", folder=tree)
    assert (
        '-  schedule: "0 3 * * *"   # at night\n+  schedules: ["0 3 * * *"]   # at night\n'
        in done.stdout
    )
    assert "1 file read: 3 would be rewritten in 1 file, 0 left" in done.stderr
    assert (tree / "argo.yaml").read_text() == ARGO
    document = json.loads(
        type_command("migrate", ".", "--dry-run", "-o", "json", folder=tree, code=1).stdout
    )
    assert (document["written"], document["changed"]) == (False, ["argo.yaml", "flux.yaml", "stan.yaml"])  # fmt: skip
    assert [each["code"] for each in document["left"]] == ["DL111", "DL112"]


def test_what_comments_and_settings_leave_out_is_left_alone(tree: Path) -> None:
    text = ARGO.replace("# at night", "# driftloop: ignore[DL112]")
    (tree / "argo.yaml").write_text(text)
    (tree / ".driftloop.yaml").write_text("validate: {exclude: ['flux.yaml', 'stan.yaml']}\n")
    done = type_command("migrate", ".", folder=tree)
    assert "2 files read: 2 rewritten in 1 file, 0 left" in done.stderr
    assert 'schedule: "0 3 * * *"   # driftloop' in (tree / "argo.yaml").read_text()
    assert (tree / "flux.yaml").read_text() == FLUX


def migrate(text: str) -> tuple[str, list[str]]:
    found = [each for each in check_files({"a.yaml": text}) if each.code in CODES]
    migrated = migrate_text(text, found)
    return migrated.text, [reason for _, reason in migrated.left]


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        ("kustomize.toolkit.fluxcd.io/v1beta2 Kustomization", "{patchesStrategicMerge: []}", "`patches`"),
        ("helm.toolkit.fluxcd.io/v2beta1 HelmRelease", "{postRenderers: [{kustomize: {patchesJson6902: []}}]}", "`patches`"),
        ("apps/v1beta1 Deployment", "{template: {}}", "`spec.selector` is needed"),
        ("networking.k8s.io/v1beta1 Ingress", "{rules: []}", "`pathType`"),
        ("policy/v1beta1 PodDisruptionBudget", "{selector: {}}", "`spec.selector.matchLabels` is needed"),
        ("admissionregistration.k8s.io/v1beta1 MutatingWebhookConfiguration", "{}\nwebhooks: [{name: a}]", "sideEffects"),
        ("extensions/v1beta1 PodSecurityPolicy", "{}", "Pod Security Admission"),
        ("argoproj.io/v1alpha1 CronWorkflow", "{schedule: '0 3 * * *', schedules: ['0 3 * * *']}", "both there"),
        ("argoproj.io/v1alpha1 CronWorkflow", "{schedule: !!str '0 3 * * *'}", "a tag"),
        ("argoproj.io/v1alpha1 Workflow", "{synchronization: {mutex: &m {name: x}}}", "an anchor"),
    ],
)  # fmt: skip
def test_what_would_mean_something_else_is_left(kind: str, spec: str, said: str) -> None:
    version, name = kind.split()
    text = (
        f"apiVersion: {version}\nkind: {name}\nmetadata: {{name: a, namespace: b}}\nspec: {spec}\n"
    )
    after, (reason,) = migrate(text)
    assert after == text
    assert said in reason


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (CRON.format("schedule: 0 3 1,15 * *  # twice"), CRON.format("schedules: ['0 3 1,15 * *']  # twice")),
        (CRON.format("schedule: 0 3 * * *"), CRON.format("schedules: [0 3 * * *]")),
        (CRON.format("schedule:\n    '0 3 * * *'"), CRON.format("schedules:\n    - '0 3 * * *'")),
        ("apiVersion: batch/v1beta1\r\nkind: CronJob\r\n", "apiVersion: batch/v1\r\nkind: CronJob\r\n"),
        ("kind: CronJob\n'apiVersion':\n  'batch/v1beta1'\n", "kind: CronJob\n'apiVersion':\n  'batch/v1'\n"),
        (
            "apiVersion: helm.toolkit.fluxcd.io/v2beta1\nkind: HelmRelease\nspec:\n  chart:\n    spec:\n      valuesFile: a.yaml\n",
            "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nspec:\n  chart:\n    spec:\n      valuesFiles: [a.yaml]\n",
        ),
        (
            "apiVersion: apps/v1beta2\nkind: Deployment\nspec: {selector: {matchLabels: {a: b}}}\n",
            "apiVersion: apps/v1\nkind: Deployment\nspec: {selector: {matchLabels: {a: b}}}\n",
        ),
    ],
)  # fmt: skip
def test_spellings_stay_as_they_are(before: str, after: str) -> None:
    assert migrate(before) == (after, [])
    assert migrate_references(after).text == after


def test_what_stands_in_a_text_is_left(tmp_path: Path) -> None:
    inner = (
        "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {generateName: a-}\n"
        "spec:\n  entrypoint: main\n  synchronization: {mutex: {name: x}}\n"
    )
    indented = "".join(f"        {line}\n" for line in inner.splitlines())
    text = (
        "apiVersion: argoproj.io/v1alpha1\nkind: WorkflowTemplate\nmetadata: {name: t, namespace: n}\nspec:\n"
        "  templates:\n  - name: make\n    resource:\n      action: create\n      manifest: |\n"
        + indented
    )
    after, reasons = migrate(text)
    assert after == text
    assert reasons == ["it stands in a text within the file"]
