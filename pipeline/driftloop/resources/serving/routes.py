"""Routes at the gateway: who answers a pipeline's requests, and who gets a copy of them."""

from collections.abc import Mapping

from driftloop.contract.limits import DEFAULT_REQUEST_LIMIT, name_limited_route
from driftloop.contract.names import (
    KEY_HEADER,
    PREDICTOR_PORT,
    REQUEST_ID_HEADER,
    TOKEN_HEADER,
    service_host,
)
from driftloop.kube import istio
from driftloop.spec.access import Access

GRPC_PORT = 5001
"""Port of gRPC at a predictor of Seldon's operator."""
_GRPC = ".*tensorflow.*|.*seldon.protos.*|.*inference.*"
"""Methods by which the operator's own routes tell gRPC of a model."""


def route_predictions(
    name: str,
    namespace: str,
    weights: Mapping[str, int],
    *,
    timeout: int,
    mirrored: str | None = None,
    percent: float = 100,
    limit: str = DEFAULT_REQUEST_LIMIT,
    access: Access | None = None,
) -> istio.HTTPRoute:
    """Build the route of the predictions over HTTP; `name` is the SeldonDeployment's or the
    pipeline's, `timeout` the seconds until a request is answered with 504.

    `weights` are percent by release id, `mirrored` is the id of the version that gets a copy of so
    many percent, `limit` the largest request that it takes, `access` who may ask.
    """
    return istio.HTTPRoute(
        name=name_limited_route(limit),
        match=_match_predictions(name, namespace),
        rewrite=istio.Rewrite(uri="/"),
        route=_share(name, namespace, weights, PREDICTOR_PORT),
        mirror=None
        if mirrored is None
        else _destination(name, namespace, mirrored, PREDICTOR_PORT),
        mirror_percentage=None if mirrored is None else istio.Percent(value=percent),
        timeout=f"{timeout}s",
        cors_policy=_let_in_pages(access),
        headers=_end_login(access),
    )


def answer_unready(name: str, namespace: str, access: Access | None = None) -> istio.HTTPRoute:
    """Build the route of a pipeline that has no model yet: 503, since later there will be one."""
    return istio.HTTPRoute(
        match=_match_predictions(name, namespace),
        direct_response=istio.DirectResponse(
            status=503, body=istio.DirectBody(string=f"{name} has no release yet\n")
        ),
        cors_policy=_let_in_pages(access),
    )


def route_grpc(
    name: str, namespace: str, weights: Mapping[str, int], *, mirrored: str
) -> istio.HTTPRoute:
    """Build the route of the predictions over gRPC, told by the headers that the operator's own
    routes ask for."""
    return istio.HTTPRoute(
        match=(
            istio.HTTPMatch(
                uri=istio.StringMatch(regex=_GRPC),
                headers={
                    "seldon": istio.StringMatch(exact=name),
                    "namespace": istio.StringMatch(exact=namespace),
                },
            ),
        ),
        route=_share(name, namespace, weights, GRPC_PORT),
        mirror=_destination(name, namespace, mirrored, GRPC_PORT),
        mirror_percentage=istio.Percent(value=100),
    )


def _let_in_pages(access: Access | None) -> istio.CorsPolicy | None:
    """Build the pages that may call from a browser: with what a login needs, and able to read the
    request's id, by which labels are told."""
    if access is None or access.cors is None:
        return None
    cors, login = access.cors, (TOKEN_HEADER, KEY_HEADER) if access.closed else ()
    return istio.CorsPolicy(
        allow_origins=tuple(istio.StringMatch(exact=origin) for origin in cors.origins),
        allow_methods=cors.methods,
        allow_headers=tuple(
            dict.fromkeys(("content-type", REQUEST_ID_HEADER, *login, *cors.headers))
        ),
        expose_headers=(REQUEST_ID_HEADER,),
        max_age=f"{int(cors.max_age.total_seconds()) or 1}s",
    )


def _end_login(access: Access | None) -> istio.RouteHeaders | None:
    """Build what the model does not get: the gateway takes out the token that it has verified, and
    this one any other beside it."""
    if access is None or not access.closed:
        return None
    kept = access.jwt is not None and access.jwt.forward
    removed = (KEY_HEADER,) if kept else (TOKEN_HEADER, KEY_HEADER)
    return istio.RouteHeaders(request=istio.RequestHeaders(remove=removed))


def _match_predictions(name: str, namespace: str) -> tuple[istio.HTTPMatch, ...]:
    return (istio.HTTPMatch(uri=istio.StringMatch(prefix=f"/seldon/{namespace}/{name}/")),)


def _share(
    name: str, namespace: str, weights: Mapping[str, int], port: int
) -> tuple[istio.Route, ...]:
    return tuple(
        istio.Route(destination=_destination(name, namespace, release, port), weight=weight)
        for release, weight in weights.items()
    )


def _destination(name: str, namespace: str, release: str, port: int) -> istio.Destination:
    return istio.Destination(
        host=service_host(f"{name}-{release}", namespace), port=istio.PortSelector(number=port)
    )
