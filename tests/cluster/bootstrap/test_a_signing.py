"""Whoever may write into git and into the store, and has not the key that signs, gets no model served."""

import hashlib

import pytest
from cluster.bootstrap.test_b_walls import push
from cluster.world import BACKEND, PIPELINE, N, P

from driftloop.clients.s3 import ObjectStore, StoreLocation, combined_digest, parse_location


@pytest.mark.skipif(BACKEND != "seldon", reason="the guide's pipeline is signed with seldon")
def test_a_forged_release_is_refused_by_the_new_pod_and_told(it):
    it.ready(PIPELINE, timeout=300)
    production, tip = it.release()["production"], it.tip()
    assert production["signature"], "the run's last step has signed it"
    store = ObjectStore.from_environment(it.s3())
    folder = parse_location(production["model"])
    at = StoreLocation(folder.bucket, store.list_folder(folder)[0].key)
    kept = store.read_object(at)
    store.write_object(at, bytes([kept[0] ^ 1]) + kept[1:])
    start = it.traffic.turn("clean")
    try:
        forge_digest(it, production["modelDigest"], digest_of(store, folder))
        line = it.kube.wait(
            "the status says that a model server does not trust the release",
            lambda: next(
                (
                    line
                    for line in it.driftloop("status", "--cluster", "--namespace", N).splitlines()
                    if line.startswith(f"altered  {N}/{P}-{production['id']}")
                    and "is not trusted" in line
                ),
                None,
            ),
            timeout=240,
            every=3,
        )
        it.say(line)
        assert f"release {production['id']} of {N}/" in line
        answers = it.traffic.answers[start:]
        assert answers
        assert {answer.status for answer in answers} == {200}, "the pod that is there goes on"
        assert it.routed() == {production["id"]: 100}
    finally:
        store.write_object(at, kept)
        push(it, {}, revert=tip)
        it.traffic.pause()
    it.ready(PIPELINE, timeout=300)
    assert it.release() == it.release(tip)


def digest_of(store, folder):
    """The digest of the files that are in a folder of the store now."""
    digests = {}
    for item in store.list_folder(folder):
        content = store.read_object(StoreLocation(folder.bucket, item.key))
        digests[folder.relative_key(item.key)] = hashlib.sha256(content).hexdigest()
    return combined_digest(digests)


def forge_digest(it, old, new):
    """Write another digest of the model wherever the committed files have it."""
    paths = it.git("grep", "-l", old, "HEAD").replace("HEAD:", "").splitlines()
    assert any(path.endswith("release.yaml") for path in paths)
    push(it, {path: it.file(path).replace(old, new) for path in paths})
