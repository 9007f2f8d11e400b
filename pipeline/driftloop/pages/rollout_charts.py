"""Charts of what decides: the stages of a rollout with their limits, and the gates of an evaluation."""

from collections.abc import Sequence
from typing import assert_never

from markupsafe import Markup

from driftloop.pages.figures import GateFigure, LimitFigure, RolloutStage, StageState
from driftloop.pages.svg import build_element, build_figure, build_plot, join_markup, percent

_BAR = 14.0
_MARGIN = 1.15
"""A bar ends at this multiple of the largest of its figures."""


def draw_stages(stages: Sequence[RolloutStage]) -> Markup:
    """Draw the stages of a rollout in their order: which are over, which one goes on, and each limit beside
    what was measured."""
    return build_element("ol", *map(_draw_stage, stages), class_="stages")


def _draw_stage(stage: RolloutStage) -> Markup:
    head = build_element(
        "div",
        build_element("strong", stage.name),
        build_element("span", _describe_state(stage.state), class_="state"),
    )
    text = build_element("p", stage.text) if stage.text else ""
    limits = (
        build_element("dl", *map(_draw_limit, stage.limits), class_="limits")
        if stage.limits
        else ""
    )
    return build_element("li", head, text, limits, class_=stage.state)


def _describe_state(state: StageState) -> str:
    match state:
        case "waiting":
            return "not begun"
        case "active":
            return "goes on"
        case "passed":
            return "passed"
        case "failed":
            return "failed"
        case _:
            assert_never(state)


def _draw_limit(limit: LimitFigure) -> Markup:
    kind = {None: "open", True: "held", False: "missed"}[limit.held]
    value = "not measured" if limit.value is None else format_figure(limit.value, limit.unit)
    side = "at least" if limit.at_least else "at most"
    bound = "" if limit.bound is None else f" {side} {format_figure(limit.bound, limit.unit)}"
    return join_markup(
        [
            build_element("dt", limit.name),
            build_element(
                "dd", build_element("b", value), build_element("small", bound), class_=kind
            ),
        ]
    )


def format_figure(value: float, unit: str) -> str:
    """Return a measured figure as people read it."""
    match unit:
        case "share":
            return f"{100 * value:.3g} %"
        case "seconds":
            return f"{1000 * value:.3g} ms" if value < 1 else f"{value:.3g} s"
        case _:
            return f"{value:,.4g}" if value < 1e4 else f"{value:,.0f}"


def draw_gates(gates: Sequence[GateFigure]) -> Markup:
    """Draw the gates of an evaluation: the candidate's figure as a bar, the bound as a line, production's as a
    mark."""
    return build_figure("", build_element("div", *map(_draw_gate, gates), class_="gates"))


def _draw_gate(gate: GateFigure) -> Markup:
    figures = [abs(each) for each in (gate.value, gate.bound, gate.production) if each is not None]
    most = max(figures, default=0.0) * _MARGIN or 1.0

    def find_place(value: float) -> float:
        return 100 * min(max(value / most, 0.0), 1.0)

    bar = [
        build_element("rect", width="100%", height=_BAR, class_="ground"),
        build_element(
            "rect",
            width=percent(find_place(gate.value)),
            height=_BAR,
            class_="held" if gate.passed else "missed",
        ),
    ]
    if gate.production is not None:
        x = percent(find_place(gate.production))
        bar.append(build_element("line", x1=x, x2=x, y1="2", y2="12", class_="production"))
    if gate.bound is not None:
        x = percent(find_place(gate.bound))
        bar.append(build_element("line", x1=x, x2=x, y1="0", y2=_BAR, class_="threshold"))
    side = "at least" if gate.at_least else "at most"
    bound = "no bound without production" if gate.bound is None else f"{side} {gate.bound:.4g}"
    rows = "" if gate.rows == "all" else f" on {gate.rows} rows"
    return build_element(
        "div",
        build_element(
            "span",
            build_element("b", gate.metric),
            build_element("small", rows),
            class_="bar-name",
        ),
        build_plot(gate.reason or f"{gate.metric} {gate.value:.4g}, {bound}", _BAR, *bar),
        build_element(
            "span",
            build_element("b", f"{gate.value:.4g}"),
            build_element("small", f" {bound}"),
            build_element("em", "passed" if gate.passed else "missed"),
            class_="gate-end held" if gate.passed else "gate-end missed",
        ),
        class_="bar gate",
    )
