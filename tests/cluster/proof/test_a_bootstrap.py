"""1: Flux applies everything from git, and takes back what a hand changes."""

from cluster.guided import MISSING, PLATFORM, follow_guide, wipe_cluster
from cluster.world import PIPELINE, N, P


def test_1_flux_applies_everything_from_git(it):
    if MISSING is None and not it.bare.exists():
        wipe_cluster(it)
        follow_guide(it, PLATFORM)
        it.say("the platform is ready, by the guide's steps on an empty cluster")
    elif not it.bare.exists():
        assert it.kube.get("kustomization", "flux-system", "flux-system") is None, (
            "the cluster follows another repository"
        )
        it.lay_out()
        it.bootstrap()
        it.say("the source and the first Kustomization are applied; nothing else will be by hand")
    it.kube.wait("the stages are there", lambda: "infra-configs" in it.stages(), timeout=240)
    it.ready(it.stages(), timeout=240)
    it.driftloop("commit", it.spec(), "--repository", it.url)
    it.say("the pipeline is committed")
    it.ready((*it.stages(), *PIPELINE), timeout=300)


def test_1_a_change_by_hand_is_taken_back(it):
    name = f"{P}-decision"
    it.kube.run("-n", N, "scale", "deployment", name, "--replicas=0")
    it.say(f"Deployment {name} scaled to 0 by hand")
    it.kube.wait(
        "Flux puts the replica back",
        lambda: it.kube.get("deployment", name, N)["spec"]["replicas"] == 1,
    )
    it.say("Flux has put it back")
