"""networking.istio.io/v1: VirtualService."""

from typing import Literal

from driftloop.kube.base import KubernetesObject, ObjectPart


class StringMatch(ObjectPart):
    """Exactly, by prefix, or by a regular expression for all of it."""

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None


class HTTPMatch(ObjectPart):
    """Condition on the requests of a route."""

    uri: StringMatch | None = None
    headers: dict[str, StringMatch] | None = None


class Rewrite(ObjectPart):
    """The path that the destination sees."""

    uri: str


class PortSelector(ObjectPart):
    """A Service's port."""

    number: int


class Destination(ObjectPart):
    """A Service; the host is always the full name."""

    host: str
    port: PortSelector


class Route(ObjectPart):
    """A destination and its share of the requests in percent."""

    destination: Destination
    weight: int | None = None


class Percent(ObjectPart):
    """0 to 100."""

    value: float


class DirectBody(ObjectPart):
    """The body of an answer without a destination."""

    string: str


class DirectResponse(ObjectPart):
    """An answer that the gateway gives by itself."""

    status: int
    body: DirectBody


class CorsPolicy(ObjectPart):
    """Pages of other origins that may call from a browser."""

    allow_origins: tuple[StringMatch, ...]
    allow_methods: tuple[str, ...]
    allow_headers: tuple[str, ...]
    expose_headers: tuple[str, ...]
    max_age: str
    unmatched_preflights: Literal["IGNORE"] = "IGNORE"
    """The gateway answers those of other origins, and the destination never sees them."""


class RequestHeaders(ObjectPart):
    """Headers that a destination does not get."""

    remove: tuple[str, ...]


class RouteHeaders(ObjectPart):
    """What is done to headers."""

    request: RequestHeaders


class HTTPRoute(ObjectPart):
    """Requests in, weighted destinations out, perhaps a copy to another one; or an answer of the
    gateway's own."""

    name: str | None = None
    """Name of the route at the gateway, too."""
    match: tuple[HTTPMatch, ...] | None = None
    rewrite: Rewrite | None = None
    route: tuple[Route, ...] | None = None
    direct_response: DirectResponse | None = None
    mirror: Destination | None = None
    mirror_percentage: Percent | None = None
    timeout: str | None = None
    cors_policy: CorsPolicy | None = None
    headers: RouteHeaders | None = None


class VirtualServiceSpec(ObjectPart):
    """Routes at a gateway."""

    hosts: tuple[str, ...]
    gateways: tuple[str, ...]
    export_to: tuple[str, ...] | None = None
    """Namespaces of the gateways and sidecars that see it; all when left out."""
    http: tuple[HTTPRoute, ...]


class VirtualService(KubernetesObject):
    """Splits and mirrors traffic."""

    api_version: Literal["networking.istio.io/v1"] = "networking.istio.io/v1"
    kind: Literal["VirtualService"] = "VirtualService"
    spec: VirtualServiceSpec
