"""A small valid spec, and ways to break it."""

from typing import Any, get_args

from driftloop.spec.detector import DriftDetector, OutlierDetector


def _kinds(union: Any) -> tuple[str, ...]:
    members = [get_args(member)[0] for member in get_args(get_args(union)[0])]
    return tuple(str(member.model_fields["detector"].default) for member in members)


DETECTORS = {"drift": _kinds(DriftDetector), "outlier": _kinds(OutlierDetector)}
"""Role -> the detectors that a spec may name there."""

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
