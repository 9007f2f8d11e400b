"""A pipeline's Grafana dashboard, in a ConfigMap that Grafana's sidecar finds by its label.

It shows every release there is, so a release changes nothing in it. Dollar signs stand without
braces: Flux would take `${…}` for one of its own variables.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from driftloop.kube import core, grafana
from driftloop.plan import Plan
from driftloop.resources import decision, judge, parts
from driftloop.resources.watching import scraping, series

LABEL = "grafana_dashboard"
SCHEMA = 39
"""Of Grafana 10; newer ones bring it up to theirs when they read it."""
WIDTH, HEIGHT = 12, 8
DATASOURCE = grafana.Datasource(uid="$datasource")
RATE = "$__rate_interval"


@dataclass(frozen=True)
class PanelQuery:
    """An expression, and how its answers are called."""

    expr: str
    legend: str


@dataclass(frozen=True)
class PanelDraft:
    """A panel without its place."""

    title: str
    about: str
    unit: str
    questions: tuple[PanelQuery, ...]
    type: Literal["timeseries", "state-timeline"] = "timeseries"
    limit: float | None = None
    """Drawn as a line."""


def config_map(plan: Plan) -> core.ConfigMap:
    """The dashboard as Grafana's sidecar wants it; the key is its file's name, which no other
    may have."""
    names = plan.names
    meta = parts.object_meta(names, f"{names.pipeline}-dashboard", scraping.COMPONENT)
    text = json.dumps(build_dashboard(plan).dump_object(), indent=2, ensure_ascii=False) + "\n"
    return core.ConfigMap(
        metadata=meta.model_copy(update={"labels": {**(meta.labels or {}), LABEL: "1"}}),
        data={f"{names.namespace}.{names.pipeline}.json": text},
    )


def build_dashboard(plan: Plan) -> grafana.Dashboard:
    """Traffic, drift, rollout, training."""
    names = plan.names
    uid = f"{names.namespace}/{names.pipeline}"
    rows = {
        "Traffic": _traffic_panels(plan),
        "Drift": _drift_panels(plan),
        "Rollout": _rollout_panels(plan),
        "Training": _training_panels(plan),
    }
    return grafana.Dashboard(
        uid=f"driftloop-{hashlib.sha256(uid.encode()).hexdigest()[:12]}",
        title=f"driftloop: {uid}",
        tags=("driftloop",),
        schema_version=SCHEMA,
        refresh="30s",
        time=grafana.Span(from_="now-3h", to="now"),
        templating=grafana.Templating(
            list_=(grafana.Variable(name="datasource", label="Prometheus"),)
        ),
        panels=tuple(_laid_out({title: tuple(panels) for title, panels in rows.items()})),
    )


def _traffic_panels(plan: Plan) -> Iterator[PanelDraft]:
    requests_series, canary = series.traffic_series(plan), plan.rollout.canary
    by = f"sum by ({requests_series.release})"
    legend = f"{{{{{requests_series.release}}}}}"
    requests = f"{by} (rate({requests_series.requests}[{RATE}]))"
    yield PanelDraft(
        "Requests by release",
        "In a shadow, the candidate's are copies of production's.",
        "reqps",
        (PanelQuery(requests, legend),),
    )
    yield PanelDraft(
        "Share of failed requests",
        "Answered with 5xx; the line is what `rollout.canary.errorRate` allows.",
        "percentunit",
        # the series of errors begins with the first one
        (
            PanelQuery(
                f"({by} (rate({requests_series.errors}[{RATE}])) or 0 * {requests}) / {requests}",
                legend,
            ),
        ),
        limit=canary.error_rate,
    )
    yield PanelDraft(
        "Answer times",
        "Half of the requests, and 99 of 100, are answered within this time"
        + ("." if canary.p99 is None else "; the line is `rollout.canary.p99`."),
        "s",
        tuple(
            PanelQuery(
                series.latency_quantile(requests_series, which, RATE, requests_series.release),
                f"p{which * 100:g} {legend}",
            )
            for which in (0.5, 0.99)
        ),
        limit=None if canary.p99 is None else canary.p99.total_seconds(),
    )
    yield PanelDraft(
        "Pods that answer",
        "1 for each pod of a predictor that Prometheus can scrape.",
        "short",
        (PanelQuery(f"max by (pod) ({series.pods_up(plan)})", "{{pod}}"),),
    )


def _drift_panels(plan: Plan) -> Iterator[PanelDraft]:
    names = plan.names
    for monitor in plan.monitors:

        def own(name: str, of: str = monitor.name, **more: str) -> str:
            return series.service_series(names, name, of, **more)

        yield PanelDraft(
            f"Score of {monitor.name}",
            "Of the last window, and the bound at which it becomes an alarm.",
            "none",
            (
                PanelQuery(f"max({own('driftloop_detector_score')})", "score"),
                PanelQuery(f"max({own('driftloop_detector_threshold')})", "threshold"),
            ),
        )
        yield PanelDraft(
            f"Windows of {monitor.name}",
            f"Windows of {monitor.detector.window_rows} rows, and those with an alarm; 1 while the last one had one.",
            "short",
            (
                PanelQuery(
                    f"sum(rate({own('driftloop_detector_windows_total')}[1h])) * 3600",
                    "windows an hour",
                ),
                PanelQuery(
                    f"sum(rate({own('driftloop_detector_windows_total', alarm='true')}[1h])) * 3600",
                    "with an alarm, an hour",
                ),
                PanelQuery(f"max({own('driftloop_detector_alarm')})", "alarm"),
            ),
        )
        yield PanelDraft(
            f"Events of {monitor.name}",
            "What came to its door, and what waits there to be judged.",
            "short",
            (
                PanelQuery(
                    f"sum by (result) (rate({own('driftloop_detector_events_total')}[{RATE}]))",
                    "{{result}} a second",
                ),
                PanelQuery(f"max({own('driftloop_detector_behind_events')})", "behind"),
                PanelQuery(
                    f"max({own('driftloop_detector_waiting_rows')})", "rows of the next window"
                ),
            ),
        )
    events = series.service_series(names, "driftloop_decision_events_total", decision.COMPONENT)
    yield PanelDraft(
        "Events of the decision",
        "Alarms, ends of runs, and dead letters.",
        "short",
        (PanelQuery(f"sum by (kind) (increase({events}[1h]))", "{{kind}} an hour"),),
    )


def _rollout_panels(plan: Plan) -> Iterator[PanelDraft]:
    names, requests = plan.names, series.traffic_series(plan)
    total = f"sum(rate({requests.requests}[{RATE}]))"
    phase = series.service_series(names, "driftloop_decision_phase", decision.COMPONENT)
    yield PanelDraft(
        "Phase",
        "Of the decision: 1 for the phase it is in.",
        "none",
        (PanelQuery(f"max by (phase) ({phase})", "{{phase}}"),),
        type="state-timeline",
    )
    yield PanelDraft(
        "Share of the requests by release",
        "As they arrive; what should be is in release.yaml.",
        "percentunit",
        (
            PanelQuery(
                f"sum by ({requests.release}) (rate({requests.requests}[{RATE}])) "
                f"/ ignoring ({requests.release}) group_left () {total}",
                f"{{{{{requests.release}}}}}",
            ),
        ),
    )
    taken = series.service_series(names, "driftloop_analysis_responses_total", judge.COMPONENT)
    yield PanelDraft(
        "Answers at the judge",
        "By what became of them, and stored ones that wait for the other release's.",
        "short",
        (
            PanelQuery(f"sum by (what) (rate({taken}[{RATE}]))", "{{what}} a second"),
            PanelQuery(
                f"max({series.service_series(names, 'driftloop_analysis_waiting_responses', judge.COMPONENT)})",
                "waiting",
            ),
        ),
    )


def _training_panels(plan: Plan) -> Iterator[PanelDraft]:
    names = plan.names
    outcome = series.service_series(names, "driftloop_decision_outcome", decision.COMPONENT)
    fires = series.service_series(names, "driftloop_decision_fires_total", decision.COMPONENT)
    runs = series.argo_series(
        names,
        "argo_workflows_workflowtemplate_triggered_total",
        name=f"~{names.train}|{names.release}",
    )
    yield PanelDraft(
        "How the last run ended",
        "1 for its outcome, until the next run begins.",
        "none",
        (PanelQuery(f"max by (outcome) ({outcome})", "{{outcome}}"),),
        type="state-timeline",
    )
    yield PanelDraft(
        "Workflows",
        "By template and the phase they entered, as Argo's controller counts them.",
        "short",
        (PanelQuery(f"sum by (name, phase) (increase({runs}[1h]))", "{{name}} {{phase}}"),),
    )
    yield PanelDraft(
        "Calls of the webhook",
        "By result; causes that led to nothing were dropped, or over the budget.",
        "short",
        (
            PanelQuery(f"sum by (result) (increase({fires}[1h]))", "{{result}} an hour"),
            PanelQuery(
                f"max({series.service_series(names, 'driftloop_decision_suppressed_causes', decision.COMPONENT)})",
                "led to nothing, ever",
            ),
        ),
    )


def _laid_out(rows: dict[str, tuple[PanelDraft, ...]]) -> Iterator[grafana.Row | grafana.Panel]:
    """Two panels side by side below each heading, numbered in reading order."""
    number, y = 0, 0
    for title, pictures in rows.items():
        number += 1
        yield grafana.Row(
            id=number, title=title, grid_pos=grafana.GridPos(x=0, y=y, w=2 * WIDTH, h=1)
        )
        y += 1
        for index, picture in enumerate(pictures):
            number += 1
            x = WIDTH * (index % 2)
            yield _place_panel(number, picture, grafana.GridPos(x=x, y=y, w=WIDTH, h=HEIGHT))
            if x or index == len(pictures) - 1:
                y += HEIGHT


def _place_panel(number: int, picture: PanelDraft, place: grafana.GridPos) -> grafana.Panel:
    limit = picture.limit
    steps = (
        None
        if limit is None
        else (
            grafana.Threshold(color="green", value=0),
            grafana.Threshold(color="red", value=limit),
        )
    )
    return grafana.Panel(
        id=number,
        type=picture.type,
        title=picture.title,
        description=picture.about,
        grid_pos=place,
        datasource=DATASOURCE,
        field_config=grafana.FieldConfig(
            defaults=grafana.Defaults(
                unit=picture.unit,
                min=0,
                thresholds=None if steps is None else grafana.Thresholds(steps=steps),
                custom=None
                if steps is None
                else grafana.Custom(thresholds_style=grafana.ThresholdsStyle(mode="line")),
            )
        ),
        targets=tuple(
            grafana.PanelTarget(
                ref_id=chr(ord("A") + index),
                expr=question.expr,
                legend_format=question.legend,
                datasource=DATASOURCE,
            )
            for index, question in enumerate(picture.questions)
        ),
    )
