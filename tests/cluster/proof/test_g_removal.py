"""6: `driftloop remove` takes away everything that the pipeline owned."""

from cluster.streams import USERS, Streams
from cluster.world import PIPELINE, N, P

OURS = "app.kubernetes.io/managed-by=driftloop"


def test_6_remove_leaves_nothing(it):
    it.traffic.pause()
    owned = objects(it)
    # the namespace takes the Secret along
    credentials = {user: it.nats_user(user) for user in USERS}
    it.say(f"{len(owned)} objects of {P} in {N}")
    said = it.driftloop("remove", P, "--repository", it.url, "--cluster")
    assert said.strip() == it.tip()
    for name in PIPELINE:
        assert it.kube.get("kustomization", name, "flux-system") is None
    it.kube.wait("everything is gone", lambda: not objects(it), timeout=180, every=3)
    it.kube.wait("the namespace is not in the middle of anything", it.settled, timeout=180, every=3)
    paths = it.git("ls-tree", "-r", "--name-only", "main").splitlines()
    assert not [
        path for path in paths if path.split("/")[0] in ("workflows", "deployments", "monitors")
    ]
    space = it.kube.get("namespace", N)
    streams = Streams(it.streams.address, N, P, credentials.__getitem__)
    it.say(
        f"namespace {N}: {space['status']['phase'] if space else 'gone'}; streams left: {streams.names()}"
    )


def objects(it):
    """Everything labelled as driftloop's in the pipeline's namespace, but what Kubernetes derives itself."""
    kinds = [
        line.split()[0]
        for line in it.kube.run(
            "api-resources", "--namespaced", "--verbs=list,delete", "-o", "name"
        ).splitlines()
        if line.split()[0] not in ("events", "events.events.k8s.io", "pods.metrics.k8s.io")
    ]
    found = it.kube.run("-n", N, "get", ",".join(kinds), "-l", OURS, "-o", "name", check=False)
    return sorted(found.split())
