"""The webhooks of all EventSources behind one port; an event is on the stream before its sender hears `success`.

In a cluster every EventSource has its own Service. Here the Host header, which names that Service, says whose webhook
is meant; it may be left out while only one EventSource has the endpoint.
"""

import asyncio
import hmac
import json
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web
from nats.js import JetStreamContext

from driftloop.clients.nats import publish
from driftloop.contract.names import CLUSTER_DOMAIN, PLATFORM
from driftloop.errors import StoreError
from driftloop.kube.events import EventSourceSpec, Webhook
from driftloop.local.argo import bus
from driftloop.local.argo.objects import Json, Objects
from driftloop.local.argo.parts import NotUnderstoodError, read
from driftloop.local.argo.patience import patiently

LOG = logging.getLogger("argo.eventsource")

MAX_PAYLOAD_SIZE = 1024 * 1024
"""Bytes of a request that Argo Events takes unless the EventSource says otherwise."""

LARGEST = 16 * 1024 * 1024
"""Bytes of a request that are read at all; an EventSource's own bound is usually smaller."""


@dataclass(frozen=True)
class Endpoint:
    """One webhook, and the hosts (`<service>.<namespace>`) that reach it."""

    namespace: str
    source: str
    event: str
    webhook: Webhook
    token: str | None
    hosts: frozenset[str]


class EventSources:
    """The webhooks of the applied EventSources."""

    def __init__(self, js: JetStreamContext, secrets: Mapping[str, str]) -> None:
        self._js = js
        self._secrets = secrets
        self._endpoints: tuple[Endpoint, ...] = ()

    async def apply(self, objects: Objects) -> None:
        """Serve what these objects say; an EventSource that is not understood is logged and not served."""
        endpoints: list[Endpoint] = []
        for source in objects.of("EventSource"):
            try:
                endpoints.extend(_endpoints(source, objects, self._secrets))
            except NotUnderstoodError as error:
                LOG.error("%s", error)  # noqa: TRY400 - the message says it all
        for namespace in {endpoint.namespace for endpoint in endpoints}:
            await patiently(bus.ensure, self._js, namespace)
        self._endpoints = tuple(endpoints)

    async def run(self, port: int) -> None:
        """Listen on a loopback port until cancelled."""
        application = web.Application(client_max_size=LARGEST)
        application.router.add_get("/health", _healthy)
        application.router.add_route("*", "/{path:.*}", self._receive)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        found = self._match(request)
        if isinstance(found, web.Response):
            return found
        webhook = found.webhook
        if found.token is not None and not _authorized(request, found.token):
            return _refused(401, "the bearer token is missing or wrong")
        method = webhook.method or "POST"
        if request.method != method:
            return _refused(400, f"method {request.method} is not allowed, use {method}")
        limit = webhook.max_payload_size or MAX_PAYLOAD_SIZE
        if (request.content_length or 0) > limit:
            return _refused(413, f"the body is larger than {limit} bytes")
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            body = None
        if body is None or len(body) > limit:
            return _refused(413, f"the body is larger than {limit} bytes")
        try:
            parsed = json.loads(body)
        except (ValueError, RecursionError):
            return _refused(400, "the body is not JSON")
        event = {"header": _headers(request), "body": parsed, "metadata": {}}
        message_id = str(uuid.uuid4())
        try:
            await publish(
                self._js,
                bus.subject(found.namespace, found.source, found.event),
                json.dumps({"id": message_id, "data": event}, separators=(",", ":")).encode(),
                message_id=message_id,
            )
        except StoreError as error:
            LOG.warning("%s/%s: %s", found.namespace, found.source, error.message)
            return _refused(500, "the event could not be stored")
        LOG.info("%s/%s: event %s stored", found.namespace, found.source, message_id)
        return web.Response(text="success")

    def _match(self, request: web.Request) -> Endpoint | web.Response:
        here = [endpoint for endpoint in self._endpoints if endpoint.webhook.endpoint == request.path]
        if not here:
            return _refused(404, f"no EventSource has the endpoint {request.path}")
        host = request.host.partition(":")[0].removesuffix(f".{CLUSTER_DOMAIN}").removesuffix(".svc")
        named = [endpoint for endpoint in here if host in endpoint.hosts]
        if named:
            return named[0]
        if host not in ("127.0.0.1", "localhost"):
            return _refused(404, f"no Service {host} leads to an EventSource")
        if len(here) > 1:
            hosts = ", ".join(sorted(f"{host}.{CLUSTER_DOMAIN}" for endpoint in here for host in endpoint.hosts))
            return _refused(404, f"several EventSources have {request.path}: send one of these as Host: {hosts}")
        return here[0]


def _endpoints(source: Json, objects: Objects, secrets: Mapping[str, str]) -> list[Endpoint]:
    name, namespace = source["metadata"]["name"], source["metadata"]["namespace"]
    what = f"EventSource {namespace}/{name}"
    spec = read(EventSourceSpec, source.get("spec") or {}, what=what)
    hosts = {f"{name}-eventsource-svc.{namespace}"}
    for service in objects.of("Service"):
        selector = (service.get("spec") or {}).get("selector") or {}
        if service["metadata"].get("namespace") == namespace and selector.get("eventsource-name") == name:
            hosts.add(f"{service['metadata']['name']}.{namespace}")
    found: list[Endpoint] = []
    for event, webhook in spec.webhook.items():
        token = None
        if webhook.auth_secret is not None:
            if webhook.auth_secret.name != PLATFORM or webhook.auth_secret.key not in secrets:
                raise NotUnderstoodError(
                    f"{what}: secret {webhook.auth_secret.name}/{webhook.auth_secret.key} does not exist",
                    hint=f"locally there is only {PLATFORM}, with {', '.join(sorted(secrets))}",
                )
            token = secrets[webhook.auth_secret.key]
        found.append(Endpoint(namespace, name, event, webhook, token, frozenset(hosts)))
    return found


def _authorized(request: web.Request, token: str) -> bool:
    given = request.headers.get("Authorization", "")
    return hmac.compare_digest(given.encode(), f"Bearer {token}".encode())


def _headers(request: web.Request) -> dict[str, list[str]]:
    """Headers under their canonical names, as lists; the token stays out of the stream."""
    headers: dict[str, list[str]] = {}
    for name, value in request.headers.items():
        if name.lower() != "authorization":
            headers.setdefault("-".join(part.capitalize() for part in name.split("-")), []).append(value)
    return headers


def _refused(status: int, why: str) -> web.Response:
    return web.Response(status=status, text=why + "\n")


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="OK")
