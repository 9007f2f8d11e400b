"""The monitor image's environment, built once for all tests."""

from pathlib import Path

from driftloop.local.kubelet.environments import build_environment

ROOT = Path(__file__).parents[2]


def python() -> Path:
    """Its interpreter; the first call on a machine builds it with uv."""
    requirements = ROOT / "pipeline" / "driftloop" / "images" / "monitor" / "requirements.txt"
    envs = ROOT / ".driftloop" / "envs"
    return build_environment(envs, [requirements], python="3.11", name="monitor") / "bin" / "python"
