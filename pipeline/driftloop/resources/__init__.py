"""(Plan, Release) -> Manifests: which object goes to which file, in the order in which a reader
meets them."""

from collections.abc import Callable, Mapping
from typing import assert_never

from pydantic import BaseModel

from driftloop.contract import trees
from driftloop.plan import Plan
from driftloop.platform.argocd import ArgoCd
from driftloop.platform.model import Flux
from driftloop.release.record import Release
from driftloop.resources import (
    argocd,
    broker,
    decision,
    detector,
    flux,
    judge,
    notices,
    recorder,
    retrain,
)
from driftloop.resources.guarding import access, entry, mesh, network
from driftloop.resources.manifest import Manifest
from driftloop.resources.serving import disruption_budget, seldon, serving_backend
from driftloop.resources.serving.rehearsal import rehearsed_servers
from driftloop.resources.watching import alerts, dashboard, scraping
from driftloop.resources.workflows.pruning import pruning_outline
from driftloop.resources.workflows.rollback import rollback_outline
from driftloop.resources.workflows.rollout import rollout_outline
from driftloop.resources.workflows.schedules import scheduled_runs
from driftloop.resources.workflows.training import training_outline

__all__ = ["OUTPUTS", "Manifest", "build_manifests"]

Output = Callable[[Plan, Release], tuple[Manifest, ...]]


def build_manifests(
    plan: Plan, release: Release, *, workflows: bool = True
) -> tuple[Manifest, ...]:
    """Every object of a pipeline in this release, each with its file; `workflows` False leaves out
    the WorkflowTemplates, which Hera writes, and the Sensor that names them."""
    outputs = (
        output for output in OUTPUTS if workflows or output not in (workflow_templates, run_trigger)
    )
    return tuple(manifest for output in outputs for manifest in output(plan, release))


def followed_folders(plan: Plan, release: Release) -> tuple[Manifest, ...]:
    """cluster/<cluster>/pipelines/P.yaml: one file, three objects."""
    path = trees.flux_path(plan.ground.cluster, plan.names.pipeline)
    match plan.ground.spec.follower:
        case Flux():
            items: tuple[BaseModel, ...] = (
                flux.workflows_kustomization(plan),
                flux.deployments_kustomization(plan),
                flux.monitors_kustomization(plan),
            )
        case ArgoCd() as own:
            items = tuple(argocd.list_applications(plan, own))
        case other:
            assert_never(other)
    return tuple(Manifest(path, item) for item in items)


def pipeline_entry(plan: Plan, release: Release) -> tuple[Manifest, ...]:
    """cluster/<cluster>/access/P.yaml: the namespace, and what the pipeline's own account may not
    write."""
    path = trees.access_path(plan.ground.cluster, plan.names.pipeline)
    items: tuple[BaseModel, ...] = (*entry.pipeline_entry(plan), *notices.flux_notices(plan))
    match plan.ground.spec.follower:
        case Flux():
            pass
        case ArgoCd() as own:
            items = (*items, argocd.build_project(plan, own))
        case other:
            assert_never(other)
    return tuple(Manifest(path, item) for item in items)


def workflow_access(plan: Plan, release: Release) -> tuple[Manifest, ...]:
    """Namespace and accounts of training."""
    return _name_files(
        plan,
        trees.WORKFLOWS,
        {
            f"{plan.names.namespace}.namespace": access.namespace_stub(plan),
            "train.serviceaccount": access.train_account(plan),
            "steps.serviceaccount": access.steps_account(plan),
            "finish.serviceaccount": access.finish_account(plan),
            "finish.role": access.finish_role(plan),
            "finish.rolebinding": access.finish_binding(plan),
            "advance.serviceaccount": access.advance_account(plan),
            "advance.role": access.advance_role(plan),
            "advance.rolebinding": access.advance_binding(plan),
            "sensor.serviceaccount": access.sensor_account(plan),
            "sensor.role": access.sensor_role(plan),
            "sensor.rolebinding": access.sensor_binding(plan),
        },
    )


def network_policies(plan: Plan, release: Release) -> tuple[Manifest, ...]:
    """Return the NetworkPolicies."""
    policies = network.network_policies(plan)
    return _name_files(
        plan,
        trees.WORKFLOWS,
        {f"{role}.networkpolicy": policy for role, policy in policies.items()},
    )


def mesh_policies(plan: Plan, release: Release) -> tuple[Manifest, ...]:
    """Return the mesh's AuthorizationPolicies and PeerAuthentications; none without a mesh."""
    if plan.mesh is None:
        return ()
    allowed = mesh.authorization_policies(plan, release)
    wrapped = mesh.peer_authentications(plan, release)
    return _name_files(
        plan,
        trees.WORKFLOWS,
        {
            **{f"{role}.authorizationpolicy": policy for role, policy in allowed.items()},
            **{f"{role}.peerauthentication": policy for role, policy in wrapped.items()},
        },
    )


def workflow_templates(plan: Plan, release: Release) -> tuple[Manifest, ...]:
    """Training, rollout, rollback where a monitor asks for it, schedule."""
    # Hera takes over half a second to import; only rendering pays for it.
    from driftloop.resources.workflows import templates

    return _name_files(
        plan,
        trees.WORKFLOWS,
        {
            "train.workflowtemplate": templates.workflow_template(
                plan, training_outline(plan, rehearsed_servers(plan))
            ),
            "release.workflowtemplate": templates.workflow_template(plan, rollout_outline(plan)),
            "prune.workflowtemplate": None
            if plan.prune is None
            else templates.workflow_template(plan, pruning_outline(plan)),
            "rollback.workflowtemplate": templates.workflow_template(plan, rollback_outline(plan))
            if plan.rollback_on
            else None,
            **{
                file: templates.cron_workflow(plan, run)
                for file, run in scheduled_runs(plan).items()
            },
        },
    )


def webhook_files(plan: Plan, release: Release) -> tuple[Manifest, ...]:
    """Return the webhook that starts a run."""
    return _name_files(
        plan,
        trees.WORKFLOWS,
        {
            "default.eventbus": retrain.event_bus(plan),
            "retrain.eventsource": retrain.event_source(plan),
            "retrain.service": retrain.webhook_service(plan),
        },
    )


def run_trigger(plan: Plan, release: Release) -> tuple[Manifest, ...]:
    """Return the Sensor that makes a Workflow of each call of the webhook."""
    return _name_files(plan, trees.WORKFLOWS, {"retrain.sensor": retrain.build_sensor(plan)})


def model_files(plan: Plan, release: Release) -> tuple[Manifest, ...]:
    """Return the objects that serve the release, by the back end of the spec."""
    return _name_files(
        plan,
        "deployments",
        {
            "model.serviceaccount": access.model_account(plan),
            **serving_backend(plan).render(plan, release),
            **{
                f"{version.id}.poddisruptionbudget": disruption_budget(plan, version)
                for version in seldon.served_versions(plan, release)
            },
        },
    )


def event_files(plan: Plan, release: Release) -> tuple[Manifest, ...]:
    """Broker and channel."""
    return _name_files(
        plan,
        trees.MONITORS,
        {
            "default-broker.configmap": broker.broker_config(plan),
            "default.broker": broker.build_broker(plan),
        },
    )


def decision_service(plan: Plan, release: Release) -> tuple[Manifest, ...]:
    """Return the decision service and its Triggers."""
    return _name_files(
        plan,
        trees.MONITORS,
        {
            "decision.serviceaccount": access.decision_account(plan),
            "decision.role": access.decision_role(plan),
            "decision.rolebinding": access.decision_binding(plan),
            "decision.deployment": decision.decision_deployment(plan, release),
            "decision.service": decision.decision_endpoint(plan),
            **{f"decision-{name}.trigger": trigger for name, trigger in decision.on_alarms(plan)},
            "decision-runs.trigger": decision.on_runs(plan),
        },
    )


def judge_service(plan: Plan, release: Release) -> tuple[Manifest, ...]:
    """Return the analysis service, and the Services by which it finds the pods of a rollout that
    has several."""
    rollout = (release.production, release.candidate) if release.candidate is not None else ()
    several = [version for version in rollout if version is not None and plan.serve.most > 1]
    return _name_files(
        plan,
        trees.MONITORS,
        {
            **{f"judge-{version.id}.service": judge.pods(plan, version) for version in several},
            "judge.serviceaccount": judge.account(plan),
            "judge.deployment": judge.deployment(plan),
            "judge.service": judge.service(plan),
            "judge.trigger": judge.on_responses(plan),
            "judge-labels.trigger": judge.on_labels(plan),
        },
    )


def recorder_service(plan: Plan, release: Release) -> tuple[Manifest, ...]:
    """Return the recorder and its Triggers; none where the spec does not ask for it."""
    if plan.capture is None:
        return ()
    return _name_files(
        plan,
        trees.MONITORS,
        {
            "recorder.serviceaccount": recorder.recorder_account(plan),
            "recorder.deployment": recorder.recorder_deployment(plan, plan.capture, release),
            "recorder.service": recorder.recorder_endpoint(plan),
            **{f"recorder-{name}.trigger": trigger for name, trigger in recorder.on_traffic(plan)},
        },
    )


def detector_files(plan: Plan, release: Release) -> tuple[Manifest, ...]:
    """Production's detectors; none before the first release, and none that were not fitted with
    it."""
    version = release.production
    if version is None:
        return ()
    return tuple(
        manifest
        for monitor in detector.fitted_monitors(plan, version)
        for manifest in _name_files(
            plan,
            trees.MONITORS,
            {
                f"{monitor.name}.serviceaccount": detector.detector_account(plan, monitor),
                f"{monitor.name}.deployment": detector.detector_deployment(plan, monitor, version),
                f"{monitor.name}.service": detector.detector_endpoint(plan, monitor),
                f"{monitor.name}.trigger": detector.on_traffic(plan, monitor, release),
                f"{monitor.name}-labels.trigger": detector.on_labels(plan, monitor),
                f"{monitor.name}-requests.trigger": detector.on_requests(plan, monitor, release),
            },
        )
    )


def watching_files(plan: Plan, release: Release) -> tuple[Manifest, ...]:
    """Return the monitoring objects that the spec asks for: PodMonitors, alerts, a dashboard."""
    objects: dict[str, BaseModel | None] = {}
    if plan.observability.prometheus is not None:
        objects["services.podmonitor"] = scraping.services_monitor(plan)
        objects["model.podmonitor"] = (
            scraping.model_monitor(plan) if release.production is not None else None
        )
        objects["alerts.prometheusrule"] = alerts.alert_rules(plan, release)
        objects["notices.alertmanagerconfig"] = notices.alert_routes(plan)
    if plan.observability.dashboard:
        objects["dashboard.configmap"] = dashboard.config_map(plan)
    return _name_files(plan, trees.MONITORS, objects)


OUTPUTS: tuple[Output, ...] = (
    pipeline_entry,
    followed_folders,
    workflow_access,
    network_policies,
    mesh_policies,
    workflow_templates,
    webhook_files,
    run_trigger,
    model_files,
    event_files,
    decision_service,
    judge_service,
    recorder_service,
    detector_files,
    watching_files,
)
"""The table of contents: one function per part of the tree."""


def _name_files(
    plan: Plan, tree: str, objects: Mapping[str, BaseModel | None]
) -> tuple[Manifest, ...]:
    folder = trees.tree_folder(tree, plan.names.pipeline)
    return tuple(
        Manifest(f"{folder}/{name}.yaml", content)
        for name, content in objects.items()
        if content is not None
    )
