"""A small valid spec, and ways to break it."""

MINIMAL = """\
apiVersion: driftloop.dev/v1alpha1
kind: Pipeline
metadata: {name: digits}
spec:
  images:
    trainer: {ref: ghcr.io/acme/digits-trainer:1.0.0}
    server: {ref: ghcr.io/acme/digits-server:1.0.0}
  data: {uri: s3://digits/batches}
  train: {run: "train:train"}
  evaluate: {run: "evaluate:evaluate"}
  serve: {model: Digits}
"""


def changed(old: str, new: str) -> str:
    """MINIMAL with one piece of text replaced."""
    assert old in MINIMAL
    return MINIMAL.replace(old, new)
