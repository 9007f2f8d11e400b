"""Every name and address that crosses from one part to another, derived from a pipeline's name and namespace.

A pipeline's name has at most 34 characters (the spec says so), so each of these stays within 52, and what Seldon's
operator names after them within 63.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

PLATFORM = "driftloop-platform"
"""ConfigMap and Secret with the addresses and credentials that differ from place to place."""
LOGS = "runs/{{workflow.name}}/logs/{{pod.name}}"
"""Where the artifact repository keeps what has no key of its own: the logs of steps."""
BROKER = "default"
EVENT_BUS = "default"
ON_NEW_DATA = "on-new-data"
"""Entrypoint of the runs that look for new data first."""
FLUX_NAMESPACE = "flux-system"
GATEWAY = "istio-system/seldon-gateway"
WEBHOOK_PORT = 12000
SERVICE_PORT = 8080
PREDICTOR_PORT = 8000
MODEL_PORT = 9000
CAUSE = r"^[^{$\r\n]{1,300}$"
"""What a run's cause may be: it stands in the arguments of steps with secrets, where Argo replaces `{{name}}` and
Kubernetes `$(NAME)`."""
NODE = "model"
"""Graph node, and so the model container's name."""


def component(nodes: Iterable[str]) -> str:
    """The end of the name of the operator's Deployment of a version whose graph has these nodes beside the model.

    Its selector holds the names of all nodes, and a Deployment whose selector changes is taken down before the new one
    is made. So other nodes are another Deployment: the operator waits for it before it takes the old one down.
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
        """WorkflowTemplate, and the ServiceAccount of all workflow pods."""
        return f"{self.pipeline}-train"

    @property
    def release(self) -> str:
        """WorkflowTemplate of the rollout."""
        return f"{self.pipeline}-release"

    @property
    def cron(self) -> str:
        """CronWorkflow: Argo names its runs `P-cron-<unix seconds>`, so a run is `P-<decision id>` here too."""
        return f"{self.pipeline}-cron"

    @property
    def new_data(self) -> str:
        """CronWorkflow that looks for new data; its runs are `P-data-<unix seconds>`."""
        return f"{self.pipeline}-data"

    @property
    def cache(self) -> str:
        """ConfigMap in which Argo remembers outputs by their inputs: its controller makes it, in its own namespace."""
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
        """The service that decides to retrain."""
        return f"{self.pipeline}-decision"

    @property
    def judge(self) -> str:
        """The service that measures a rollout."""
        return f"{self.pipeline}-judge"

    def detector(self, name: str) -> str:
        """The service of one detector."""
        return f"{self.pipeline}-{name}"

    def predictor(self, release: str) -> str:
        """Deployment and Service of one model version."""
        return f"{self.pipeline}-{release}"

    def operated(self, release: str, nodes: Iterable[str]) -> str:
        """Deployment that Seldon's operator makes of one model version."""
        return f"{self.predictor(release)}-0-{component(nodes)}"

    def pods(self, release: str) -> str:
        """The name by which each pod of one model version is found."""
        return f"{self.predictor(release)}-pods"

    def flux(self, tree: str) -> str:
        """Flux Kustomization of one tree: workflows, deployments, monitors."""
        return f"{self.pipeline}-{tree}"

    def host(self, service: str) -> str:
        """Host name of a Service in the pipeline's namespace."""
        return f"{service}.{self.namespace}.svc.cluster.local"

    @property
    def broker_url(self) -> str:
        """Where events are posted."""
        return f"http://broker-ingress.knative-eventing.svc.cluster.local/{self.namespace}/{BROKER}"

    @property
    def webhook_url(self) -> str:
        """Where a training run is asked for."""
        return f"http://{self.host(self.retrain)}:{WEBHOOK_PORT}/retrain"

    @property
    def judge_url(self) -> str:
        """Where a rollout is measured."""
        return f"http://{self.host(self.judge)}:{SERVICE_PORT}"

    @property
    def prefix(self) -> str:
        """Path of the model at the gateway."""
        return f"/seldon/{self.namespace}/{self.pipeline}/"
