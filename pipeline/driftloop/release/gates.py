"""The bars a candidate must clear before any traffic reaches it. Pure: metrics in, verdict out."""

from collections.abc import Mapping, Sequence

from driftloop.contract.documents import DocumentError
from driftloop.contract.handovers import GateRule, parse_gates
from driftloop.contract.records import Evaluation, GateResult, GateVerdict
from driftloop.errors import ReleaseError

_JUDGE_ALONE = "`evaluate.ifProductionFails: judge-alone`"


def parse_gate_rules(text: str) -> tuple[GateRule, ...]:
    """Read the gates from their JSON; ReleaseError when they can't be read."""
    try:
        return parse_gates(text)
    except DocumentError as error:
        raise ReleaseError(f"the gates can't be read: {error.message}") from error


def judge_gates(
    gates: Sequence[GateRule], evaluation: Evaluation, *, alone: bool = False
) -> GateVerdict:
    """Hold the metrics of the candidate and of production against the spec's gates.

    Where production could not be evaluated a candidate passes only `alone`, by its own bounds.
    ReleaseError when the evaluation did not return the metric of a gate.
    """
    results: list[GateResult] = []
    for gate in gates:
        value = _metric_value(evaluation.candidate, "the candidate", gate)
        production = None
        if evaluation.production and _compares(gate):
            production = _metric_value(evaluation.production, "production", gate)
        for rule, margin in (
            ("min", gate.min),
            ("max", gate.max),
            ("productionMinus", _negated(gate.production_minus)),
            ("productionPlus", gate.production_plus),
        ):
            if margin is None:
                continue
            bound: float | None = margin
            if rule.startswith("production"):
                bound = None if production is None else production + margin
            results.append(_apply_bound(gate, rule, value, bound))
    problem = evaluation.not_comparable
    passed = all(result.passed for result in results) and (alone or not problem)
    reasons = [result.reason for result in results if passed or not result.passed]
    if problem:
        allow = "" if alone else f"; {_JUDGE_ALONE} lets a candidate pass"
        reasons.insert(0, f"production is not comparable: {problem}{allow}")
    return GateVerdict(passed, tuple(reasons), tuple(results), problem)


def _negated(margin: float | None) -> float | None:
    return None if margin is None else -margin


def _compares(gate: GateRule) -> bool:
    return gate.production_minus is not None or gate.production_plus is not None


def _apply_bound(gate: GateRule, rule: str, value: float, bound: float | None) -> GateResult:
    least = rule in ("min", "productionMinus")
    passed = bound is None or (value >= bound if least else value <= bound)
    where = "" if gate.on == "all" else f" on {gate.on} data"
    reason = f"{gate.metric}{where} {value:.4g}, "
    if bound is None:
        reason += "no production to compare with"
    else:
        reason += f"must be {'at least' if least else 'at most'} {bound:.4g}"
    return GateResult(gate.metric, gate.on, rule, value, bound, passed, reason)


def _metric_value(measured: Mapping[str, Mapping[str, float]], whose: str, gate: GateRule) -> float:
    metrics = measured.get(gate.on)
    if metrics is None:
        raise ReleaseError(
            f"{whose} was not evaluated on {gate.on} rows",
            hint=f"check that the evaluation has held-out rows of kind `{gate.on}`",
        )
    if gate.metric not in metrics:
        names = ", ".join(sorted(metrics)) or "nothing"
        raise ReleaseError(
            f"the gate on `{gate.metric}` has no value for {whose}, the evaluation returned: {names}",
            hint="return it from the evaluation function, or change `evaluate.gates` in the spec",
        )
    return float(metrics[gate.metric])
