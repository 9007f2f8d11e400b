"""Alerts of a pipeline, each with what to do. Thresholds are the spec's own.

Drift that starts a run is not an alert, nor is a candidate that the gate refuses: the loop does what
it is for. An alert is raised where it stands still, or where requests fail.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Literal, assert_never

from driftloop.contract.streams import DEAD_LETTERS
from driftloop.kube.prometheus import AlertingRule, Group, PrometheusRule, PrometheusRuleSpec
from driftloop.plan import Monitor, Plan
from driftloop.plan.schedule import longest_gap, train_schedules
from driftloop.release.record import Release, Version
from driftloop.resources import decision, detector, judge, recorder
from driftloop.resources.watching import scraping, series
from driftloop.resources.workflows.rollout import is_held
from driftloop.retrain.state import LIVE
from driftloop.spec.detector import Estimate

Severity = Literal["critical", "warning"]

RECENT = "5m"
"""What counts as now: shorter than the time an alert waits, so that a single failed request
never raises one."""
PATIENCE = timedelta(minutes=10)
"""How long something must be wrong."""
UNLOGGED: Mapping[str, float] = {"plain": 0.001, "seldon": 0.05}
"""Share of the answers that may be unlogged: of Seldon's, what comes is counted at another place
and time."""
WEEK = timedelta(days=7)
"""A schedule with longer gaps is not watched: so long, no Prometheus is sure to remember."""


def alert_rules(plan: Plan, release: Release) -> PrometheusRule:
    """All alerts; those of production and of its detectors from the first release on."""
    version = release.production
    groups = [*_loop_alerts(plan), *_schedule_alerts(plan), *_recorder_alerts(plan)]
    if version is not None:
        groups = [*_traffic_alerts(plan, version), _files_alert(plan), *groups]
        groups += [
            rule
            for monitor in detector.fitted_monitors(plan, version)
            for rule in _detector_alerts(plan, monitor, version)
        ]
    names = plan.names
    return PrometheusRule(
        metadata=scraping.monitor_meta(plan, names.pipeline),
        spec=PrometheusRuleSpec(
            groups=(Group(name=f"{names.namespace}/{names.pipeline}", rules=tuple(groups)),),
        ),
    )


def _traffic_alerts(plan: Plan, version: Version) -> Iterator[AlertingRule]:
    """Production's requests."""
    names, canary = plan.names, plan.rollout.canary
    requests = series.traffic_series(plan, version.id)
    back = f"`driftloop rollback {names.pipeline}` restores the previous release by one commit."
    yield _build_alert(
        plan,
        "PredictorDown",
        f"absent({series.predictor_up(plan, version.id)} == 1)",
        PATIENCE,
        severity="critical",
        summary=f"no pod of production {version.id} answers",
        do=f"`kubectl -n {names.namespace} get pods` shows why; {back}",
    )
    if canary.error_rate < 1:
        yield _build_alert(
            plan,
            "PredictorFailing",
            f"{series.error_share(plan, version.id, RECENT)} > {canary.error_rate:g}",
            PATIENCE,
            severity="critical",
            summary=f"{{{{ $value | humanizePercentage }}}} of the requests to production {version.id} fail",
            do=f"`rollout.canary.errorRate` allows {canary.error_rate * 100:g} %. {back}",
        )
    yield _build_alert(
        plan,
        "EventsUnlogged",
        f"{series.unlogged_share(plan, version.id, RECENT)} > {UNLOGGED[plan.serve.backend]:g}",
        PATIENCE,
        severity="warning",
        summary="{{ $value | humanizePercentage }} of what production "
        f"{version.id} answers is not logged: no detector sees it",
        do=f"The Broker does not take the events: `kubectl -n {names.namespace} get broker,trigger`. Bodies that "
        "are compressed or over 1 MiB are never logged.",
    )
    if canary.p99 is not None:
        yield _build_alert(
            plan,
            "PredictorSlow",
            f"{series.latency_quantile(requests, 0.99, RECENT)} > {canary.p99.total_seconds():g}",
            PATIENCE,
            severity="warning",
            summary=f"one request in a hundred to production {version.id} takes longer than "
            "{{ $value | humanizeDuration }}",
            do=f"`rollout.canary.p99` allows {series.prometheus_duration(canary.p99)}. More `serve.replicas` or `serve.resources` "
            f"may help; {back}",
        )
    quiet = plan.observability.prometheus.quiet if plan.observability.prometheus else None
    if quiet is not None:
        yield _build_alert(
            plan,
            "NoTraffic",
            f"(sum(rate({requests.requests}[{RECENT}])) or vector(0)) == 0",
            quiet,
            severity="warning",
            summary=f"production {version.id} has had no request for {series.prometheus_duration(quiet)}",
            do="Ask whoever sends them, and look at the gateway; nothing is known of drift meanwhile. "
            "If that is how it should be, set `observability.prometheus.quiet`.",
        )


def _loop_alerts(plan: Plan) -> Iterator[AlertingRule]:
    """The decision, runs and rollouts."""
    names = plan.names
    look = f"`driftloop status --cluster --namespace {names.namespace}`"

    def decision_phase(which: str) -> str:
        return f"{series.service_series(names, 'driftloop_decision_phase', decision.COMPONENT, phase=which)} == 1"

    def run_outcome(how: str) -> str:
        return f"{series.service_series(names, 'driftloop_decision_outcome', decision.COMPONENT, outcome=how)} == 1"

    for component, lost in (
        (decision.COMPONENT, "no alarm starts a run"),
        (judge.COMPONENT, "no rollout goes on"),
    ):
        yield _down_alert(plan, component, lost)
    yield _build_alert(
        plan,
        "RunNotStarted",
        decision_phase("pending"),
        PATIENCE,
        severity="warning",
        summary="a run was asked for, and none has begun",
        do=f"The webhook, the Sensor or Argo's controller doesn't answer: "
        f"`kubectl -n {names.namespace} get eventsource,sensor,workflow`.",
    )
    yield _build_alert(
        plan,
        "RunFailed",
        run_outcome("failed"),
        None,
        severity="warning",
        summary="the last run failed; production is as it was",
        do=f"{look} names it and says why. The alert ends when the next run begins: "
        f"`driftloop trigger {names.pipeline}`.",
    )
    yield _build_alert(
        plan,
        "CandidateRejected",
        run_outcome("rejected"),
        None,
        severity="warning",
        summary="the last rollout was ended because of its candidate; production is as it was",
        do="The commit that took it out says what was measured. The alert ends when the next run begins.",
    )
    yield _build_alert(
        plan,
        "DataNeeded",
        decision_phase("waiting"),
        PATIENCE,
        severity="warning",
        summary=_summarize_need(plan),
        do=f"The first new batch below {plan.data} starts a run. `driftloop trigger {names.pipeline} --force` "
        "trains without one.",
    )
    yield _build_alert(
        plan,
        "LoopHalted",
        f"{series.service_series(names, 'driftloop_decision_halted_itself', decision.COMPONENT)} == 1",
        None,
        severity="warning",
        summary=f"the loop halted itself: too many candidates in a row came to nothing{_list_halting(plan)}",
        do=f"`driftloop why {names.pipeline}` says which. Look at data and gates, then "
        f"`driftloop resume {names.pipeline}`.",
    )
    yield from _rollback_alerts(plan)
    stuck = _rollout_patience(plan)
    yield _build_alert(
        plan,
        "RolloutStuck",
        decision_phase("rolling-out"),
        stuck,
        severity="warning",
        summary=f"a rollout has been going on for more than {series.prometheus_duration(stuck)}",
        do=f"{look} says what it waits for: most often for requests (`rollout.shadow.requests`, "
        "`rollout.canary.requests`).",
    )
    dead = series.service_series(
        names, "driftloop_decision_events_total", decision.COMPONENT, kind="deadletter"
    )
    yield _build_alert(
        plan,
        "EventsAstray",
        f"sum(increase({dead}[1h])) > 0",
        None,
        severity="warning",
        summary="{{ $value | humanize }} events of the last hour could not be delivered",
        do=f"They lie in the stream {DEAD_LETTERS.name}, each with the address that did not take it.",
    )
    waiting = series.service_series(
        names, "driftloop_decision_dead_letters_waiting", decision.COMPONENT
    )
    yield _build_alert(
        plan,
        "EventsWaiting",
        f"sum({waiting}) > 0",
        PATIENCE,
        severity="warning",
        summary="{{ $value | humanize }} events wait as dead letters: nobody has seen them",
        do=f"`driftloop events ls {names.pipeline}` lists them; once their subscriber is there again, "
        f"`driftloop events replay {names.pipeline}` sends them to it (with --cluster).",
    )


def _list_halting(plan: Plan) -> str:
    halting = (*plan.halt_on, *plan.rollback_on)
    return f", or an alarm of {' or '.join(halting)}" if halting else ""


def _summarize_need(plan: Plan) -> str:
    least = plan.retrain.least_new_rows
    if least is None:
        return "alarms wait for new data: production was made of all there is"
    return f"alarms wait for new data: fewer than {least} labelled rows came since production's"


def _rollback_alerts(plan: Plan) -> Iterator[AlertingRule]:
    """Going back from a release, where monitors do; whoever is told has to resume the loop."""
    if not plan.rollback_on:
        return
    name, monitors = plan.names.pipeline, " or ".join(plan.rollback_on)
    last = f"`driftloop why {name}` says which; `driftloop resume {name}` lets the loop go on."
    objects = f"`kubectl -n {plan.names.namespace} get eventsource,sensor,workflow`"
    stands = f"an alarm of {monitors} stands against production, and it"
    alerts: tuple[tuple[str, str, timedelta | None, Severity, str, str], ...] = (
        ("RolledBack", "rolled-back", None, "warning",
         f"production was rolled back because of an alarm of {monitors}; the loop is halted",
         f"{last} `git revert` of the commit takes it back."),
        ("RollbackRefused", "~refused|failed", None, "critical", f"{stands} could not be rolled back",
         f"{last} `driftloop rollback {name} --list` shows what can be restored."),
        ("RollbackNotStarted", "ordered", timedelta(minutes=2), "critical", f"{stands} is not rolled back yet",
         f"The webhook, the Sensor or Argo's controller doesn't answer: {objects}. "
         f"`driftloop rollback {name}` does it by hand."),
    )  # fmt: skip
    for alert, outcome, wait, severity, summary, do in alerts:
        became = series.service_series(
            plan.names, "driftloop_decision_rollback", decision.COMPONENT, outcome=outcome
        )
        yield _build_alert(
            plan, alert, f"{became} == 1", wait, severity=severity, summary=summary, do=do
        )


def _files_alert(plan: Plan) -> AlertingRule:
    """Files that are not those of their release look like any other end of the container that
    fetches them; its last words tell which it is."""
    names = plan.names
    return _build_alert(
        plan,
        "FilesRefused",
        f"max by (pod, container) (max_over_time({series.fetches_ending(plan)}[{RECENT}])) > 0",
        timedelta(minutes=2),
        severity="critical",
        summary="pod {{ $labels.pod }} can't fetch its model or detector, or refuses it",
        do=f"A line `altered` of `driftloop status --cluster --namespace {names.namespace}` means that the bytes in the "
        "store are not those that were released: find out who changed them, restore them, or "
        f"`driftloop rollback {names.pipeline}`. Without one the store doesn't answer: `driftloop doctor` has the reason.",
    )


def _detector_alerts(plan: Plan, monitor: Monitor, version: Version) -> Iterator[AlertingRule]:
    """One detector, and whether anybody heeds it."""
    names, name = plan.names, monitor.name
    alarm, window, behind = (
        series.service_series(names, f"driftloop_detector_{metric}", name)
        for metric in ("alarm", "window", "behind_events")
    )
    yield _down_alert(plan, name, f"{name} is not seen", detector=name)
    yield _build_alert(
        plan,
        "DetectorBehind",
        f"{behind} > {monitor.detector.window_rows}",
        PATIENCE,
        severity="warning",
        summary=f"{{{{ $value | humanize }}}} events wait for the {name} detector, more than a window",
        do="It is slower than the traffic: a larger `window` takes less work, and a free node more of it.",
        detector=name,
    )
    came = series.service_series(
        names, "driftloop_detector_events_total", name, result="~stored|repeated"
    )
    yield _build_alert(
        plan,
        "EventsMissing",
        f"sum(rate({series.traffic_series(plan, version.id).requests}[{RECENT}])) > 0\n"
        f"  and on () sum(rate({came}[{RECENT}])) == 0",
        PATIENCE,
        severity="warning",
        summary=f"production {version.id} answers requests, and the {name} detector hears of none",
        do=f"The Broker or the Trigger may not be ready: `kubectl -n {names.namespace} get broker,trigger`. With "
        "`serve.backend: plain`, bodies that are compressed or over 1 MiB are served and not posted.",
        detector=name,
    )
    if monitor.function_image is not None:
        yield _failed_function(plan, monitor)
    match monitor.then:
        case "retrain" | "halt" | "rollback":
            yield _unheeded_alarm(plan, monitor, alarm, window)
        case "alert":
            yield _standing_alarm(plan, monitor, alarm)
        case None:
            return
        case _:
            assert_never(monitor.then)


def _failed_function(plan: Plan, monitor: Monitor) -> AlertingRule:
    failed = series.service_series(plan.names, "driftloop_detector_failed", monitor.name)
    return _build_alert(
        plan,
        "WindowsNotJudged",
        f"{failed} == 1",
        PATIENCE,
        severity="warning",
        summary=f"the function of the monitor {monitor.name} failed on the last window, which is not judged",
        do=f"`kubectl -n {plan.names.namespace} logs deployment/{plan.names.detector(monitor.name)} "
        f"--all-containers` has the reason.",
        detector=monitor.name,
    )


def _unheeded_alarm(plan: Plan, monitor: Monitor, alarm: str, window: str) -> AlertingRule:
    names, name = plan.names, monitor.name
    count = plan.retrain_policy.count_of(name).least
    halts = monitor.then in ("halt", "rollback")
    phases = (
        ("halted", *LIVE)
        if halts
        else ("pending", *LIVE, "cooling", "waiting", "postponed", "held")
    )
    busy = series.service_series(
        names, "driftloop_decision_phase", decision.COMPONENT, phase="~" + "|".join(phases)
    )

    def heeded(over: str) -> str:
        """More windows than it takes, all with an alarm, and the decision as idle as before."""
        return (
            f"(min_over_time({alarm}[{over}]) == 1\n"
            f"  and max_over_time({window}[{over}]) - min_over_time({window}[{over}]) > {count}\n"
            f"  and on () sum(max_over_time({busy}[{over}])) == 0)"
        )

    why = (
        "Alarms"
        if halts
        else (
            "The budget (`retrain.budget`) may be spent, somebody may have halted the loop, or alarms"
        )
    )
    return _build_alert(
        plan,
        "AlarmUnheeded",
        # the second one is for traffic that fills a window in hours
        f"{heeded('30m')}\nor {heeded('1d')}",
        PATIENCE,
        severity="warning",
        summary=f"the {name} alarm stands, and {'the loop goes on' if halts else 'no run has started'}",
        do=f"{why} don't arrive: `driftloop status --cluster --namespace {names.namespace}`.",
        detector=name,
    )


def _standing_alarm(plan: Plan, monitor: Monitor, alarm: str) -> AlertingRule:
    names = plan.names
    told = "`then`" if monitor.detector.then is not None else "`retrain.on`"
    do = f"No alarm starts a run here ({told}). Once there are new batches: `driftloop trigger {names.pipeline}`."
    if monitor.checks_schema:
        alert = "SchemaBroken"
        summary = "requests have rows or values that the training data do not have"
        do = "`driftloop status` names the columns: ask whoever sends the requests. A training mends nothing here."
    elif monitor.detector.on == "label":
        alert, summary = (
            "QualityLost",
            "production's answers are worse than they were on held-out rows",
        )
    elif isinstance(monitor.detector, Estimate):
        alert = "QualityLost"
        summary = "production's answers are estimated to be worse than those to held-out rows"
    elif monitor.scores_rows:
        alert = "OutliersStand"
        summary = "too many requests look like nothing in the training data"
    else:
        alert, summary = "DriftStands", "requests no longer look like the training data"
    return _build_alert(
        plan,
        alert,
        f"{alarm} == 1",
        timedelta(minutes=30),
        severity="warning",
        summary=summary,
        do=do,
        detector=monitor.name,
    )


def _schedule_alerts(plan: Plan) -> Iterator[AlertingRule]:
    """The CronWorkflows: Argo counts what it has started, from its controller's start on."""
    names = plan.names
    for schedule in train_schedules(plan.train, names):
        gap = longest_gap(schedule.cron)
        if gap is None or gap > WEEK:
            continue
        # one that is held back because the run before is still on shows as well that the schedule is looked after
        counters = (
            series.argo_series(names, f"argo_workflows_cronworkflows_{metric}", name=schedule.name)
            for metric in ("triggered_total", "concurrencypolicy_triggered")
        )
        # a counter that was not there before has just counted its first one
        counted = "\n  or ".join(
            f"increase({counter}[10m]) > 0 or ({counter} unless {counter} offset 10m)"
            for counter in counters
        )
        yield _build_alert(
            plan,
            "ScheduleMissed",
            # not where nothing scrapes Argo
            f"absent({counted})\n  and on () argo_workflows_is_leader",
            gap + timedelta(minutes=30),
            severity="warning",
            summary=f"the schedule `{schedule.cron}` has started nothing for longer than its longest gap",
            do=f"`kubectl -n {names.namespace} get cronworkflow {schedule.name} -o yaml` shows whether it is "
            "suspended; if not, Argo's controller doesn't get to it.",
            cronworkflow=schedule.name,
        )


def _recorder_alerts(plan: Plan) -> Iterator[AlertingRule]:
    """The recorder, where there is one: what it can't write waits, and is refused when its room is full."""
    if plan.capture is None:
        return
    names = plan.names
    yield _down_alert(plan, recorder.COMPONENT, "no traffic is recorded")
    yield _build_alert(
        plan,
        "TrafficNotWritten",
        f"{series.service_series(names, 'driftloop_recorder_fails', recorder.COMPONENT)} == 1",
        PATIENCE,
        severity="warning",
        summary="the recorded traffic can't be written to the object store; it waits",
        do=f"`driftloop status --cluster --namespace {names.namespace}` says since when and why. Nothing is lost "
        "while the Broker keeps events, 24 hours.",
    )


def _down_alert(plan: Plan, component: str, lost: str, **labels: str) -> AlertingRule:
    running = series.up_series(plan.names, series.SERVICES, app_kubernetes_io_component=component)
    return _build_alert(
        plan,
        "DetectorDown" if labels else f"{component.capitalize()}Down",
        f"absent({running} == 1)",
        PATIENCE,
        severity="warning",
        summary=f"the service `{component}` does not answer: {lost}",
        do=f"`kubectl -n {plan.names.namespace} describe deployment {plan.names.pipeline}-{component}` shows why.",
        **labels,
    )


def _rollout_patience(plan: Plan) -> timedelta:
    """Twice the time that a rollout takes when requests are plenty, and an hour at least; beside it the time
    that a candidate may wait for a person."""
    shadow, canary = plan.rollout.shadow, plan.rollout.canary
    waits = timedelta(seconds=plan.approve_within if is_held(plan) else 0)
    return max(2 * (shadow.for_ + len(canary.steps) * canary.every), timedelta(hours=1)) + waits


def _build_alert(
    plan: Plan,
    name: str,
    expr: str,
    wait: timedelta | None,
    *,
    severity: Severity,
    summary: str,
    do: str,
    **labels: str,
) -> AlertingRule:
    return AlertingRule(
        alert=name,
        expr=expr,
        for_=None if wait is None else series.prometheus_duration(wait),
        labels={
            "severity": severity,
            "namespace": plan.names.namespace,
            "pipeline": plan.names.pipeline,
            **labels,
        },
        annotations={"summary": f"{plan.names.pipeline}: {summary}", "description": do},
    )
