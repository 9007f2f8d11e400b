"""Argo CD's Applications of a pipeline, workflows, then deployments, then monitors, and the AppProject that bounds them."""

from collections.abc import Iterator

from driftloop.contract import trees
from driftloop.kube import argocd
from driftloop.kube.base import ObjectMeta
from driftloop.plan import Plan
from driftloop.platform import PlatformFile
from driftloop.platform.argocd import ArgoCd
from driftloop.resources import parts
from driftloop.resources.guarding.entry import list_applied

SERVER = "https://kubernetes.default.svc"
"""Argo CD's name for the cluster that it runs on."""
FINALIZER = "resources-finalizer.argocd.argoproj.io"
"""An Application that is removed removes what it has made, as a Kustomization does."""
WAVE = "argocd.argoproj.io/sync-wave"
_COMPARE = {"argocd.argoproj.io/compare-options": "ServerSideDiff=true"}
"""The API server says what would change, so that its defaults, and what webhooks and controllers write, are no
difference."""
# without `refresh` attempts would go on with a commit that fails, whatever comes after it
_RETRY = argocd.SyncRetry(
    limit=-1,
    refresh=True,
    backoff=argocd.RetryBackoff(duration="10s", factor=2, max_duration="1m"),
)
_OPTIONS = ("ServerSideApply=true", "FailOnSharedResource=true")
COMPONENT = "access"
_KINDS = {
    "alertmanagerconfigs": "AlertmanagerConfig",
    "authorizationpolicies": "AuthorizationPolicy",
    "brokers": "Broker",
    "configmaps": "ConfigMap",
    "cronworkflows": "CronWorkflow",
    "deployments": "Deployment",
    "eventbus": "EventBus",
    "eventsources": "EventSource",
    "externalsecrets": "ExternalSecret",
    "horizontalpodautoscalers": "HorizontalPodAutoscaler",
    "networkpolicies": "NetworkPolicy",
    "peerauthentications": "PeerAuthentication",
    "poddisruptionbudgets": "PodDisruptionBudget",
    "podmonitors": "PodMonitor",
    "prometheusrules": "PrometheusRule",
    "rolebindings": "RoleBinding",
    "roles": "Role",
    "sealedsecrets": "SealedSecret",
    "seldondeployments": "SeldonDeployment",
    "sensors": "Sensor",
    "serviceaccounts": "ServiceAccount",
    "services": "Service",
    "triggers": "Trigger",
    "virtualservices": "VirtualService",
    "workflowtemplates": "WorkflowTemplate",
}
"""Kinds of what a pipeline may have: Roles name resources, an AppProject names kinds."""


def list_applications(plan: Plan, own: ArgoCd) -> Iterator[argocd.Application]:
    """Yield an Application for each tree, in waves that the Application above them goes through: each waits until the
    one before was applied, where Argo CD knows the health of Applications."""
    for wave, tree in enumerate(trees.TREES, start=1):
        yield _build_application(plan, own, tree, wave)


def build_project(plan: Plan, own: ArgoCd) -> argocd.AppProject:
    """The pipeline's namespace, the cluster repository, the kinds that a pipeline may have, and nothing else."""
    names = plan.names
    kinds = sorted(
        (group, _KINDS[each]) for group, *plurals in list_applied(plan) for each in plurals
    )
    return argocd.AppProject(
        metadata=ObjectMeta(
            name=names.project,
            namespace=own.namespace,
            labels=parts.object_labels(names, COMPONENT),
        ),
        spec=argocd.AppProjectSpec(
            description=f"Pipeline {names.pipeline}, in its own namespace",
            source_repos=(own.repository,),
            destinations=(_find_destination(plan),),
            cluster_resource_whitelist=(),
            namespace_resource_whitelist=tuple(
                argocd.GroupKind(group=group, kind=kind) for group, kind in kinds
            ),
            destination_service_accounts=(
                argocd.DestinationAccount(
                    server=SERVER,
                    namespace=names.namespace,
                    default_service_account=f"{own.namespace}:{names.argocd}",
                ),
            ),
        ),
    )


def _find_destination(plan: Plan) -> argocd.ApplicationDestination:
    return argocd.ApplicationDestination(server=SERVER, namespace=plan.names.namespace)


def _build_application(plan: Plan, own: ArgoCd, tree: str, wave: int) -> argocd.Application:
    names, ground = plan.names, plan.ground
    return argocd.Application(
        metadata=argocd.ApplicationMeta(
            name=names.kustomization_name(tree),
            namespace=own.namespace,
            labels=parts.object_labels(names, tree),
            annotations={WAVE: str(wave), **_COMPARE},
            finalizers=(FINALIZER,),
        ),
        spec=argocd.ApplicationSpec(
            project=names.project,
            source=argocd.ApplicationSource(
                repo_url=own.repository,
                target_revision=ground.spec.branch,
                path=ground.layout.place(trees.tree_folder(tree, names.pipeline)),
            ),
            destination=_find_destination(plan),
            sync_policy=argocd.SyncPolicy(
                automated=argocd.AutomatedSync(prune=True, self_heal=True),
                retry=_RETRY,
                sync_options=_OPTIONS,
            ),
        ),
    )


def build_settings_application(platform: PlatformFile, own: ArgoCd) -> argocd.Application:
    """The Application of the settings of all namespaces. Until a pipeline's namespace is there it tries again."""
    folder = platform.layout.place(f"{trees.platform_folder(platform.cluster)}/").rstrip("/")
    return argocd.Application(
        metadata=argocd.ApplicationMeta(
            name=f"{own.application}-platform", namespace=own.namespace, finalizers=(FINALIZER,)
        ),
        spec=argocd.ApplicationSpec(
            project="default",
            source=argocd.ApplicationSource(
                repo_url=own.repository, target_revision=platform.spec.branch, path=folder
            ),
            destination=argocd.ApplicationDestination(server=SERVER, namespace=own.namespace),
            sync_policy=argocd.SyncPolicy(
                automated=argocd.AutomatedSync(prune=True, self_heal=True, allow_empty=True),
                retry=_RETRY,
                sync_options=_OPTIONS,
            ),
        ),
    )


def build_root(platform: PlatformFile, own: ArgoCd) -> argocd.Application:
    """The Application that reads a cluster's folder, as a platform engineer makes it: without a finalizer, so that who
    removes it removes no pipeline."""
    return argocd.Application(
        metadata=argocd.ApplicationMeta(
            name=own.application, namespace=own.namespace, annotations=_COMPARE
        ),
        spec=argocd.ApplicationSpec(
            project="default",
            source=argocd.ApplicationSource(
                repo_url=own.repository,
                target_revision=platform.spec.branch,
                path=platform.layout.path,
                directory=argocd.ApplicationDirectory(recurse=True),
            ),
            destination=argocd.ApplicationDestination(server=SERVER, namespace=own.namespace),
            sync_policy=argocd.SyncPolicy(
                # the last pipeline goes, too
                automated=argocd.AutomatedSync(prune=True, self_heal=True, allow_empty=True),
                retry=_RETRY,
                # a wave waits for what it has changed, not for the pipelines that are there
                sync_options=("ServerSideApply=true", "ApplyOutOfSyncOnly=true"),
            ),
        ),
    )
