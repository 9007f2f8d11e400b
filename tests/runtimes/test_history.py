"""What the timeline calls the steps of a run."""

from typing import Any

import pytest

from pipeline.runtimes.local.history import step


def node(name: str, type: str = "Pod", template: str = "t") -> dict[str, Any]:
    return {"displayName": name, "type": type, "templateName": template}


@pytest.mark.parametrize(
    ("name", "retried", "shown"),
    [
        ("claim", None, "claim"),
        ("claim(0)", "claim", "claim"),
        ("claim(2)", "claim", "claim (try 3)"),
        ("train(1:rate:0.1)(0)", "train(1:rate:0.1)", "train(1:rate:0.1)"),
        ("train(1)", None, "train(1)"),
        ("digits-1.onExit(1)", "digits-1.onExit", "settle (try 2)"),
        ("digits-1.onExit", None, "settle"),
    ],
)
def test_the_name_of_a_step(name: str, retried: str | None, shown: str) -> None:
    nodes = {"x": node("digits-1", "DAG")} | ({} if retried is None else {"r": node(retried, "Retry")})
    assert step(node(name, template="settle" if "onExit" in name else "t"), nodes) == shown
