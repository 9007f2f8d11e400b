"""Webhooks of all EventSources behind one port; an event is on the stream before the reply
`success`.

In a cluster every EventSource has its own Service. Here the Host header, which names that
Service, selects the EventSource; it may be left out while only one EventSource has the endpoint.
"""

import asyncio
import hmac
import json
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from nats.js import JetStreamContext

from driftloop.clients.http import EventServer, ServerAnswer, ServerRequest
from driftloop.clients.nats import publish_message
from driftloop.contract.names import CLUSTER_DOMAIN, PLATFORM
from driftloop.errors import StoreError
from driftloop.kube.events import EventSourceSpec, WebhookSource
from driftloop.local.argo import bus
from driftloop.local.argo.objects import Json, Objects
from driftloop.local.argo.parts import NotUnderstoodError, read_part
from driftloop.local.argo.patience import patiently

LOG = logging.getLogger("argo.eventsource")

MAX_PAYLOAD_SIZE = 1024 * 1024
"""Bytes of a request that Argo Events takes unless the EventSource sets its own limit."""


@dataclass(frozen=True)
class Endpoint:
    """One webhook, and the hosts (`<service>.<namespace>`) that reach it."""

    namespace: str
    source: str
    event: str
    webhook: WebhookSource
    token: str | None
    hosts: frozenset[str]


class EventSources:
    """Webhooks of the applied EventSources."""

    def __init__(self, js: JetStreamContext, secrets: Mapping[str, str]) -> None:
        self._js = js
        self._secrets = secrets
        self._endpoints: tuple[Endpoint, ...] = ()
        self._server = EventServer(self._receive, limit=0)

    async def apply(self, objects: Objects) -> None:
        """Serve the webhooks of these objects; an EventSource that is not understood is logged
        only."""
        endpoints: list[Endpoint] = []
        for source in objects.of("EventSource"):
            try:
                endpoints.extend(_endpoints(source, objects, self._secrets))
            except NotUnderstoodError as error:
                LOG.error("%s", error)  # noqa: TRY400 - the traceback adds nothing
        for namespace in {endpoint.namespace for endpoint in endpoints}:
            await patiently(bus.ensure, self._js, namespace)
        self._endpoints = tuple(endpoints)
        limits = (endpoint.webhook.max_payload_size for endpoint in endpoints)
        self._server.limit = max((limit or MAX_PAYLOAD_SIZE for limit in limits), default=0)

    async def run(self, port: int) -> None:
        """Listen on a loopback port until cancelled."""
        await self._server.start("127.0.0.1", port)
        try:
            await asyncio.Event().wait()
        finally:
            await self._server.close()

    async def _receive(self, request: ServerRequest) -> ServerAnswer:
        if request.method == "GET" and request.path == "/health":
            return ServerAnswer(200, b"OK")
        endpoint = self._match(request)
        if isinstance(endpoint, ServerAnswer):
            return endpoint
        webhook = endpoint.webhook
        if endpoint.token is not None and not _authorized(request, endpoint.token):
            return _refused(401, "the bearer token is missing or wrong")
        method = webhook.method or "POST"
        if request.method != method:
            return _refused(400, f"method {request.method} is not allowed, use {method}")
        limit = webhook.max_payload_size or MAX_PAYLOAD_SIZE
        body = request.body
        if body is None or len(body) > limit:
            return _refused(413, f"the body is larger than {limit} bytes")
        try:
            parsed = json.loads(body)
        except (ValueError, RecursionError):
            return _refused(400, "the body is not JSON")
        event = {"header": _headers(request), "body": parsed, "metadata": {}}
        message_id = str(uuid.uuid4())
        try:
            await publish_message(
                self._js,
                bus.subject(endpoint.namespace, endpoint.source, endpoint.event),
                json.dumps({"id": message_id, "data": event}, separators=(",", ":")).encode(),
                message_id=message_id,
            )
        except StoreError as error:
            LOG.warning("%s/%s: %s", endpoint.namespace, endpoint.source, error.message)
            return _refused(500, "the event could not be stored")
        LOG.info("%s/%s: event %s stored", endpoint.namespace, endpoint.source, message_id)
        return ServerAnswer(200, b"success")

    def _match(self, request: ServerRequest) -> Endpoint | ServerAnswer:
        matching = [each for each in self._endpoints if each.webhook.endpoint == request.path]
        if not matching:
            return _refused(404, f"no EventSource has the endpoint {request.path}")
        host = request.headers.get("host", "").partition(":")[0]
        host = host.removesuffix(f".{CLUSTER_DOMAIN}").removesuffix(".svc")
        named = [endpoint for endpoint in matching if host in endpoint.hosts]
        if named:
            return named[0]
        if host not in ("127.0.0.1", "localhost"):
            return _refused(404, f"no Service {host} leads to an EventSource")
        if len(matching) > 1:
            hosts = sorted(f"{name}.{CLUSTER_DOMAIN}" for each in matching for name in each.hosts)
            problem = f"several EventSources have {request.path}"
            return _refused(404, f"{problem}: send one of these as Host: {', '.join(hosts)}")
        return matching[0]


def _endpoints(source: Json, objects: Objects, secrets: Mapping[str, str]) -> list[Endpoint]:
    name, namespace = source["metadata"]["name"], source["metadata"]["namespace"]
    label = f"EventSource {namespace}/{name}"
    spec = read_part(EventSourceSpec, source.get("spec") or {}, label=label, path="spec")
    hosts = {f"{name}-eventsource-svc.{namespace}"}
    for service in objects.of("Service"):
        selector = (service.get("spec") or {}).get("selector") or {}
        if (
            service["metadata"].get("namespace") == namespace
            and selector.get("eventsource-name") == name
        ):
            hosts.add(f"{service['metadata']['name']}.{namespace}")
    endpoints: list[Endpoint] = []
    for event, webhook in spec.webhook.items():
        token = None
        if webhook.auth_secret is not None:
            ref = webhook.auth_secret
            if ref.name != PLATFORM or ref.key not in secrets:
                raise NotUnderstoodError(
                    f"{label}: secret {ref.name}/{ref.key} does not exist",
                    hint=f"the only Secret here is {PLATFORM}, with {', '.join(sorted(secrets))}",
                )
            token = secrets[ref.key]
        endpoints.append(Endpoint(namespace, name, event, webhook, token, frozenset(hosts)))
    return endpoints


def _authorized(request: ServerRequest, token: str) -> bool:
    header = request.headers.get("authorization", "")
    return hmac.compare_digest(header.encode(), f"Bearer {token}".encode())


def _headers(request: ServerRequest) -> dict[str, list[str]]:
    """Return headers under their canonical names, as lists, without the token."""
    headers: dict[str, list[str]] = {}
    for name, value in request.headers.items():
        if name.lower() != "authorization":
            canonical = "-".join(part.capitalize() for part in name.split("-"))
            headers.setdefault(canonical, []).append(value)
    return headers


def _refused(status: int, reason: str) -> ServerAnswer:
    return ServerAnswer(status, f"{reason}\n".encode())
