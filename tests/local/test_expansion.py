"""What Kubernetes makes of `$` in the words of a container."""

import pytest

from driftloop.local.ground.expansion import expand_references


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(HOME)/in", "/work/in"),
        ("$(NONE) $HOME ${HOME} $", "$(NONE) $HOME ${HOME} $"),
        ("$$(HOME)", "$(HOME)"),
        ("$$$(HOME)", "$/work"),
        ("echo $$ > pid", "echo $ > pid"),
        ("$(date +%s) $((1 + 1))", "$(date +%s) $((1 + 1))"),
    ],
)
def test_expansion(text: str, expected: str) -> None:
    assert expand_references(text, {"HOME": "/work"}) == expected
