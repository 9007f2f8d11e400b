"""The stand-in for the Kubernetes API: reads of what the pipeline's steps and commands ask, and three
writes: the patch that stops a Workflow, the one that ends a suspended node of it, and the one that asks
Flux to fetch, which it does all the time here. `/status` is the command's.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import nats.errors
import nats.js.errors
from aiohttp import web
from nats.js import JetStreamContext

from driftloop.clients.kubernetes import OPEN_WORKFLOWS
from driftloop.contract.names import FLUX_NAMESPACE, FLUX_SOURCE
from driftloop.contract.streams import WORKFLOWS
from driftloop.errors import StoreError
from driftloop.local.argo.store import OvertakenError, Workflows
from driftloop.local.flux.reconciler import Reconciler
from driftloop.local.flux.source import SOURCE
from driftloop.local.ground import addresses
from driftloop.local.kubelet.fleet import PodFleet, PodReplica

Json = dict[str, Any]


class StandInApi:
    """Answers from the reconciler, the fleet and the workflows' KV bucket."""

    def __init__(
        self,
        *,
        reconciler: Reconciler,
        fleet: PodFleet,
        js: JetStreamContext,
        status: Callable[[], Json],
    ) -> None:
        self._reconciler = reconciler
        self._fleet = fleet
        self._js = js
        self._status = status
        self._generations: dict[tuple[str, str], tuple[str, int]] = {}

    def build_application(self) -> web.Application:
        """The aiohttp application."""
        application = web.Application()
        base = "/apis/{group}/{version}/namespaces/{namespace}/{plural}"
        application.add_routes(
            [
                web.get("/healthz", _get_health),
                web.get("/status", self._get_status),
                web.get("/api/v1/namespaces/{namespace}/pods", self._list_pods),
                web.get(base, self._list_objects),
                web.get(base + "/{name}", self._get_object),
                web.patch(base + "/{name}", self._patch_object),
            ]
        )
        return application

    async def _get_status(self, request: web.Request) -> web.Response:
        return web.json_response(self._status())

    async def _list_pods(self, request: web.Request) -> web.Response:
        namespace = request.match_info["namespace"]
        replicas = [
            replica
            for key in self._reconciler.map_deployments()
            if key[0] == namespace
            for replica in self._fleet.list_replicas(key)
        ]
        items = [_build_pod(replica) for replica in replicas]
        return web.json_response({"kind": "PodList", "apiVersion": "v1", "items": items})

    async def _get_object(self, request: web.Request) -> web.Response:
        path = request.match_info
        namespace, name = path["namespace"], path["name"]
        match (path["group"], path["plural"]):
            case ("apps", "deployments"):
                body = self._build_deployment(namespace, name)
            case ("kustomize.toolkit.fluxcd.io", "kustomizations"):
                body = self._build_kustomization(namespace, name)
            case ("argoproj.io", "workflows"):
                try:
                    body = await self._read_workflow(namespace, name)
                except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
                    return _build_failure(
                        503, f"the store of workflows does not answer: {type(error).__name__}"
                    )
            case (group, plural):
                return _build_failure(404, f"{plural}.{group} are not served here")
        if body is None:
            return _build_failure(404, f'{path["plural"]}.{path["group"]} "{name}" not found')
        return web.json_response(body)

    async def _list_objects(self, request: web.Request) -> web.Response:
        """List the Workflows of a namespace that are not over, which is all that anybody asks."""
        path = request.match_info
        asked = (path["group"], path["plural"], request.query.get("labelSelector"))
        if asked != ("argoproj.io", "workflows", OPEN_WORKFLOWS):
            return _build_failure(404, f"lists of {path['plural']} are not served here")
        try:
            found = await (await Workflows.open(self._js)).list_open(path["namespace"])
        except StoreError as error:
            return _build_failure(503, error.message)
        return web.json_response({"kind": "WorkflowList", "items": found})

    async def _patch_object(self, request: web.Request) -> web.Response:
        path = request.match_info
        source = (SOURCE, "gitrepositories", FLUX_NAMESPACE, FLUX_SOURCE)
        if (path["group"], path["plural"], path["namespace"], path["name"]) == source:
            metadata = {"name": FLUX_SOURCE, "namespace": FLUX_NAMESPACE}
            return web.json_response({"kind": "GitRepository", "metadata": metadata})
        return await self._patch_workflow(request)

    async def _patch_workflow(self, request: web.Request) -> web.Response:
        """Set `spec.shutdown` and annotations of a Workflow, as `driftloop cancel` does, or end a
        suspended node, as `driftloop approve` and `argo resume` do."""
        path = request.match_info
        try:
            patch = await request.json()
            nodes = (patch.get("status") or {}).get("nodes") or {}
            shutdown = (patch.get("spec") or {}).get("shutdown")
            annotations = (patch.get("metadata") or {}).get("annotations") or {}
        except (ValueError, TypeError, AttributeError):
            nodes, shutdown, annotations = {}, None, {}
        if (path["group"], path["plural"]) != ("argoproj.io", "workflows") or (
            shutdown != "Stop" and len(nodes) != 1
        ):
            return _build_failure(
                422,
                "only `spec.shutdown: Stop` and one suspended node of a Workflow can be patched",
            )
        try:
            workflows = await Workflows.open(self._js)
            if shutdown == "Stop":
                body = await workflows.stop(path["namespace"], path["name"], annotations)
            else:
                ((node, change),) = nodes.items()
                body = await workflows.end_suspended(path["namespace"], path["name"], node, change)
        except OvertakenError as error:
            return _build_failure(409, error.message)
        except StoreError as error:
            return _build_failure(503, error.message)
        if body is None:
            return _build_failure(404, f'workflows.argoproj.io "{path["name"]}" not found')
        return web.json_response(body)

    def _build_deployment(self, namespace: str, name: str) -> Json | None:
        key = (namespace, name)
        pod = self._reconciler.map_deployments().get(key)
        if pod is None:
            return None
        digest, generation = self._generations.get(key, ("", 0))
        if digest != pod.digest:
            self._generations[key] = (pod.digest, generation := generation + 1)
        replicas = self._fleet.list_replicas(key)
        updated = [replica for replica in replicas if replica.pod.digest == pod.digest]
        ready = sum(replica.ready for replica in replicas)
        current = self._fleet.is_current(key)
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": namespace, "generation": generation},
            "spec": {"replicas": pod.replicas},
            "status": {
                "observedGeneration": generation,
                "replicas": len(replicas),
                "updatedReplicas": len(updated),
                "readyReplicas": ready,
                "availableReplicas": ready,
                "unavailableReplicas": max(0, pod.replicas - ready),
                "conditions": [
                    {"type": "Available", "status": _format_truth(current)},
                    {
                        "type": "Progressing",
                        "status": "True",
                        "reason": "NewReplicaSetAvailable" if current else "",
                    },
                ],
            },
        }

    def _build_kustomization(self, namespace: str, name: str) -> Json | None:
        condition = self._reconciler.get_condition(name)
        if condition is None:
            return None
        applied = (
            {"lastAppliedRevision": _format_revision(condition.revision)}
            if condition.revision
            else {}
        )
        return {
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": {"name": name, "namespace": namespace, "generation": 1},
            "status": {
                **applied,
                "observedGeneration": 1,
                "lastAttemptedRevision": _format_revision(self._reconciler.tip or ""),
                "conditions": [
                    {
                        "type": "Ready",
                        "status": _format_truth(condition.ready),
                        "reason": "ReconciliationSucceeded"
                        if condition.ready
                        else "ReconciliationFailed",
                        "message": condition.message,
                    }
                ],
            },
        }

    async def _read_workflow(self, namespace: str, name: str) -> Json | None:
        try:
            bucket = await self._js.key_value(WORKFLOWS.name)
            entry = await bucket.get(f"{namespace}.{name}")
        except (nats.js.errors.NotFoundError, nats.js.errors.BucketNotFoundError):
            # KeyNotFoundError and KeyDeletedError are NotFoundErrors
            return None
        workflow: Json = json.loads(entry.value or b"{}")
        return workflow


def _build_pod(replica: PodReplica) -> Json:
    """Return the part of a Pod that says why it is not ready."""
    return {
        "metadata": {"name": replica.folder.name, "namespace": replica.pod.namespace},
        "status": {
            "conditions": [{"type": "Ready", "status": _format_truth(replica.ready)}],
            "containerStatuses": [
                {
                    "name": process.program.name,
                    "ready": process.ready,
                    "restartCount": process.restarts,
                    "lastState": {"terminated": {"message": process.last_exit or ""}},
                }
                for process in replica.all_processes
            ],
        },
    }


async def _get_health(request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


def _format_revision(sha: str) -> str:
    return f"{addresses.BRANCH}@sha1:{sha}"


def _format_truth(value: bool) -> str:
    return "True" if value else "False"


def _build_failure(code: int, message: str) -> web.Response:
    body: Mapping[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": message,
        "code": code,
    }
    return web.json_response(body, status=code)
