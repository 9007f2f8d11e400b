"""From an empty cluster to a promotion after drift, by the commands of the guide and nothing else."""

import time

from cluster.guide import STEPS
from cluster.guided import follow_guide, wipe_cluster
from cluster.world import BACKEND, PIPELINE, N, P


class Stages:
    """When each stage was reached, since `flux bootstrap` began."""

    def __init__(self, it):
        self._it, self._start, self.rows = it, None, []

    def begin(self, block):
        if "flux bootstrap" in block.commands:
            self._start = time.monotonic()

    def end(self, block):
        if self._start is not None:
            self.reach(f"{block.step}. {block.title}")

    def reach(self, what):
        seconds = time.monotonic() - self._start
        self.rows.append((what, seconds))
        self._it.say(f"reached after {seconds:.0f} s: {what}")

    def table(self):
        lines = [f"| {what} | {int(s // 60)} min {int(s % 60):02} s |" for what, s in self.rows]
        return "\n".join(["| stage | since `flux bootstrap` |", "|---|---|", *lines])


def test_the_guide_leads_to_a_loop_that_turns(it, capfd):
    wipe_cluster(it)
    stages = Stages(it)

    def after(block):
        stages.end(block)
        if "driftloop trigger" in block.commands:
            phases = {name: w["status"]["phase"] for name, w in it.workflows().items()}
            assert set(phases.values()) == {"Succeeded"}, phases

    follow_guide(it, STEPS, before=stages.begin, after=after)
    first = it.release()["production"]["id"]
    it.remember(first=first)

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
        pods.update(pod["metadata"]["name"] for pod in it.kube.get("pod", namespace=N))
        return is_promoted(it, other_than=first)

    it.kube.wait("the rollout ends with a promotion", promoted, timeout=1500, every=1)
    it.ready(PIPELINE, timeout=300)
    stages.reach("the new model is production")
    it.say(it.troubles())
    candidate = f"{P}-{it.release()['production']['id']}-"
    replaced = sorted(name for name in pods if name.startswith(candidate))
    assert len(replaced) == 1, f"the candidate's pod was replaced: {replaced}"
    with capfd.disabled():
        print(f"\nback end {BACKEND}\n{stages.table()}")


def is_promoted(it, *, other_than):
    """Whether the release is another one than that, and no rollout is on."""
    release = it.release()
    return release["phase"] == "stable" and release["production"]["id"] != other_than
