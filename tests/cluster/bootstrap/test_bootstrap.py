"""From an empty cluster to a promotion after drift, by the commands of the guide and nothing else.

CLUSTER_KIT is a folder with `up`, `down` and `upstream` (an empty cluster on this machine, and what
the platform's tree fetches from outside served inside it), CLUSTER_MIRRORS what `upstream` takes.
"""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from cluster.bootstrap.guide import GUIDE, Terminal, read_blocks
from cluster.proof.test_d_rollout import revert
from cluster.world import BACKEND, PIPELINE, ROOT, N, P, world
from uv import find_uv_bin

KIT, MIRRORS = os.environ.get("CLUSTER_KIT"), os.environ.get("CLUSTER_MIRRORS")
STATE = Path(os.environ.get("CLUSTER_STATE", "/var/tmp/cluster"))
PROGRAMS = os.environ.get("CLUSTER_BIN", "/var/tmp/cluster-bin")

pytestmark = [
    pytest.mark.timeout(5400),
    pytest.mark.skipif(not (KIT and MIRRORS), reason="CLUSTER_KIT and CLUSTER_MIRRORS are not set"),
]


class Stages:
    """When each stage was reached, since `flux bootstrap` began."""

    def __init__(self, it):
        self._it, self._start, self.rows = it, None, []

    def begin(self):
        self._start = time.monotonic()

    def reach(self, what):
        seconds = time.monotonic() - self._start
        self.rows.append((what, seconds))
        self._it.say(f"reached after {seconds:.0f} s: {what}")

    def table(self):
        lines = [f"| {what} | {int(s // 60)} min {int(s % 60):02} s |" for what, s in self.rows]
        return "\n".join(["| stage | since `flux bootstrap` |", "|---|---|", *lines])


@pytest.fixture(scope="module")
def it(tmp_path_factory):
    """A wiped cluster, and a world around an empty repository."""
    kit("down", "--reset")
    kit("up")
    kit("upstream", MIRRORS)
    os.environ["KUBECONFIG"] = str(STATE / "admin.conf")
    os.environ["PATH"] = f"{PROGRAMS}:{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"
    given = os.environ.get("CLUSTER_TEST_OUT")
    folder = Path(given).resolve() if given else tmp_path_factory.mktemp("bootstrap")
    folder.mkdir(parents=True, exist_ok=True)
    print(f"\nwhat is seen goes to {folder}")
    with world(folder) as made:
        made.git("init", "-q", "--bare", "-b", "main", made.bare, cwd=folder)
        yield made
        made.keep()


def kit(program, *arguments):
    done = subprocess.run(
        [f"{KIT}/{program}", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{program}: {done.stdout[-2000:]}{done.stderr[-2000:]}"


def terminal(it):
    """A person's machine: a checkout of this project, its programs, and credentials for git."""
    home = it.folder / "home"
    checkout = home / "driftloop"
    checkout.mkdir(parents=True)
    for part in ("cluster", "examples"):
        shutil.copytree(ROOT / part, checkout / part)
    shutil.copy(ROOT / ".sourceignore", checkout)
    if BACKEND == "seldon":
        # the executor's first probe comes 20 s after its start: only a kept version is back before
        spec = checkout / "examples" / "digits" / "pipeline.yaml"
        text, kept = re.subn(
            r"^  rollout:.*$", r"\g<0>\n    keepPrevious: true", spec.read_text(), flags=re.M
        )
        assert kept == 1
        spec.write_text(text)
    password = it.passwords["bot"]
    environment = {
        "HOME": str(home),
        "GIT_URL": it.url,
        "GIT_USERNAME": "bot",
        "GIT_PASSWORD": password,
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{it.url.replace('://', f'://bot:{password}@')}.insteadOf",
        "GIT_CONFIG_VALUE_0": it.url,
        **{f"GIT_{who}_NAME": "person" for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_EMAIL": "person@cluster.test" for who in ("AUTHOR", "COMMITTER")},
        "PATH": f"{Path(find_uv_bin()).parent}:{os.environ['PATH']}",
    }
    return Terminal(home, environment), checkout


def as_here(commands):
    """What differs from the guide's cluster: git without TLS, and the back end that is tested."""
    if BACKEND == "seldon":
        commands = commands.replace("digits/plain.yaml", "digits/pipeline.yaml")
    return commands.replace("flux bootstrap git ", "flux bootstrap git --allow-insecure-http ")


def test_the_guide_leads_to_a_loop_that_turns(it, capfd):
    shell, checkout = terminal(it)
    stages = Stages(it)
    cwd = checkout
    for block in read_blocks(GUIDE.read_text()):
        if "flux bootstrap" in block.commands:
            stages.begin()
        shell.run(as_here(block.commands), cwd=cwd)
        cwd = None
        if stages._start is not None:
            stages.reach(f"{block.step}. {block.title}")
        if "driftloop trigger" in block.commands:
            phases = {name: w["status"]["phase"] for name, w in it.workflows().items()}
            assert set(phases.values()) == {"Succeeded"}, phases
    first = it.release()["production"]["id"]

    it.answers(timeout=180)
    it.traffic.turn("clean")
    answers = it.answered(60)
    it.traffic.pause()
    assert sum(answer.right for answer in answers) >= 0.85 * len(answers)
    it.batches("rotated")
    run = it.drift()
    stages.reach("drift started a run")
    assert it.ended(run, timeout=1500)["phase"] == "Succeeded"
    it.traffic.turn("rotated")

    pods = set()

    def promoted():
        release = it.release()
        pods.update(pod["metadata"]["name"] for pod in it.kube.get("pod", namespace=N))
        return release["phase"] == "stable" and release["production"]["id"] != first

    it.kube.wait("the rollout ends with a promotion", promoted, timeout=1500, every=1)
    it.ready(PIPELINE, timeout=300)
    stages.reach("the new model is production")
    it.say(it.troubles())
    candidate = f"{P}-{it.release()['production']['id']}-"
    replaced = sorted(name for name in pods if name.startswith(candidate))
    assert len(replaced) == 1, f"the candidate's pod was replaced: {replaced}"

    promotion = it.tip()
    it.retraining("halt", "--reason", "what a revert takes is measured")
    it.idle_runs()
    it.traffic.pause()
    revert(it, promotion)
    fetched = it.fetched()
    it.kube.wait("the old model is served", lambda: it.routed() == {first: 100}, every=0.5)
    gateway = time.monotonic() - fetched
    it.kube.wait("the detectors are the old model's", lambda: it.watched() == first, every=0.5)
    detectors = time.monotonic() - fetched
    it.ready(PIPELINE, timeout=300)
    start = time.monotonic()
    with it.kube.proxy() as api:
        it.driftloop("remove", P, "--repository", it.url, DRIFTLOOP_KUBERNETES_URL=api)
    it.kube.wait("the namespace is settled", it.settled, timeout=300, every=1)
    removed = time.monotonic() - start
    figures = (
        f"revert at the gateway {gateway:.0f} s and at the detectors {detectors:.0f} s after Flux had "
        f"fetched it; `remove` {removed:.0f} s"
    )
    it.say(figures)
    with capfd.disabled():
        print(f"\nback end {BACKEND}\n{stages.table()}\n{figures}")
    assert gateway < 20
    assert detectors < 40
    assert removed < 90
    assert it.kube.get("namespace", N) is None or it.settled()
