"""networking.istio.io/v1: VirtualService."""

from typing import Literal

from driftloop.kube.base import Model, Object


class StringMatch(Model):
    """Exactly, or by prefix."""

    exact: str | None = None
    prefix: str | None = None


class HTTPMatch(Model):
    """Condition on the requests of a route."""

    uri: StringMatch | None = None


class Rewrite(Model):
    """The path that the destination sees."""

    uri: str


class PortSelector(Model):
    """A Service's port."""

    number: int


class Destination(Model):
    """A Service; the host is always the full name."""

    host: str
    port: PortSelector


class Route(Model):
    """A destination and its share of the requests in percent."""

    destination: Destination
    weight: int | None = None


class Percent(Model):
    """0 to 100."""

    value: float


class HTTPRoute(Model):
    """Requests in, weighted destinations out, perhaps a copy to another one."""

    match: tuple[HTTPMatch, ...] | None = None
    rewrite: Rewrite | None = None
    route: tuple[Route, ...]
    mirror: Destination | None = None
    mirror_percentage: Percent | None = None
    timeout: str | None = None


class VirtualServiceSpec(Model):
    """Routes at a gateway."""

    hosts: tuple[str, ...]
    gateways: tuple[str, ...]
    http: tuple[HTTPRoute, ...]


class VirtualService(Object):
    """Splits and mirrors traffic."""

    api_version: Literal["networking.istio.io/v1"] = "networking.istio.io/v1"
    kind: Literal["VirtualService"] = "VirtualService"
    spec: VirtualServiceSpec
