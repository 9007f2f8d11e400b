"""A promotion is taken back by a revert of its commit."""

from cluster.proof.test_d_rollout import revert
from cluster.world import PIPELINE


def test_a_revert_is_at_the_gateway_at_once(it):
    first, promotion = it.known("first"), it.tip()
    it.retraining("halt", "--reason", "what a revert takes is measured")
    it.idle_runs()
    it.traffic.pause()
    revert(it, promotion)
    gateway, detectors = it.measure_return(first)
    it.say(
        f"revert at the gateway {gateway:.0f} s and at the detectors {detectors:.0f} s after Flux had fetched it"
    )
    it.ready(PIPELINE, timeout=300)
    it.retraining("resume")
    assert gateway < 20
    assert detectors < 40
