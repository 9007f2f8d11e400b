"""A small valid spec, and ways to break it."""

from typing import get_args

from driftloop.spec.detector import Detector

DETECTORS = tuple(
    str(get_args(member)[0].model_fields["detector"].default)
    for member in get_args(get_args(Detector)[0])
)
"""The detectors that a spec may name."""

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
