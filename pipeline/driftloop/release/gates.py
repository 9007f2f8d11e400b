"""The bars a candidate must clear before any traffic reaches it. Pure: metrics in, verdict out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from driftloop.contract.documents import DocumentError
from driftloop.contract.handovers import GateRule, parse_gates
from driftloop.errors import ReleaseError


@dataclass(frozen=True)
class Result:
    """One gate and how it went; `bound` is the number the candidate's value was held against,
    None without one."""

    metric: str
    on: str
    rule: str
    value: float
    bound: float | None
    passed: bool

    @property
    def said(self) -> str:
        """As a person would read it in a commit."""
        where = "" if self.on == "all" else f" on {self.on} data"
        if self.bound is None:
            return f"{self.metric}{where} {self.value:.4g}, no production to compare with"
        word = "at least" if self.rule in ("min", "productionMinus") else "at most"
        return f"{self.metric}{where} {self.value:.4g}, must be {word} {self.bound:.4g}"


@dataclass(frozen=True)
class GateVerdict:
    """Verdict of all gates, with each gate's result."""

    gates: tuple[Result, ...]
    not_comparable: str = ""
    """Why production could not be evaluated."""
    alone: bool = False
    """A candidate may pass without production."""

    @property
    def passed(self) -> bool:
        return all(gate.passed for gate in self.gates) and (self.alone or not self.not_comparable)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The gates that refused it; those that let it pass when none did."""
        gates = tuple(gate.said for gate in self.gates if not gate.passed or self.passed)
        if not self.not_comparable:
            return gates
        allow = (
            ""
            if self.alone
            else "; `evaluate.ifProductionFails: judge-alone` lets a candidate pass"
        )
        return (f"production is not comparable: {self.not_comparable}{allow}", *gates)

    def to_json(self) -> dict[str, Any]:
        """As verdict.json holds it."""
        gates = [{**vars(gate), "reason": gate.said} for gate in self.gates]
        return {
            "passed": self.passed,
            "reasons": list(self.reasons),
            "gates": gates,
            "notComparable": self.not_comparable,
        }


def parse_gate_rules(text: str) -> tuple[GateRule, ...]:
    """Read the gates from their JSON; ReleaseError when they can't be read."""
    try:
        return parse_gates(text)
    except DocumentError as error:
        raise ReleaseError(f"the gates can't be read: {error.message}") from error


def judge_gates(
    gates: Sequence[GateRule], metrics: Mapping[str, Any], *, alone: bool = False
) -> GateVerdict:
    """Hold metrics.json (`candidate` and `production`, each with `all` and `recent`) against the
    spec's gates.

    Where production could not be evaluated a candidate passes only `alone`, by its own bounds.
    ReleaseError when the evaluation did not return the metric of a gate.
    """
    results: list[Result] = []
    for gate in gates:
        value = _number(metrics.get("candidate"), "the candidate", gate)
        production = metrics.get("production")
        theirs = _number(production, "production", gate) if production and _compares(gate) else None
        below = -(gate.production_minus or 0.0)
        above = gate.production_plus or 0.0
        if gate.min is not None:
            results.append(Result(gate.metric, gate.on, "min", value, gate.min, value >= gate.min))
        if gate.max is not None:
            results.append(Result(gate.metric, gate.on, "max", value, gate.max, value <= gate.max))
        if gate.production_minus is not None:
            results.append(_compared(gate, "productionMinus", value, theirs, below))
        if gate.production_plus is not None:
            results.append(_compared(gate, "productionPlus", value, theirs, above))
    return GateVerdict(tuple(results), str(metrics.get("notComparable") or ""), alone)


def _compares(gate: GateRule) -> bool:
    return gate.production_minus is not None or gate.production_plus is not None


def _compared(
    gate: GateRule, rule: str, value: float, theirs: float | None, margin: float
) -> Result:
    if theirs is None:
        return Result(gate.metric, gate.on, rule, value, None, True)
    bound = theirs + margin
    return Result(
        gate.metric,
        gate.on,
        rule,
        value,
        bound,
        value >= bound if rule == "productionMinus" else value <= bound,
    )


def _number(measured: Any, whose: str, gate: GateRule) -> float:
    values = measured.get(gate.on) if isinstance(measured, Mapping) else None
    if not isinstance(values, Mapping):
        raise ReleaseError(
            f"{whose} was not evaluated on {gate.on} rows",
            hint=f"check that the evaluation has held-out rows of kind `{gate.on}`",
        )
    value = values.get(gate.metric)
    if value is None:
        measured_names = ", ".join(sorted(values)) or "nothing"
        raise ReleaseError(
            f"the gate on `{gate.metric}` has no value for {whose}, the evaluation returned: {measured_names}",
            hint="return it from the evaluation function, or change `evaluate.gates` in the spec",
        )
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ReleaseError(f"`{gate.metric}` of {whose} is {value!r}, must be a finite number")
    return float(value)
