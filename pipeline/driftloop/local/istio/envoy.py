"""Envoy's configuration from what is applied: gateway routes, a proxy that resolves Service names,
the loggers.

Pure: objects in, xDS resources out. One Envoy stands for the gateway, kube-proxy and DNS, and every
logger sidecar.
"""

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from driftloop.errors import LocalError

Resource = dict[str, Any]

_TYPE = "type.googleapis.com/envoy"
_HCM = f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = {"name": "router", "typed_config": {"@type": f"{_TYPE}.extensions.filters.http.router.v3.Router"}}

# Hosts that are no Service are looked up, as a pod's DNS would.
_OUTSIDE_DNS = {"name": "outside", "dns_lookup_family": "V4_PREFERRED"}
_OUTSIDE_FILTER = {
    "name": "outside",
    "typed_config": {
        "@type": f"{_TYPE}.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig",
        "dns_cache_config": _OUTSIDE_DNS,
    },
}
_OUTSIDE = {"match": {"prefix": "/"}, "route": {"cluster": "outside", "timeout": "0s"}}

# The same header-only filter as cluster/infrastructure/configs: one id per request, set before any mirror.
_REQUEST_ID = """function envoy_on_request(h)
  if not h:headers():get("seldon-puid") then h:headers():add("seldon-puid", h:headers():get("x-request-id")) end
end
"""

# What Istio gives a route without `retries`: only where the request was not processed.
_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"


@dataclass(frozen=True)
class Endpoints:
    """A Service port and the loopback ports behind it."""

    host: str
    """Full name, `<service>.<namespace>.svc.cluster.local`."""
    port: int
    ports: tuple[int, ...]

    @property
    def cluster(self) -> str:
        """The cluster's name, as Istio writes it."""
        return f"outbound|{self.port}||{self.host}"


@dataclass(frozen=True)
class Logger:
    """A predictor's logging sidecar: the bootstrap from its ConfigMap, to be merged into this
    Envoy.
    """

    name: str
    """`<namespace>/<deployment>`."""
    config: Mapping[str, Any]
    port: int
    """The loopback port its (only) listener gets."""
    pods: Mapping[int, tuple[int, ...]]
    """Container port of the pod -> loopback ports of its ready replicas."""


@dataclass(frozen=True)
class Routes:
    """Everything the one Envoy serves at one moment."""

    services: tuple[Endpoints, ...] = ()
    virtual_services: tuple[Mapping[str, Any], ...] = ()
    loggers: tuple[Logger, ...] = ()
    aliases: Mapping[str, int] = field(default_factory=dict)
    """Hosts that platform parts answer (`<host>:<port>` -> loopback port)."""


def bootstrap(folder: str, *, gateway: int, proxy: int, admin: int) -> Resource:
    """The file Envoy starts with; the rest it reads from `folder`, at each rename of a file there."""

    def file(name: str) -> Resource:
        return {"resource_api_version": "V3", "path_config_source": {"path": f"{folder}/{name}.json"}}

    return {
        "node": {"id": "driftloop", "cluster": "driftloop"},
        # as in the loggers' own bootstrap: the judge reads latencies from these
        "stats_flush_interval": "1s",
        "admin": {"address": _address(admin)},
        "dynamic_resources": {"lds_config": file("lds"), "cds_config": file("cds")},
        "static_resources": {
            "listeners": [
                _front("gateway", gateway, file("gateway"), filters=[_lua(_REQUEST_ID), _ROUTER]),
                _front("proxy", proxy, file("proxy"), filters=[_OUTSIDE_FILTER, _ROUTER]),
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


def files(routes: Routes, *, admin: int) -> dict[str, list[Resource]]:
    """The resources of each xDS file: cds, lds, gateway, proxy.

    LocalError on what has no local meaning.
    """
    aliases = tuple(
        Endpoints(address.rpartition(":")[0], int(address.rpartition(":")[2]), (port,))
        for address, port in sorted(routes.aliases.items())
    )
    services = (*sorted(routes.services, key=lambda service: service.cluster), *aliases)
    by_address = {(service.host, service.port): service for service in services}
    clusters = {service.cluster: _cluster(service) for service in services}
    listeners: list[Resource] = []
    for logger in sorted(routes.loggers, key=lambda logger: logger.name):
        listener, own = _logger(logger, by_address, admin)
        listeners.append(listener)
        for cluster in own:
            if clusters.setdefault(cluster["name"], cluster) != cluster:
                raise LocalError(
                    f"logger of {logger.name}: another cluster is already named `{cluster['name']}`",
                    hint="cluster names in a logger's envoy.yaml must name its predictor",
                )
    http_routes = [
        route
        for virtual in sorted(routes.virtual_services, key=_name)
        for route in _virtual_service(virtual, by_address)
    ]
    gateway = {
        "@type": f"{_TYPE}.config.route.v3.RouteConfiguration",
        "name": "gateway",
        "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [*http_routes, _absent("no route here\n", 404)]}],
    }
    proxy = {
        "@type": f"{_TYPE}.config.route.v3.RouteConfiguration",
        "name": "proxy",
        "virtual_hosts": [
            *(_host(service) for service in services),
            {"name": "others", "domains": ["*"], "routes": [_UNKNOWN, _OUTSIDE]},
        ],
    }
    return {"cds": list(clusters.values()), "lds": listeners, "gateway": [gateway], "proxy": [proxy]}


def document(resources: Sequence[Resource]) -> tuple[str, str]:
    """An xDS file's text, and the version written in it, by which Envoy's statistics say what it
    took.
    """
    version = hashlib.sha256(json.dumps(resources, sort_keys=True).encode()).hexdigest()[:16]
    return json.dumps({"version_info": version, "resources": resources}), version


def joined(new: Sequence[Resource], old: Sequence[Resource]) -> list[Resource]:
    """Clusters or listeners during a change: all new ones, and old ones that may still be in use."""
    names = {resource["name"] for resource in new}
    return [*new, *(resource for resource in old if resource["name"] not in names)]


def check(virtual: Mapping[str, Any]) -> None:
    """LocalError when a VirtualService says something this runtime would not do."""
    for route in virtual["spec"].get("http") or ():
        _route(virtual, route, {}, strict=False)
    _only(virtual, virtual["spec"], "spec", {"hosts", "gateways", "http", "exportTo"})


def destinations(virtual: Mapping[str, Any]) -> set[tuple[str, int]]:
    """(host, port) of everything a VirtualService sends requests to, mirrors included."""
    addresses: set[tuple[str, int]] = set()
    for route in virtual["spec"].get("http") or ():
        for destination in (
            *(entry["destination"] for entry in route.get("route") or ()),
            *([route["mirror"]] if route.get("mirror") else []),
            *(entry["destination"] for entry in route.get("mirrors") or ()),
        ):
            addresses.add((destination["host"], _port(virtual, destination)))
    return addresses


def _virtual_service(virtual: Mapping[str, Any], by_address: Mapping[tuple[str, int], Endpoints]) -> Iterable[Resource]:
    for route in virtual["spec"].get("http") or ():
        yield from _route(virtual, route, by_address, strict=True)


def _route(
    virtual: Mapping[str, Any],
    route: Mapping[str, Any],
    by_address: Mapping[tuple[str, int], Endpoints],
    *,
    strict: bool,
) -> list[Resource]:
    allowed = {"name", "match", "route", "rewrite", "timeout", "retries", "mirror", "mirrorPercentage", "mirrors"}
    _only(virtual, route, "spec.http[]", allowed)

    def cluster(destination: Mapping[str, Any]) -> str:
        _only(virtual, destination, "destination", {"host", "port", "subset"})
        service = by_address.get((destination["host"], _port(virtual, destination)))
        if service is None:
            if strict:
                raise LocalError(
                    f"VirtualService {_name(virtual)}: no Service answers {destination['host']}:"
                    f"{_port(virtual, destination)}",
                    hint="destinations are full Service names, with a port number",
                )
            return ""
        return service.cluster

    action: Resource = {"timeout": _seconds(route.get("timeout", "0s"))}
    targets = [(cluster(entry["destination"]), int(entry.get("weight", 0))) for entry in route.get("route") or ()]
    if not targets:
        raise LocalError(f"VirtualService {_name(virtual)}: a route without destination", hint="name one in `route`")
    if len(targets) == 1:
        action["cluster"] = targets[0][0]
    else:
        weighted = [{"name": name, "weight": weight} for name, weight in targets if weight > 0]
        if not weighted or any(weight < 0 for _, weight in targets):
            raise LocalError(
                f"VirtualService {_name(virtual)}: weights are {[weight for _, weight in targets]}",
                hint="they must not be negative, and their sum must be above 0",
            )
        action["weighted_clusters"] = {"clusters": weighted}
    mirrors = [
        *([(route["mirror"], _percent(route.get("mirrorPercentage")))] if route.get("mirror") else []),
        *((entry["destination"], _percent(entry.get("percentage"))) for entry in route.get("mirrors") or ()),
    ]
    if mirrors:
        action["request_mirror_policies"] = [
            {
                "cluster": cluster(destination),
                "runtime_fraction": {"default_value": {"numerator": round(percent * 10_000), "denominator": "MILLION"}},
                "trace_sampled": False,
                "disable_shadow_host_suffix_append": True,
            }
            for destination, percent in mirrors
        ]
    retries = route.get("retries") or {}
    _only(virtual, retries, "retries", {"attempts", "perTryTimeout", "retryOn"})
    if (attempts := int(retries.get("attempts", 2))) > 0:
        action["retry_policy"] = {"retry_on": retries.get("retryOn", _RETRY_ON), "num_retries": attempts}
        if "perTryTimeout" in retries:
            action["retry_policy"]["per_try_timeout"] = _seconds(retries["perTryTimeout"])
    rewrite = route.get("rewrite") or {}
    _only(virtual, rewrite, "rewrite", {"uri"})
    envoy_routes = []
    for match in route.get("match") or [{"uri": {"prefix": "/"}}]:
        _only(virtual, match, "match[]", {"uri", "name", "ignoreUriCase"})
        uri = match.get("uri") or {"prefix": "/"}
        _only(virtual, uri, "match[].uri", {"prefix", "exact"})
        path = {"prefix": uri["prefix"]} if "prefix" in uri else {"path": uri["exact"]}
        own = dict(action)
        if "uri" in rewrite:
            own["prefix_rewrite"] = rewrite["uri"]
        envoy_routes.append({"match": path, "route": own})
    return envoy_routes


def _logger(
    logger: Logger, by_address: Mapping[tuple[str, int], Endpoints], admin: int
) -> tuple[Resource, list[Resource]]:
    """A sidecar's listener and clusters, with the pod's and the Services' addresses replaced by
    ours.
    """
    static = logger.config.get("static_resources") or {}
    listeners = static.get("listeners") or []
    if len(listeners) != 1:
        raise LocalError(f"logger of {logger.name}: {len(listeners)} listeners, must be one", hint="see serve.backend")
    listener: Resource = copy.deepcopy(listeners[0])
    listener["@type"] = f"{_TYPE}.config.listener.v3.Listener"
    listener.setdefault("name", f"logger {logger.name}")
    listener["address"] = _address(logger.port)
    own_admin = (
        logger.config.get("admin", {}).get("address", {}).get("socket_address", {}).get("port_value")
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
            addresses = [entry["endpoint"]["address"]["socket_address"] for entry in locality["lb_endpoints"]]
            ports = [port for address in addresses for port in _behind(logger, address, by_address, admin, own_admin)]
            locality["lb_endpoints"] = [{"endpoint": {"address": _address(port)}} for port in ports]
        clusters.append(cluster)
    return listener, clusters


def _behind(
    logger: Logger,
    address: Mapping[str, Any],
    by_address: Mapping[tuple[str, int], Endpoints],
    admin: int,
    own_admin: int | None,
) -> tuple[int, ...]:
    host, port = str(address["address"]), int(address["port_value"])
    if host in ("127.0.0.1", "localhost", "::1"):
        if port == own_admin:
            return (admin,)
        return logger.pods.get(port, ())
    service = by_address.get((host, port))
    if service is None:
        raise LocalError(
            f"logger of {logger.name}: no Service answers {host}:{port}", hint="names must be full Service names"
        )
    return service.ports


def _front(name: str, port: int, routes: Resource, *, filters: list[Resource]) -> Resource:
    return {
        "name": name,
        "address": _address(port),
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
                            "preserve_external_request_id": True,
                            "http_filters": filters,
                        },
                    }
                ]
            }
        ],
    }


def _lua(code: str) -> Resource:
    return {
        "name": "driftloop.request-id",
        "typed_config": {
            "@type": f"{_TYPE}.extensions.filters.http.lua.v3.Lua",
            "default_source_code": {"inline_string": code},
        },
    }


def _cluster(service: Endpoints) -> Resource:
    return {
        "@type": f"{_TYPE}.config.cluster.v3.Cluster",
        "name": service.cluster,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": service.cluster,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}} for port in service.ports]}],
        },
    }


def _host(service: Endpoints) -> Resource:
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
            {"name": ":authority", "string_match": {"safe_regex": {"regex": r".*\.svc(\.cluster\.local)?(:\d+)?"}}}
        ],
    },
    "direct_response": {"status": 502, "body": {"inline_string": "no Service of that name and port\n"}},
}


def _absent(text: str, status: int) -> Resource:
    return {"match": {"prefix": "/"}, "direct_response": {"status": status, "body": {"inline_string": text}}}


def _address(port: int) -> Resource:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _percent(value: Mapping[str, Any] | None) -> float:
    return 100.0 if value is None else float(value["value"])


def _port(virtual: Mapping[str, Any], destination: Mapping[str, Any]) -> int:
    try:
        return int(destination["port"]["number"])
    except (KeyError, TypeError, ValueError):
        raise LocalError(
            f"VirtualService {_name(virtual)}: destination {destination.get('host')} has no port number",
            hint="write `port: {number: 8000}`",
        ) from None


def _seconds(text: str) -> str:
    """A Go duration as Envoy writes it."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    for unit, factor in units.items():
        head = text.removesuffix(unit)
        if head != text and head.replace(".", "", 1).isdigit():
            return f"{float(head) * factor:.3f}s"
    raise LocalError(f"`{text}` is not a duration", hint="write it as 250ms, 10s, 5m or 1h")


def _only(virtual: Mapping[str, Any], value: Mapping[str, Any], where: str, allowed: set[str]) -> None:
    if unknown := sorted(set(value) - allowed):
        raise LocalError(
            f"VirtualService {_name(virtual)}: `{where}.{unknown[0]}` is not understood by the local runtime",
            hint=f"supported in {where}: {', '.join(sorted(allowed))}",
        )


def _name(item: Mapping[str, Any]) -> str:
    metadata = item["metadata"]
    return f"{metadata.get('namespace', 'default')}/{metadata['name']}"
