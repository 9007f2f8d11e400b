"""A spec with programs, rights and patches in place of what is usual, on prod; and who is told of its commits."""

import pytest
import yaml

USER, GROUP, MORE = 9001, 9001, 9002
PATCHES = """\
  patches:
    - target: {kind: WorkflowTemplate, name: penguins-train}
      operations:
        - {op: test, path: /spec/templates/3/name, value: snapshot}
        - {op: add, path: /spec/templates/3/container/env/-, value: {name: HTTPS_PROXY, value: "http://proxy.acme.test:3128"}}
    - target: {kind: Deployment, labels: {app.kubernetes.io/component: decision}}
      merge: {spec: {minReadySeconds: 3, template: {spec: {dnsConfig: {options: [{name: ndots, value: "2"}]}}}}}
"""


def test_programs_train_and_evaluate_with_rights_and_patches(it):
    write_spec(it)
    # what was removed must be gone: Flux waits ten minutes before it tries again in a namespace that ends meanwhile
    it.ready(("flux-system", "platform"), timeout=180)
    it.kube.wait("the namespace is settled", it.settled, timeout=180)
    said = it.types(
        f"driftloop validate {it.name}/programs.yaml\n"
        f"driftloop plan {it.name}/programs.yaml --repository $GIT_URL --cluster {it.cluster}\n"
        f"driftloop commit {it.name}/programs.yaml --repository $GIT_URL --cluster {it.cluster}"
    )
    assert "env[HTTPS_PROXY]: not set -> " in said
    it.ready(it.pipeline, timeout=600)
    deployment = it.kube.get("deployment", f"{it.name}-decision", it.name)["spec"]
    assert deployment["minReadySeconds"] == 3
    assert deployment["template"]["spec"]["dnsConfig"] == {
        "options": [{"name": "ndots", "value": "2"}]
    }
    it.batch("known", 3, 600)
    it.types(f"driftloop trigger {it.name} --cluster --wait", timeout=1500)
    released = it.release()["production"]
    it.say(f"{released['id']} is production: {released['metrics']}")
    assert released["metrics"]["accuracy"] > 0.9
    pods = find_steps(it, released["run"])
    proxy = {"name": "HTTPS_PROXY", "value": "http://proxy.acme.test:3128"}
    assert proxy in main_container(pods["snapshot"])["env"]
    rights = security(pods["train"])
    assert (rights["runAsUser"], rights["runAsGroup"], rights["fsGroup"]) == (USER, GROUP, GROUP)
    assert security(pods["evaluate"])["runAsUser"] != USER
    log = it.kube.run("-n", it.name, "logs", pods["train"]["metadata"]["name"], "-c", "main")
    (line,) = (line for line in log.splitlines() if "trained by uid" in line)
    it.say(line)
    assert f"uid {USER}, gid {GROUP}" in line
    assert str(MORE) in line
    it.ready(it.pipeline, timeout=600)
    it.answers(timeout=180)


def write_spec(it):
    """The same pipeline with programs in place of functions, a user of its own, and two patches."""
    text = (it.home / it.name / "pipeline.yaml").read_text()
    rights = f"{{runAsUser: {USER}, runAsGroup: {GROUP}, fsGroup: {GROUP}, supplementalGroups: [{MORE}]}}"
    for known, wanted in (
        (
            '    run: "species:train"\n',
            f'    command: [sh, fit.sh, "{{trees}}"]\n    pod: {{security: {rights}}}\n',
        ),
        ('    run: "species:evaluate"\n', "    command: [python, fit.py, --measure]\n"),
    ):
        assert text.count(known) == 1, known
        text = text.replace(known, wanted)
    (it.home / it.name / "programs.yaml").write_text(text + PATCHES)


def find_steps(it, run):
    """The pods of a run by the name of their step."""
    found = {}
    for pod in it.kube.get("pod", namespace=it.name):
        node = pod["metadata"].get("annotations", {}).get("workflows.argoproj.io/node-name", "")
        if node.startswith(f"{run}."):
            found[node.partition("(")[0].rpartition(".")[2]] = pod
    return found


def main_container(pod):
    (main,) = (each for each in pod["spec"]["containers"] if each["name"] == "main")
    return main


def security(pod):
    """As whom the step's own container runs."""
    return pod["spec"].get("securityContext", {}) | main_container(pod).get("securityContext", {})


def test_who_is_to_know_is_told_of_what_is_applied_and_of_what_can_t_be(it):
    if not (it.home / "prod.agekey").exists():
        pytest.skip("nobody is told where the platform file names no receiver")
    tree = f"{it.name}-deployments"
    applied = it.kube.wait("a commit that was applied is told", lambda: heard(it, tree, "info"))
    it.say(f"told: {applied[-1]['reason']}: {applied[-1]['message'].splitlines()[0][:120]}")
    fleet = it.home / "fleet"
    it.types("git pull -q --rebase", cwd=fleet)
    listing = fleet / "driftloop" / it.cluster / "deployments" / it.name / "kustomization.yaml"
    text = listing.read_text()
    document = yaml.safe_load(text)
    document["resources"].append("nowhere.yaml")
    listing.write_text(yaml.safe_dump(document))
    it.push("Name a file that is not there")
    failed = it.kube.wait(
        "a commit that can't be applied is told", lambda: heard(it, tree, "error"), timeout=180
    )
    it.say(f"told: {failed[-1]['reason']}: {failed[-1]['message'][:200]}")
    assert "nowhere.yaml" in failed[-1]["message"]
    listing.write_text(text)
    it.push("Take it back")
    it.ready(it.pipeline, timeout=300)


def heard(it, tree, severity):
    """What Flux told of one tree."""
    return [
        event
        for event in list(it.listener.heard)
        if event.get("severity") == severity and event["involvedObject"]["name"] == tree
    ]
