"""`driftloop remove` on Flux as it was bootstrapped."""

import time

from cluster.bootstrap.test_a_hindsight import check_trace
from cluster.world import N, P


def test_a_removal_takes_a_minute(it):
    it.traffic.pause()
    start = time.monotonic()
    it.driftloop("remove", P, "--repository", it.url, "--cluster")
    it.kube.wait("the namespace is settled", it.settled, timeout=300, every=1)
    took = time.monotonic() - start
    it.say(f"`remove` {took:.0f} s")
    assert it.kube.get("namespace", N) is None or it.settled()
    assert took < 90


def test_requests_of_what_was_removed_are_still_traced(it):
    asked = it.known("asked")
    assert asked, "requests of each kind were remembered"
    # they went with the namespace, and are the platform's: Flux makes them again in its own time, or when it is asked
    it.kube.wait("the namespace is gone", lambda: it.kube.get("namespace", N) is None, timeout=300)
    it.kube.run(
        "-n", "flux-system", "annotate", "--overwrite", "kustomization", "platform",
        f"reconcile.fluxcd.io/requestedAt={time.time()}",
    )  # fmt: skip
    it.kube.wait(
        "the namespace has its settings again",
        lambda: it.kube.get("secret", "driftloop-platform", N),
        timeout=300,
    )
    for role, (id, release) in asked.items():
        notes = check_trace(it, role, id, release)
        assert any(f"pipeline `{P}` is removed" in note for note in notes), notes
