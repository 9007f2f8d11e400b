"""Environments of the monitor image and of the one with alibi-detect's frameworks, built once for all tests."""

from pathlib import Path

from driftloop.local.kubelet.environments import build_environment

ROOT = Path(__file__).parents[2]


def python(image: str = "monitor") -> Path:
    """The interpreter of an image; the first call on a machine builds its environment with uv."""
    requirements = ROOT / "pipeline" / "driftloop" / "images" / image / "requirements.txt"
    envs = ROOT / ".driftloop" / "envs"
    return build_environment(envs, [requirements], python="3.11", name=image) / "bin" / "python"
