"""A small pipeline and its releases, for tests that commit."""

import hashlib

from driftloop.contract.names import release_id
from driftloop.release.record import Version

SPEC = """\
apiVersion: driftloop.dev/v1alpha1
kind: Pipeline
metadata: {name: digits}
spec:
  images:
    trainer: {ref: "example.org/trainer:1"}
    server: {ref: "example.org/server:1"}
  data: {uri: "s3://digits/batches"}
  train: {run: "train:train"}
  evaluate:
    run: "evaluate:evaluate"
    gates: [{metric: accuracy, min: 0.9}]
  serve: {model: Digits}
  monitors:
    drift: {detector: ks, window: 50}
"""
PLAIN = SPEC.replace("serve: {model: Digits}", "serve: {model: Digits, backend: plain}")


def version(run: str, **changes: object) -> Version:
    """A version that a run would register."""
    fields = {
        "id": release_id(run),
        "run": run,
        "model": f"s3://driftloop/runs/{run}/release/model",
        "model_digest": "sha256:" + hashlib.sha256(run.encode()).hexdigest(),
        "detectors": f"s3://driftloop/runs/{run}/release/detectors",
        "data_digest": "sha256:" + "1" * 64,
        "metrics": {"accuracy": 0.97},
    }
    return Version.model_validate(fields | changes)
