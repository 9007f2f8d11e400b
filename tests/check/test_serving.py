"""The traffic of a SeldonDeployment, judged as the operator's admission webhook does."""

import pytest

from driftloop.check import check_files

Predictor = tuple[int | None, bool]
"""Its traffic, and whether it is a shadow."""


def deployment(*predictors: Predictor) -> str:
    written = "".join(
        f"""
  - name: p{number}
    {"" if traffic is None else f"traffic: {traffic}"}
    shadow: {str(shadow).lower()}
    graph: {{name: m, type: MODEL, modelUri: 's3://models/{number}'}}
    componentSpecs: [{{spec: {{containers: [{{name: m, image: 'ghcr.io/acme/m:1.0.0'}}]}}}}]"""
        for number, (traffic, shadow) in enumerate(predictors)
    )
    return f"""\
apiVersion: machinelearning.seldon.io/v1
kind: SeldonDeployment
metadata: {{name: m, namespace: shop}}
spec:
  predictors:{written}
"""


@pytest.mark.parametrize(
    ("predictors", "code"),
    [
        ([(None, False)], None),
        ([(100, False)], None),
        ([(50, False)], "DL401"),
        # beside a shadow nobody looks at the one that answers: it is the only place requests can go to
        ([(50, False), (None, True)], None),
        ([(None, False), (None, True)], None),
        ([(None, False), (30, True)], None),
        ([(100, False), (0, False)], None),
        ([(90, False), (10, False), (None, True)], None),
        ([(90, False), (20, False)], "DL401"),
        ([(None, False), (None, False)], "DL401"),
        ([(None, True)], "DL402"),
        ([(100, False), (101, True)], "DL402"),
        ([(100, False), (None, True), (None, True)], "DL402"),
    ],
)  # fmt: skip
def test_the_traffic_is_judged_as_the_webhook_does(
    predictors: list[Predictor], code: str | None
) -> None:
    found = check_files({"m.yaml": deployment(*predictors)})
    assert {one.code for one in found if one.code in ("DL401", "DL402")} == (
        {code} if code is not None else set()
    )
