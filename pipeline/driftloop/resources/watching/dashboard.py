"""A pipeline's Grafana dashboard, in a ConfigMap that Grafana's sidecar finds by its label.

It shows every release there is, so a release changes nothing in it. Dollar signs stand without
braces: Flux would take `${…}` for one of its own variables.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import assert_never

from driftloop.contract.outcomes import OutcomeKind
from driftloop.contract.platform import CONSOLE_URL
from driftloop.contract.trees import release_path
from driftloop.kube import core, grafana
from driftloop.plan import Monitor, Plan
from driftloop.resources import decision, judge, parts
from driftloop.resources.watching import scraping, series
from driftloop.retrain.state import Phase
from driftloop.spec.detector import ChiSquared, CramerVonMises, KolmogorovSmirnov, LeastEffects

LABEL = "grafana_dashboard"
SCHEMA = 39
"""Of Grafana 10; newer ones bring it up to theirs when they read it."""
WIDTH, HEIGHT = 12, 8
DATASOURCE = grafana.Datasource(uid="$datasource")
RATE = "$__rate_interval"
NO_CONSOLE = f"no {CONSOLE_URL.key} in {CONSOLE_URL.home}"
"""Said in place of a link to the console."""


PHASES: dict[Phase, tuple[str, str]] = {
    "idle": ("watches", "green"),
    "pending": ("asks for a run", "yellow"),
    "running": ("trains", "blue"),
    "evaluating": ("evaluates", "light-blue"),
    "rolling-out": ("rolls out", "purple"),
    "cooling": ("cools down", "super-light-green"),
    "waiting": ("waits for data", "orange"),
    "postponed": ("waits for the end of quiet hours", "light-yellow"),
    "held": ("held by a person", "dark-orange"),
    "halted": ("halted", "red"),
}
"""Word and colour of each phase of the loop, as the lane shows it."""
OUTCOMES: dict[OutcomeKind, tuple[str, str]] = {
    "released": ("released", "green"),
    "refused": ("refused", "orange"),
    "rejected": ("rejected", "dark-orange"),
    "failed": ("failed", "red"),
    "not-started": ("trained nothing", "gray"),
    "superseded": ("superseded", "blue"),
    "cancelled": ("cancelled", "purple"),
}


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
    type: grafana.PanelType = "timeseries"
    limit: float | None = None
    """Drawn as a line."""
    logarithmic: bool = False
    lanes: tuple[tuple[str, str], ...] = ()
    """Word and colour of the values 1, 2, 3 …: one lane that changes its colour."""
    names: bool = False
    """A stat shows the name of its series, not the value."""
    width: int = WIDTH
    height: int = HEIGHT
    links: tuple[tuple[str, str], ...] = ()
    """Title and address."""


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
    """The loop in one lane, then traffic, drift, rollout and training."""
    names = plan.names
    uid = f"{names.namespace}/{names.pipeline}"
    rows = {
        "Loop": _loop_panels(plan),
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
            list_=(
                grafana.Variable(name="datasource", label="Prometheus"),
                *_page_variables(plan),
            )
        ),
        annotations=grafana.Annotations(list_=tuple(_annotations(plan))),
        links=(
            grafana.Link(
                title="Console", url=_find_page(plan), tooltip=f"Its address is {CONSOLE_URL.place}"
            ),
            grafana.Link(
                title="Commits of release.yaml",
                url=f"$repository/commits/$branch/{plan.ground.layout.place(release_path(names.pipeline))}",
                tooltip="Each release, rollback and weight; `git revert` takes one back",
            ),
        ),
        panels=tuple(_laid_out({title: tuple(panels) for title, panels in rows.items()})),
    )


def _annotations(plan: Plan) -> Iterator[grafana.Annotation]:
    """Promotions and rollbacks, at the times of their commits."""
    for name, change, color in (
        ("Promotions", "~first|promotion", "green"),
        ("Rollbacks", "rollback", "red"),
    ):
        yield grafana.Annotation(
            name=name,
            datasource=DATASOURCE,
            icon_color=color,
            target=grafana.AnnotationTarget(
                expr=_link_changes(plan, change),
                legend_format="{{release}}",
            ),
            title_format="{{release}} is production",
            text_format='<a href="{{repository}}/commit/{{commit}}">commit {{commit}}</a><br>{{console}}',
        )


def _page_variables(plan: Plan) -> Iterator[grafana.Variable]:
    """Variables that nobody sees: where the repository and the console are, and the commit of production."""
    questions: dict[str, tuple[str, str | None]] = {
        name: (f"label_values({_pages_series(plan)}, {name})", None)
        for name in ("repository", "branch", "console")
    }
    questions["commit"] = (
        f"query_result(topk(1, {_production_series(plan)}))",
        '/commit="([^"]+)"/',
    )
    for name, (question, regex) in questions.items():
        yield grafana.Variable(
            name=name,
            label=name,
            type="query",
            datasource=DATASOURCE,
            query=question,
            regex=regex,
            refresh=2,
            hide=2,
        )


def _find_page(plan: Plan, page: str = "", *, console: str = "$console") -> str:
    """Return the address of a pipeline's page in the console."""
    return "/".join((console, "pipelines", plan.names.pipeline)) + page


def _link_changes(plan: Plan, change: str) -> str:
    """Return changes of production by time, with the pages of the repository and the console as labels."""
    changes = f"max by (release, commit) ({_production_series(plan, change=change)}) * 1000"
    pages = f"topk(1, {_pages_series(plan)})"
    linked = f"{changes} * on () group_left (repository, console) {pages}"
    page = f"<a href='{_find_page(plan, '/releases', console='$1')}'>releases in the console</a>"
    named = f'label_replace({linked}, "console", "{NO_CONSOLE}", "console", "")'
    return f'label_replace({named}, "console", "{page}", "console", "(https?:.+)")'


def _pages_series(plan: Plan) -> str:
    return series.service_series(plan.names, "driftloop_decision_pages", decision.COMPONENT)


def _production_series(plan: Plan, **more: str) -> str:
    return series.service_series(
        plan.names, "driftloop_decision_production_since_seconds", decision.COMPONENT, **more
    )


def _loop_panels(plan: Plan) -> Iterator[PanelDraft]:
    names = plan.names
    production = f"max by (release, commit) ({_production_series(plan)})"
    yield PanelDraft(
        "Production",
        "Release that answers, and the commit that made it production.",
        "none",
        (PanelQuery(production, "{{release}} {{commit}}"),),
        type="stat",
        names=True,
        width=6,
        height=5,
        links=(
            ("The commit", "$repository/commit/$commit"),
            ("In the console", _find_page(plan, "/releases")),
        ),
    )
    yield PanelDraft(
        "Age of the release",
        "Since the commit that made it production.",
        "s",
        (PanelQuery(f"time() - {production}", "{{release}}"),),
        type="stat",
        width=6,
        height=5,
    )
    phase = partial(series.service_series, names, "driftloop_decision_phase", decision.COMPONENT)
    yield PanelDraft(
        "Phase of the loop",
        "What the loop does, or waits for; `driftloop why` says more.",
        "none",
        (PanelQuery(_number_lane(phase, "phase", tuple(PHASES)), "loop"),),
        type="state-timeline",
        lanes=tuple(PHASES.values()),
        height=5,
        links=(("In the console", _find_page(plan)),),
    )


def _number_lane(select: Callable[..., str], label: str, values: Sequence[str]) -> str:
    """Return the number of the value, from 1, whose series is 1; nothing when they are not there."""
    return " + ".join(
        f"{number} * max({select(**{label: value})})" for number, value in enumerate(values, 1)
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
            f"How far {monitor.name} is from an alarm",
            "Score of the last window in thresholds (of a p-value, the logarithms): above the line it is an alarm.",
            "none",
            (PanelQuery(_level_query(monitor, own), "score / threshold"),),
            limit=1.0,
            logarithmic=True,
            links=(("In the console", _find_page(plan, f"/drift?monitor={monitor.name}")),),
        )
        yield PanelDraft(
            f"Columns that moved, by {monitor.name}",
            "Largest difference between window and reference data, as a share of the rows; smaller ones than the "
            "line (`atLeast`) are no alarm.",
            "percentunit",
            (
                PanelQuery(
                    f"max by (column) ({own('driftloop_detector_column_effect')})", "{{column}}"
                ),
            ),
            limit=_find_least(monitor),
            links=(("In the console", _find_page(plan, f"/drift?monitor={monitor.name}")),),
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


def _level_query(monitor: Monitor, own: Callable[[str], str]) -> str:
    score, threshold = (
        f"max({own(f'driftloop_detector_{name}')})" for name in ("score", "threshold")
    )
    if isinstance(monitor.detector, KolmogorovSmirnov | CramerVonMises | ChiSquared):
        # p-values alarm below their threshold, and may be 0
        return f"log10(clamp_min({score}, 1e-300)) / log10({threshold})"
    return f"{score} / {threshold}"


def _find_least(monitor: Monitor) -> float | None:
    """Return the effect below which nothing is an alarm; None of a detector without."""
    least = getattr(monitor.detector, "at_least", None)
    if isinstance(least, LeastEffects):
        return min(float(each) for each in least.model_dump().values())
    return float(least) if isinstance(least, float | int) else None


def _rollout_panels(plan: Plan) -> Iterator[PanelDraft]:
    names, requests = plan.names, series.traffic_series(plan)
    total = f"sum(rate({requests.requests}[{RATE}]))"
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
        links=(("In the console", _find_page(plan, "/rollout")),),
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
    outcome = partial(
        series.service_series, names, "driftloop_decision_outcome", decision.COMPONENT
    )
    fires = series.service_series(names, "driftloop_decision_fires_total", decision.COMPONENT)
    runs = series.argo_series(
        names,
        "argo_workflows_workflowtemplate_triggered_total",
        name=f"~{names.train}|{names.release}",
    )
    yield PanelDraft(
        "How the last run ended",
        "Until the next run begins.",
        "none",
        (PanelQuery(_number_lane(outcome, "outcome", tuple(OUTCOMES)), "last run"),),
        type="state-timeline",
        lanes=tuple(OUTCOMES.values()),
        links=(("In the console", _find_page(plan, "/runs")),),
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
    """Panels side by side below each heading, as many as have room, numbered in reading order."""
    number, y = 0, 0
    for title, pictures in rows.items():
        number += 1
        yield grafana.Row(
            id=number, title=title, grid_pos=grafana.GridPos(x=0, y=y, w=2 * WIDTH, h=1)
        )
        y += 1
        x = tallest = 0
        for picture in pictures:
            number += 1
            if x + picture.width > 2 * WIDTH:
                x, y, tallest = 0, y + tallest, 0
            place = grafana.GridPos(x=x, y=y, w=picture.width, h=picture.height)
            yield _place_panel(number, picture, place)
            x, tallest = x + picture.width, max(tallest, picture.height)
        y += tallest


def _place_panel(number: int, picture: PanelDraft, place: grafana.GridPos) -> grafana.Panel:
    return grafana.Panel(
        id=number,
        type=picture.type,
        title=picture.title,
        description=picture.about,
        grid_pos=place,
        datasource=DATASOURCE,
        field_config=grafana.FieldConfig(defaults=_build_defaults(picture)),
        options=_build_options(picture),
        links=tuple(grafana.PanelLink(title=title, url=url) for title, url in picture.links)
        or None,
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


def _build_defaults(picture: PanelDraft) -> grafana.Defaults:
    limit = picture.limit
    lines = grafana.ThresholdsStyle(mode="line") if limit is not None else None
    scale = grafana.Scale(type="log", log=10) if picture.logarithmic else None
    custom = grafana.Custom(
        thresholds_style=lines,
        scale_distribution=scale,
        fill_opacity=80 if picture.type == "state-timeline" else None,
    )
    steps = (
        None
        if limit is None
        else (
            grafana.Threshold(color="green", value=0),
            grafana.Threshold(color="red", value=limit),
        )
    )
    mappings = {
        str(number): grafana.MappedValue(text=word, color=color, index=number)
        for number, (word, color) in enumerate(picture.lanes, 1)
    }
    return grafana.Defaults(
        unit=picture.unit,
        min=None if picture.logarithmic or picture.lanes else 0,
        decimals=0 if picture.type == "stat" else None,
        mappings=(grafana.ValueMapping(options=mappings),) if mappings else None,
        thresholds=None if steps is None else grafana.Thresholds(steps=steps),
        custom=None if custom == grafana.Custom() else custom,
    )


def _build_options(picture: PanelDraft) -> grafana.Options:
    match picture.type:
        case "stat":
            return grafana.Options(
                reduce_options=grafana.ReduceOptions(),
                text_mode="name" if picture.names else "value",
                color_mode="none",
                graph_mode="none",
            )
        case "state-timeline":
            return grafana.Options(legend=grafana.Legend(), merge_values=True, show_value="auto")
        case "timeseries":
            return grafana.Options(legend=grafana.Legend())
        case _:
            assert_never(picture.type)
