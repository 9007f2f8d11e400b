"""Names, labels and addresses that cross from one part to another.

A pipeline's objects are named after its name and namespace. The name has at most 34 characters
(the spec checks it), so each of these stays within 52, and what is named after monitors, or by
Seldon's operator after these, within 63.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

OWNER = "driftloop"
API_GROUP = "driftloop.dev"
PLATFORM = "driftloop-platform"
"""ConfigMap and Secret with the addresses and credentials that differ from place to place."""
GIT_SECRET = "driftloop-git"  # noqa: S105 - a name
"""Secret with the credential of the cluster repository, of which only pods know that read or write it."""
SIGNING_SECRET = "driftloop-signing"  # noqa: S105 - a name
"""Secret with the key that signs releases, of which only the step that commits a new one knows."""
TRACKING_SECRET = "driftloop-tracking"  # noqa: S105 - a name
"""Secret with the credential of a tracking server, of which only the decision's pod knows."""

NAME_LABEL = "app.kubernetes.io/name"
"""Label: the pipeline."""
COMPONENT_LABEL = "app.kubernetes.io/component"
"""Label: the part of the pipeline."""
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
"""Label: `driftloop` on every rendered object."""
RELEASE_LABEL = f"{API_GROUP}/release"
"""Label: the release that a predictor's pods serve, or that a workflow rolls out."""
SCRAPED_BY_LABEL = f"{API_GROUP}/scraped-by"
"""Label: `pipeline` on pods that the pipeline's own PodMonitors scrape."""
REACHES_LABEL = f"{API_GROUP}/reaches"
"""Label: what a step's pod talks to besides object store and git."""
CREATED_BY_ANNOTATION = f"{API_GROUP}/created-by"
"""Annotation: the workflow node that created an object."""
CANCELLED_BY_ANNOTATION = f"{API_GROUP}/cancelled-by"
"""Annotation: the person who stopped a Workflow, and why."""
DATA_BUCKETS_ANNOTATION = f"{API_GROUP}/data-buckets"
"""Buckets of batches that a namespace's key of the object store opens, on its settings."""
MODEL_DIGEST_ANNOTATION = f"{API_GROUP}/model-digest"
"""Annotation: digest of the model that a predictor serves."""
EXTERNAL_ANNOTATION = f"{API_GROUP}/external"
"""Annotation: objects of others that an object needs, such as `Secret/registry, ConfigMap/settings`."""
SBOM_LABEL = "dev.driftloop.sbom"
"""Label of an image: digest of the list of its packages."""
OWN_LABELS = {MANAGED_BY_LABEL: OWNER}
"""Labels of objects that belong to no single part of a pipeline."""
OWN_SELECTOR = f"labelSelector={MANAGED_BY_LABEL}%3D{OWNER}"
"""Query that lists driftloop's own objects at the API server."""

WORKFLOW_LABEL = "workflows.argoproj.io/workflow"
"""Label of Argo on the pods of a Workflow: its name."""
TOKEN_SUFFIX = ".service-account-token"  # noqa: S105 - the end of a name
"""End of the names of Secrets with an account's token, where Argo looks for them."""
TOKEN_SECRET = "kubernetes.io/service-account-token"  # noqa: S105 - a type
"""Type of the Secrets into which Kubernetes writes the token of a ServiceAccount."""

CLUSTER_DOMAIN = "svc.cluster.local"
FLUX_NAMESPACE = "flux-system"
FLUX_SOURCE = "flux-system"
"""GitRepository that `flux bootstrap` makes."""
ARGOCD_NAMESPACE = "argocd"
ARGOCD_APPLICATION = "driftloop"
"""Application that reads a cluster's folder, which a platform engineer makes."""
FLUX_BASE = "infra-base"
"""Flux Kustomization of what everything else needs: Sealed Secrets, Istio's CRDs."""
FLUX_CONTROLLERS = "infra-controllers"
"""Flux Kustomization of the controllers: NATS, the object store, Argo, Knative, Istio, Seldon."""
FLUX_CONFIGS = "infra-configs"
"""Flux Kustomization of the last part of the infrastructure; pipelines depend on it."""
FLUX_CANCELS_CHECKS = "CancelHealthCheckOnNewRevision=true"
"""Feature gate of kustomize-controller: a commit ends the health check of the one before."""
FLUX_APPLIED_ONCE = "has(dep.status.lastAppliedRevision)"
"""Condition in CEL that replaces Flux's own check of a dependency: that it was applied once.

Dependencies order the first installation. Flux's own check asks every 30 s for the same revision,
so that each commit would wait in line.
"""
ISTIO_NAMESPACE = "istio-system"
KNATIVE_NAMESPACE = "knative-eventing"
NATS_NAMESPACE = "nats-io"
STORAGE_NAMESPACE = "storage"
PLATFORM_NAMESPACES = frozenset(
    {
        "default",
        FLUX_NAMESPACE,
        ISTIO_NAMESPACE,
        KNATIVE_NAMESPACE,
        "argo",
        "argo-events",
        NATS_NAMESPACE,
        STORAGE_NAMESPACE,
    }
)
"""Namespaces that a pipeline must not take."""

WORK = "/work"
"""Writable folder of every container."""
WORK_IN, WORK_OUT = f"{WORK}/in", f"{WORK}/out"
"""Folders of a workflow step's inputs and outputs."""
REHEARSAL = "/rehearsal"
"""Folder that a rehearsal shares with the servers beside it: one folder each, seen by the server
alone."""
REHEARSED_LOG, REHEARSED_EXIT = "server.log", "exit"
"""Files of such a folder: what a server printed, and its exit code once it has ended."""
DETECTOR_FOLDER = f"{WORK_IN}/detector"
"""Folder of the fitted detector in its service's pod."""

LOGS = "runs/{{workflow.name}}/logs/{{pod.name}}"
"""Key of what the artifact repository keeps without a key of its own: the logs of steps."""
BROKER = "default"
EVENT_BUS = "default"
ON_NEW_DATA = "on-new-data"
"""Entrypoint of the runs that look for new data first."""
GATEWAY = f"{ISTIO_NAMESPACE}/seldon-gateway"
GATEWAY_LABELS = {"istio": "ingressgateway"}
"""Labels of the gateway's pods."""
OWN_ISSUER = "driftloop:"
"""Start of the issuer of a pipeline's own keys, of which the namespace and the pipeline follow."""
TOKEN_HEADER, KEY_HEADER = "authorization", "x-api-key"
"""Headers by which callers say at the gateway who they are: a token of an issuer, a key of the pipeline."""
REQUEST_ID_HEADER = "seldon-puid"
"""Header with the id of a request, in it and in its answer."""
WEBHOOK_PORT = 12000
SERVICE_PORT = 8080
PREDICTOR_PORT = 8000
MODEL_PORT = 9000
NATS_PORT = 4222
LISTEN_VARIABLE = "DRIFTLOOP_LISTEN"
"""Environment variable with the address that a service listens on; unset: all of its pod's."""
STORAGE_PORT = 8333
CAUSE_LENGTH = 300
CAUSE = rf"^[^{{$\r\n]{{1,{CAUSE_LENGTH}}}$"
"""Pattern of a run's cause: it is an argument of steps with secrets, where Argo replaces `{{name}}`
and Kubernetes `$(NAME)`."""
ALARM_CAUSE = "alarm "
"""Start of the cause of a run that alarms started; the event's id follows."""
SCHEDULE_CAUSE = "schedule"
NEW_DATA_CAUSE = "new data"
PERSON_CAUSE = "person "
"""Start of the cause of a run that a person started; the name follows, and after `: ` a text."""
FORCED = " (forced)"
"""Mark after the name: the run trains although there is nothing new."""
_FORCED = re.compile(r" \(forced(?:, model ([0-9a-f]{64}))?\)$")
NODE = "model"
"""Graph node, and so the model container's name."""


def person_cause(
    name: str, text: str = "", *, forced: bool = False, model: str | None = None
) -> str:
    """Return the cause of what a person does; `model` is the digest of the one that a forced run
    releases in place of training."""
    mark = FORCED if forced else ""
    if model is not None:
        mark = f" (forced, model {model.removeprefix('sha256:')})"
    return f"{PERSON_CAUSE}{name}{mark}{f': {text}' if text else ''}"


def alarm_text(event: str, words: str = "") -> str:
    """Return an alarm as causes name it: the event's id, and what moved, of which what a cause can't
    hold becomes `?`."""
    if not words:
        return event
    safe = "".join(c if c.isprintable() and c not in "{$" else "?" for c in words)
    return f"{event}: {safe}"[: CAUSE_LENGTH - len(ALARM_CAUSE)]


def is_prompted(cause: str) -> bool:
    """Return True for a run that an alarm or new data started; neither a schedule nor a person."""
    return cause == NEW_DATA_CAUSE or cause.startswith(ALARM_CAUSE)


def is_forced(cause: str) -> bool:
    """Return true if a person wants a run to train although there is nothing new."""
    return cause.startswith(PERSON_CAUSE) and bool(_FORCED.search(cause.partition(":")[0]))


def find_given_model(cause: str) -> str | None:
    """Return the digest of the model that a person gave to a run in place of training; None for any
    other run."""
    match = _FORCED.search(cause.partition(":")[0]) if cause.startswith(PERSON_CAUSE) else None
    return f"sha256:{match[1]}" if match is not None and match[1] else None


def service_host(service: str, namespace: str) -> str:
    """Return the full host name of a Service."""
    return f"{service}.{namespace}.{CLUSTER_DOMAIN}"


BROKER_HOST = service_host("broker-ingress", KNATIVE_NAMESPACE)
GATEWAY_HOST = service_host("istio-ingressgateway", ISTIO_NAMESPACE)
GATEWAY_URL = f"http://{GATEWAY_HOST}"
NATS_HOST = service_host("nats", NATS_NAMESPACE)
NATS_URL = f"nats://{NATS_HOST}:{NATS_PORT}"
STORAGE_HOST = service_host("seaweedfs-s3", STORAGE_NAMESPACE)
STORAGE_URL = f"http://{STORAGE_HOST}:{STORAGE_PORT}"


PREDICTIONS = "api/v1.0/predictions"
"""Path of predictions below a model's own, in Seldon's protocol."""
LONGEST_MONITOR = 18
"""Characters of a monitor's name: with those of a pipeline, `P-decision-NAME` stays within 63. It has no
hyphen, so that `P-NAME` is nothing of another pipeline."""
OWN_PARTS = frozenset({
    "access", "advance", "argocd", "cron", "data", "decision", "deployments", "events", "executor", "finish", "flux",
    "judge", "mesh", "mirror", "model", "monitors", "network", "prune", "recorder", "release", "retrain",
    "rollback", "runs", "sensor", "serving", "starter", "steps", "train", "unready", "watching", "withdrawn", "workflows",
})  # fmt: skip
"""Names that no monitor can have: ends of the names of a pipeline's objects, components, and what the
decision calls a cause of which the monitor is not known."""


def is_own_part(name: str) -> bool:
    """Return True for a name that an object of a pipeline may end in, besides its monitors'."""
    return name in OWN_PARTS or re.fullmatch("r[0-9a-f]{8}", name) is not None


def component_name(nodes: Iterable[str]) -> str:
    """Return the end of the name of the operator's Deployment; `nodes` are those beside the model.

    Its selector holds the names of all nodes, and a Deployment whose selector changes is taken
    down before the new one is made. So other nodes are another Deployment: the operator waits for
    it before it takes the old one down.
    """
    names = sorted(nodes)
    return f"{NODE}-{hashlib.sha256(' '.join(names).encode()).hexdigest()[:6]}" if names else NODE


@dataclass(frozen=True)
class Names:
    """Names of one pipeline's objects."""

    pipeline: str
    namespace: str

    @property
    def train(self) -> str:
        """WorkflowTemplate, and the ServiceAccount of steps that run a person's code: without any
        right, and without a token."""
        return f"{self.pipeline}-train"

    @property
    def steps(self) -> str:
        """ServiceAccount of our own steps that never talk to the API server."""
        return f"{self.pipeline}-steps"

    @property
    def finish(self) -> str:
        """ServiceAccount of the step that tells how a run has ended."""
        return f"{self.pipeline}-finish"

    @property
    def advance(self) -> str:
        """ServiceAccount of the steps that see whether a stage is applied."""
        return f"{self.pipeline}-advance"

    @property
    def executor(self) -> str:
        """ServiceAccount of Argo's own containers beside each step, which report its results."""
        return f"{self.pipeline}-executor"

    @property
    def starter(self) -> str:
        """ServiceAccount of Argo's own container that starts the rollout."""
        return f"{self.pipeline}-starter"

    @property
    def flux(self) -> str:
        """ServiceAccount in Flux's namespace, by whose rights the pipeline is applied."""
        return f"{self.pipeline}-flux"

    @property
    def argocd(self) -> str:
        """ServiceAccount in Argo CD's namespace, by whose rights the pipeline is applied where Argo CD impersonates."""
        return f"{self.pipeline}-argocd"

    @property
    def project(self) -> str:
        """AppProject of Argo CD, the bounds of the pipeline's Applications."""
        return f"{self.pipeline}-access"

    @property
    def release(self) -> str:
        """WorkflowTemplate of the rollout."""
        return f"{self.pipeline}-release"

    @property
    def rollback(self) -> str:
        """WorkflowTemplate of a rollback; its Workflows are `P-rollback-<decision>`."""
        return f"{self.pipeline}-rollback"

    @property
    def cron(self) -> str:
        """CronWorkflow; Argo names its runs `P-cron-<unix seconds>`."""
        return f"{self.pipeline}-cron"

    @property
    def new_data(self) -> str:
        """CronWorkflow that looks for new data; its runs are `P-data-<unix seconds>`."""
        return f"{self.pipeline}-data"

    @property
    def prune(self) -> str:
        """WorkflowTemplate that removes what nothing needs any more, and its CronWorkflow; its runs are
        `P-prune-<unix seconds>`."""
        return f"{self.pipeline}-prune"

    @property
    def cache(self) -> str:
        """ConfigMap in which Argo's controller remembers outputs by their inputs, in its
        namespace."""
        return f"cache.{self.namespace}.{self.pipeline}"

    @property
    def sensor(self) -> str:
        """ServiceAccount of the Sensor."""
        return f"{self.pipeline}-sensor"

    @property
    def retrain(self) -> str:
        """EventSource, its Service, and the Sensor."""
        return f"{self.pipeline}-retrain"

    @property
    def model(self) -> str:
        """ServiceAccount of the model servers."""
        return f"{self.pipeline}-model"

    @property
    def decision(self) -> str:
        """Service that decides to retrain."""
        return f"{self.pipeline}-decision"

    @property
    def judge(self) -> str:
        """Service that measures a rollout."""
        return f"{self.pipeline}-judge"

    @property
    def recorder(self) -> str:
        """Service that records the traffic."""
        return f"{self.pipeline}-recorder"

    def recorded(self, side: str) -> str:
        """Trigger by which the recorder hears of requests or of answers."""
        return f"{self.recorder}-{side}"

    def detector(self, name: str) -> str:
        """Service of one monitor."""
        return f"{self.pipeline}-{name}"

    def alarms(self, name: str) -> str:
        """Trigger by which the decision hears of one monitor's alarms."""
        return f"{self.decision}-{name}"

    def labels(self, name: str) -> str:
        """Trigger by which one monitor hears of labels."""
        return f"{self.detector(name)}-labels"

    def requests(self, name: str) -> str:
        """Trigger by which one monitor of answers hears of requests, too."""
        return f"{self.detector(name)}-requests"

    def predictor(self, release: str) -> str:
        """Deployment and Service of one model version."""
        return f"{self.pipeline}-{release}"

    def operated(self, release: str, nodes: Iterable[str]) -> str:
        """Deployment that Seldon's operator makes of one model version."""
        return f"{self.predictor(release)}-0-{component_name(nodes)}"

    def pods(self, release: str) -> str:
        """Headless Service whose name resolves to each pod of one model version."""
        return f"{self.predictor(release)}-pods"

    @property
    def access(self) -> str:
        """The gateway's RequestAuthentication and AuthorizationPolicy, in its namespace."""
        return f"{self.pipeline}-access"

    @property
    def own_issuer(self) -> str:
        """Issuer of the pipeline's own keys."""
        return f"{OWN_ISSUER}{self.namespace}:{self.pipeline}"

    def receiver(self, name: str) -> str:
        """Flux' Provider and Alert of one receiver of a platform file, beside the Kustomizations."""
        return f"{self.pipeline}-tell-{name}"

    @property
    def watching(self) -> str:
        """AlertmanagerConfig: who gets the pipeline's alerts."""
        return f"{self.pipeline}-watching"

    @property
    def mirror(self) -> str:
        """VirtualService that copies requests to the candidate in shadow, with a SeldonDeployment."""
        return f"{self.pipeline}-mirror"

    @property
    def unready(self) -> str:
        """VirtualService that answers for the pipeline before its first release."""
        return f"{self.pipeline}-unready"

    @staticmethod
    def token(account: str) -> str:
        """Secret with the token of a ServiceAccount, for Argo's own containers."""
        return f"{account}{TOKEN_SUFFIX}"

    def kustomization_name(self, tree: str) -> str:
        """Flux Kustomization or Application of Argo CD of one tree: workflows, deployments, monitors."""
        return f"{self.pipeline}-{tree}"

    def host(self, service: str) -> str:
        """Host name of a Service in the pipeline's namespace."""
        return service_host(service, self.namespace)

    @property
    def broker_url(self) -> str:
        """URL of the Broker, where events are posted."""
        return f"http://{BROKER_HOST}/{self.namespace}/{BROKER}"

    @property
    def webhook_url(self) -> str:
        """URL of the webhook that starts a training run."""
        return f"http://{self.host(self.retrain)}:{WEBHOOK_PORT}/retrain"

    @property
    def judged_labels(self) -> str:
        """Trigger by which the analysis hears of labels."""
        return f"{self.judge}-labels"

    @property
    def rollback_url(self) -> str:
        """URL of the webhook by which the decision goes back to the previous release."""
        return f"http://{self.host(self.retrain)}:{WEBHOOK_PORT}/rollback"

    @property
    def judge_url(self) -> str:
        """URL of the service that measures a rollout."""
        return f"http://{self.host(self.judge)}:{SERVICE_PORT}"

    def metrics_url(self, release: str, *, port: int = PREDICTOR_PORT) -> str:
        """URL of one predictor's own metrics."""
        return f"http://{self.host(self.predictor(release))}:{port}/prometheus"

    @property
    def prefix(self) -> str:
        """Path of the model at the gateway."""
        return f"/seldon/{self.namespace}/{self.pipeline}/"


def find_owner(thing: str, pipelines: Iterable[str]) -> str | None:
    """Return the pipeline that a run or an object is named after, the longest of several; None when it is none of them."""
    names = [name for name in pipelines if thing.startswith(f"{name}-")]
    return max(names, key=len, default=None)


def release_id(run: str) -> str:
    """Return the release id of a run: `r` and the first eight hex digits of its SHA-256."""
    return "r" + hashlib.sha256(run.encode()).hexdigest()[:8]
