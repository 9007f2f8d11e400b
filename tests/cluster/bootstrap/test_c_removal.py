"""`driftloop remove` on Flux as it was bootstrapped."""

import time

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
