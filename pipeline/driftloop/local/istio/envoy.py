"""Envoy's configuration from what is applied: gateway routes, a proxy that resolves Service names,
the loggers.

Pure: objects in, xDS resources out. One Envoy stands for the gateway, kube-proxy and DNS, and every
logger sidecar.
"""

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from driftloop.contract.limits import HEADERS_TIME, read_route_limit
from driftloop.errors import LocalError
from driftloop.local.istio.answers import build_direct_answers, list_unrouted
from driftloop.local.istio.fields import (
    CORS_POLICY,
    DESTINATION,
    HEADERS,
    HTTP_ROUTE,
    ORIGIN,
    REQUEST_HEADERS,
    REWRITE,
    VIRTUAL_SERVICE,
    format_name,
    list_prefixes,
    read_percent,
    read_port,
    read_precedence,
    read_seconds,
    read_timeout,
    refuse_other_keys,
)
from driftloop.local.istio.login import (
    GUARD,
    GUARD_TYPE,
    UNKNOWN_CALLER,
    VERIFY,
    VERIFY_TYPE,
    build_guard,
    build_key_servers,
    build_verifier,
)
from driftloop.local.istio.routes import EnvoyRoutes, LoggerSidecar, ServiceEndpoints
from driftloop.resources.serving.logger import UNREADY

Resource = dict[str, Any]

ADMIN_SOCKET = "admin.sock"
"""Socket of Envoy's admin interface in its working folder. A relative path: the kernel takes 107
bytes of one."""

_TYPE = "type.googleapis.com/envoy"
_HCM = f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = {
    "name": "router",
    "typed_config": {"@type": f"{_TYPE}.extensions.filters.http.router.v3.Router"},
}

# Hosts that are no Service are looked up, as a pod's DNS would.
_OUTSIDE_DNS = {"name": "outside", "dns_lookup_family": "V4_PREFERRED"}
_OUTSIDE_FILTER = {
    "name": "outside",
    "typed_config": {
        "@type": f"{_TYPE}.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig",
        "dns_cache_config": _OUTSIDE_DNS,
    },
}
_OUTSIDE = {
    "match": {"prefix": "/"},
    "route": {"cluster": "outside", "timeout": "0s"},
    "request_headers_to_add": [{"header": {"key": "via", "value": "1.1 driftloop"}}],
}
# The proxy's own address, or a name of it, would go round until every connection is taken.
_LOOP = {
    "match": {
        "prefix": "/",
        "headers": [{"name": "via", "string_match": {"contains": "1.1 driftloop"}}],
    },
    "direct_response": {
        "status": 508,
        "body": {"inline_string": "the request came back to this proxy\n"},
    },
}

# The same header-only filter as cluster/infrastructure/configs: one id per request, set before any mirror.
_REQUEST_ID = """function envoy_on_request(h)
  if not h:headers():get("seldon-puid") then h:headers():add("seldon-puid", h:headers():get("x-request-id")) end
end
"""

_CORS = "envoy.filters.http.cors"
_CORS_FILTER: Resource = {
    "name": _CORS,
    "typed_config": {"@type": f"{_TYPE}.extensions.filters.http.cors.v3.Cors"},
}

# What Istio gives a route without `retries`: only where the request was not processed.
_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
_RETRIES = 2

# As cluster/infrastructure/configs/request-limits.envoyfilter.yaml: a route's name is its bound.
_BUFFER = "envoy.filters.http.buffer"
_LIMIT: Resource = {
    "name": _BUFFER,
    "typed_config": {
        "@type": f"{_TYPE}.extensions.filters.http.buffer.v3.Buffer",
        "max_request_bytes": read_route_limit(None),
    },
}


def build_bootstrap(folder: str, *, gateway: int, proxy: int) -> Resource:
    """The file Envoy starts with, in `folder`; the rest it reads from there, at each rename of a
    file."""

    def build_path_source(name: str) -> Resource:
        return {
            "resource_api_version": "V3",
            "path_config_source": {"path": f"{folder}/{name}.json"},
        }

    return {
        "node": {"id": "driftloop", "cluster": "driftloop"},
        # as in the loggers' own bootstrap: the judge reads latencies from these
        "stats_flush_interval": "1s",
        "admin": {"address": {"pipe": {"path": ADMIN_SOCKET, "mode": 0o600}}},
        "dynamic_resources": {
            "lds_config": build_path_source("lds"),
            "cds_config": build_path_source("cds"),
        },
        "static_resources": {
            "listeners": [
                _build_front_listener(
                    "gateway",
                    gateway,
                    build_path_source("gateway"),
                    # in Istio's order
                    filters=[
                        _read_filter(VERIFY, VERIFY_TYPE, build_path_source("verify")),
                        _read_filter(GUARD, GUARD_TYPE, build_path_source("guard")),
                        _CORS_FILTER,
                        _LIMIT,
                        _build_lua_filter(_REQUEST_ID),
                        _ROUTER,
                    ],
                    replies=[UNREADY, UNKNOWN_CALLER],
                ),
                _build_front_listener(
                    "proxy",
                    proxy,
                    build_path_source("proxy"),
                    filters=[_OUTSIDE_FILTER, _ROUTER],
                    replies=[UNREADY],
                ),
            ],
            "clusters": [
                {
                    "name": "outside",
                    "lb_policy": "CLUSTER_PROVIDED",
                    "connect_timeout": "10s",
                    "cluster_type": {
                        "name": "envoy.clusters.dynamic_forward_proxy",
                        "typed_config": {
                            "@type": f"{_TYPE}.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig",
                            "dns_cache_config": _OUTSIDE_DNS,
                        },
                    },
                }
            ],
        },
    }


def build_files(routes: EnvoyRoutes) -> dict[str, list[Resource]]:
    """The resources of each xDS file: cds, lds, verify, guard, gateway, proxy.

    LocalError on what has no local meaning.
    """
    aliases = tuple(
        ServiceEndpoints(address.rpartition(":")[0], int(address.rpartition(":")[2]), (port,))
        for address, port in sorted(routes.aliases.items())
    )
    services = (*sorted(routes.services, key=lambda service: service.cluster), *aliases)
    by_address = {(service.host, service.port): service for service in services}
    clusters = {service.cluster: _build_cluster(service) for service in services}
    clusters |= {cluster["name"]: cluster for cluster in build_key_servers(routes.logins)}
    listeners: list[Resource] = []
    for logger in sorted(routes.loggers, key=lambda logger: logger.name):
        listener, own = _build_logger(logger, by_address)
        listeners.append(listener)
        for cluster in own:
            if clusters.setdefault(cluster["name"], cluster) != cluster:
                raise LocalError(
                    f"logger of {logger.name}: another cluster is already named `{cluster['name']}`",
                    hint="cluster names in a logger's envoy.yaml must name its predictor",
                )
    http_routes = [
        route
        for virtual in sorted(routes.virtual_services, key=read_precedence)
        for route in _virtual_service(virtual, by_address)
    ]
    gateway = {
        "@type": f"{_TYPE}.config.route.v3.RouteConfiguration",
        "name": "gateway",
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "routes": [*http_routes, *list_unrouted(routes)],
            }
        ],
    }
    proxy = {
        "@type": f"{_TYPE}.config.route.v3.RouteConfiguration",
        "name": "proxy",
        "virtual_hosts": [
            *(_build_virtual_host(service) for service in services),
            {"name": "others", "domains": ["*"], "routes": [_UNKNOWN, _LOOP, _OUTSIDE]},
        ],
    }
    return {
        "cds": list(clusters.values()),
        "lds": listeners,
        "verify": [build_verify_filter(routes.logins)],
        "guard": [build_guard_filter(routes.logins)],
        "gateway": [gateway],
        "proxy": [proxy],
    }


def build_verify_filter(logins: Sequence[Mapping[str, Any]]) -> Resource:
    """The filter that verifies tokens, as its file has it."""
    return _build_extension(VERIFY, build_verifier(logins))


def build_guard_filter(logins: Sequence[Mapping[str, Any]]) -> Resource:
    """The filter that refuses callers, as its file has it."""
    return _build_extension(GUARD, build_guard(logins))


def format_document(resources: Sequence[Resource]) -> tuple[str, str]:
    """An xDS file's text, and the version written in it, by which Envoy's statistics say what it
    took.
    """
    version = hashlib.sha256(json.dumps(resources, sort_keys=True).encode()).hexdigest()[:16]
    return json.dumps({"version_info": version, "resources": resources}), version


def join_resources(new: Sequence[Resource], old: Sequence[Resource]) -> list[Resource]:
    """Clusters or listeners during a change: all new ones, and old ones that may still be in
    use."""
    names = {resource["name"] for resource in new}
    return [*new, *(resource for resource in old if resource["name"] not in names)]


def validate_virtual_service(virtual: Mapping[str, Any]) -> None:
    """LocalError when a VirtualService says something this runtime would not do."""
    for route in virtual["spec"].get("http") or ():
        _build_route(virtual, route, {}, strict=False)
    refuse_other_keys(virtual, virtual["spec"], "spec", VIRTUAL_SERVICE)
    read_precedence(virtual)


def list_destinations(virtual: Mapping[str, Any]) -> set[tuple[str, int]]:
    """(host, port) of everything a VirtualService sends requests to, mirrors included."""
    addresses: set[tuple[str, int]] = set()
    for route in virtual["spec"].get("http") or ():
        for destination in (
            *(entry["destination"] for entry in route.get("route") or ()),
            *([route["mirror"]] if route.get("mirror") else []),
        ):
            addresses.add((destination["host"], read_port(virtual, destination)))
    return addresses


def _virtual_service(
    virtual: Mapping[str, Any], by_address: Mapping[tuple[str, int], ServiceEndpoints]
) -> Iterable[Resource]:
    for route in virtual["spec"].get("http") or ():
        yield from _build_route(virtual, route, by_address, strict=True)


def _build_route(
    virtual: Mapping[str, Any],
    route: Mapping[str, Any],
    by_address: Mapping[tuple[str, int], ServiceEndpoints],
    *,
    strict: bool,
) -> list[Resource]:
    refuse_other_keys(virtual, route, "spec.http[]", HTTP_ROUTE)

    def find_cluster(destination: Mapping[str, Any]) -> str:
        refuse_other_keys(virtual, destination, "destination", DESTINATION)
        service = by_address.get((destination["host"], read_port(virtual, destination)))
        if service is None:
            if strict:
                raise LocalError(
                    f"VirtualService {format_name(virtual)}: no Service answers {destination['host']}:"
                    f"{read_port(virtual, destination)}",
                    hint="destinations are full Service names, with a port number",
                )
            return ""
        return service.cluster

    prefixes = list_prefixes(virtual, route)
    shared = _build_filters(virtual, route)
    if "directResponse" in route:
        answers = build_direct_answers(virtual, route["directResponse"], prefixes)
        return [{**answer, **shared} for answer in answers]
    action: Resource = {
        "timeout": read_timeout(virtual, route),
        "retry_policy": {"retry_on": _RETRY_ON, "num_retries": _RETRIES},
    }
    targets = [
        (find_cluster(entry["destination"]), int(entry.get("weight", 0)))
        for entry in route.get("route") or ()
    ]
    if not targets:
        raise LocalError(
            f"VirtualService {format_name(virtual)}: a route without destination",
            hint="name one in `route`",
        )
    if len(targets) == 1:
        action["cluster"] = targets[0][0]
    else:
        weighted = [{"name": name, "weight": weight} for name, weight in targets if weight > 0]
        if not weighted or any(weight < 0 for _, weight in targets):
            raise LocalError(
                f"VirtualService {format_name(virtual)}: weights are {[weight for _, weight in targets]}",
                hint="they must not be negative, and their sum must be above 0",
            )
        action["weighted_clusters"] = {"clusters": weighted}
    if route.get("mirror"):
        percent = read_percent(route.get("mirrorPercentage"))
        action["request_mirror_policies"] = [
            {
                "cluster": find_cluster(route["mirror"]),
                "runtime_fraction": {
                    "default_value": {
                        "numerator": round(percent * 10_000),
                        "denominator": "MILLION",
                    }
                },
                "trace_sampled": False,
                "disable_shadow_host_suffix_append": True,
            }
        ]
    if (rewrite := route.get("rewrite")) is not None:
        refuse_other_keys(virtual, rewrite, "rewrite", REWRITE)
        action["prefix_rewrite"] = rewrite["uri"]
    return [
        {
            "match": {"prefix": prefix},
            "route": dict(action),
            **shared,
        }
        for prefix in prefixes
    ]


def _build_filters(virtual: Mapping[str, Any], route: Mapping[str, Any]) -> Resource:
    """Build what a route sets of the filters before it: its bound, who may call it from a browser,
    headers that end here."""
    filters: Resource = {}
    name = route.get("name")
    limited = (size := read_route_limit(name)) != read_route_limit(None)
    if limited:
        filters[_BUFFER] = {
            "@type": f"{_TYPE}.extensions.filters.http.buffer.v3.BufferPerRoute",
            "buffer": {"max_request_bytes": size},
        }
    if (cors := route.get("corsPolicy")) is not None:
        filters[_CORS] = _build_cors(virtual, cors)
    headers = route.get("headers") or {}
    refuse_other_keys(virtual, headers, "spec.http[].headers", HEADERS)
    request = headers.get("request") or {}
    refuse_other_keys(virtual, request, "spec.http[].headers.request", REQUEST_HEADERS)
    removed = list(request.get("remove") or ())
    return {
        **({"name": name} if limited else {}),
        **({"typed_per_filter_config": filters} if filters else {}),
        **({"request_headers_to_remove": removed} if removed else {}),
    }


def _build_cors(virtual: Mapping[str, Any], cors: Mapping[str, Any]) -> Resource:
    refuse_other_keys(virtual, cors, "spec.http[].corsPolicy", CORS_POLICY)
    origins = cors.get("allowOrigins") or ()
    for origin in origins:
        refuse_other_keys(virtual, origin, "spec.http[].corsPolicy.allowOrigins[]", ORIGIN)
    lists = {
        "allow_methods": "allowMethods",
        "allow_headers": "allowHeaders",
        "expose_headers": "exposeHeaders",
    }
    age = cors.get("maxAge")
    seconds = None if age is None else read_seconds(virtual, "maxAge", age).removesuffix("s")
    return {
        "@type": f"{_TYPE}.extensions.filters.http.cors.v3.CorsPolicy",
        "allow_origin_string_match": [{"exact": origin["exact"]} for origin in origins],
        **{ours: ",".join(cors[key]) for ours, key in lists.items() if cors.get(key)},
        **({} if seconds is None else {"max_age": seconds}),
        "forward_not_matching_preflights": cors.get("unmatchedPreflights") != "IGNORE",
    }


def _build_logger(
    logger: LoggerSidecar, by_address: Mapping[tuple[str, int], ServiceEndpoints]
) -> tuple[Resource, list[Resource]]:
    """A sidecar's listener and clusters, with the pod's and the Services' addresses replaced by
    ours.
    """
    static = logger.config.get("static_resources") or {}
    listeners = static.get("listeners") or []
    if len(listeners) != 1:
        raise LocalError(
            f"logger of {logger.name}: {len(listeners)} listeners, must be one",
            hint="see serve.backend",
        )
    listener: Resource = copy.deepcopy(listeners[0])
    listener["@type"] = f"{_TYPE}.config.listener.v3.Listener"
    listener.setdefault("name", f"logger {logger.name}")
    listener["address"] = _build_address(logger.port)
    own_admin = (
        logger.config.get("admin", {})
        .get("address", {})
        .get("socket_address", {})
        .get("port_value")
        if logger.config.get("admin")
        else None
    )
    clusters = []
    for original in static.get("clusters") or []:
        cluster: Resource = copy.deepcopy(original)
        cluster["@type"] = f"{_TYPE}.config.cluster.v3.Cluster"
        cluster["type"] = "STATIC"
        for setting in ("dns_lookup_family", "respect_dns_ttl", "dns_refresh_rate", "cluster_type"):
            cluster.pop(setting, None)
        for locality in (cluster.get("load_assignment") or {}).get("endpoints") or []:
            addresses = [
                entry["endpoint"]["address"]["socket_address"] for entry in locality["lb_endpoints"]
            ]
            locality["lb_endpoints"] = [
                {"endpoint": {"address": behind}}
                for address in addresses
                for behind in _find_behind(logger, address, by_address, own_admin)
            ]
        clusters.append(cluster)
    return listener, clusters


def _find_behind(
    logger: LoggerSidecar,
    address: Mapping[str, Any],
    by_address: Mapping[tuple[str, int], ServiceEndpoints],
    own_admin: int | None,
) -> list[Resource]:
    host, port = str(address["address"]), int(address["port_value"])
    if host in ("127.0.0.1", "localhost", "::1"):
        if port == own_admin:
            return [{"pipe": {"path": ADMIN_SOCKET}}]
        return [_build_address(behind) for behind in logger.pods.get(port, ())]
    service = by_address.get((host, port))
    if service is None:
        raise LocalError(
            f"logger of {logger.name}: no Service answers {host}:{port}",
            hint="names must be full Service names",
        )
    return [_build_address(behind) for behind in service.ports]


def _read_filter(name: str, kind: str, source: Resource) -> Resource:
    """Build the place of a filter that is read from a file, and again when that changes."""
    return {"name": name, "config_discovery": {"config_source": source, "type_urls": [kind]}}


def _build_extension(name: str, config: Resource) -> Resource:
    return {
        "@type": f"{_TYPE}.config.core.v3.TypedExtensionConfig",
        "name": name,
        "typed_config": config,
    }


def _build_front_listener(
    name: str, port: int, routes: Resource, *, filters: list[Resource], replies: list[Resource]
) -> Resource:
    return {
        "name": name,
        "address": _build_address(port),
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "hcm",
                        "typed_config": {
                            "@type": _HCM,
                            "stat_prefix": name,
                            "rds": {"route_config_name": name, "config_source": routes},
                            "use_remote_address": True,
                            "request_headers_timeout": HEADERS_TIME,
                            "local_reply_config": {"mappers": replies},
                            "preserve_external_request_id": True,
                            "http_filters": filters,
                        },
                    }
                ]
            }
        ],
    }


def _build_lua_filter(code: str) -> Resource:
    return {
        "name": "driftloop.request-id",
        "typed_config": {
            "@type": f"{_TYPE}.extensions.filters.http.lua.v3.Lua",
            "default_source_code": {"inline_string": code},
        },
    }


def _build_cluster(service: ServiceEndpoints) -> Resource:
    return {
        "@type": f"{_TYPE}.config.cluster.v3.Cluster",
        "name": service.cluster,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": service.cluster,
            "endpoints": [
                {
                    "lb_endpoints": [
                        {"endpoint": {"address": _build_address(port)}} for port in service.ports
                    ]
                }
            ],
        },
    }


def _build_virtual_host(service: ServiceEndpoints) -> Resource:
    """Build the virtual host of a Service.

    It answers to the full name, the name without the cluster's domain, and `<service>.<namespace>`.
    """
    stem = service.host.removesuffix(".cluster.local")
    names = dict.fromkeys([service.host, stem, stem.removesuffix(".svc")])
    domains = [f"{name}:{service.port}" for name in names]
    if service.port == 80:
        domains += list(names)
    route = {"match": {"prefix": "/"}, "route": {"cluster": service.cluster, "timeout": "0s"}}
    return {"name": service.cluster, "domains": domains, "routes": [route]}


_UNKNOWN: Resource = {
    "match": {
        "prefix": "/",
        "headers": [
            {
                "name": ":authority",
                "string_match": {"safe_regex": {"regex": r".*\.svc(\.cluster\.local)?(:\d+)?"}},
            }
        ],
    },
    "direct_response": {
        "status": 502,
        "body": {"inline_string": "no Service of that name and port\n"},
    },
}


def _build_address(port: int) -> Resource:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
