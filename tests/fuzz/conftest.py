"""The hostile inputs of one run: how many, and the seed that makes the same ones again."""

from dataclasses import dataclass
from random import Random

import pytest

from tests.local.conftest import context, envs, git, start, state

__all__ = ["context", "envs", "git", "start", "state"]

SEED = 20261129
SHARES = {"events": 0.4, "requests": 0.2, "specs": 0.25, "state": 0.15}


@dataclass(frozen=True)
class HostileInputs:
    """Size and seed of a run."""

    total: int
    seed: int

    def count(self, kind: str) -> int:
        """Return the number of inputs of one kind."""
        return max(1, round(self.total * SHARES[kind]))

    def random(self, number: int) -> Random:
        """The source of input `number`, which needs none of those before it."""
        return Random(f"{self.seed}/{number}")


@pytest.fixture
def hostile(request: pytest.FixtureRequest) -> HostileInputs:
    seed = request.config.getoption("--hostile-seed")
    inputs = HostileInputs(
        request.config.getoption("--hostile"), SEED if seed is None else int(seed)
    )
    print(f"seed {inputs.seed} (--hostile-seed), {inputs.total} hostile inputs in all")
    return inputs
