"""The request logger beside a model server: an Envoy that posts every request and answer as a
CloudEvent.

It stands where Seldon's executor would and says the same things about each event. Bodies are
watched as they stream by, so neither a slow broker nor a large body delays an answer; bodies
above a bound are served, not posted, and counted as `envoy_cluster_upstream_cx_none_healthy` of
the cluster `…/unlogged`, which has no endpoint on purpose.

Several of these run in one Envoy on one machine, so every name in the configuration begins with
the predictor's.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from driftloop.contract.events import INFERENCE
from driftloop.contract.names import service_host

Config = dict[str, Any]

ADMIN_PORT = 9901
MAX_LOGGED = 1024 * 1024
"""Bytes of a body that are still posted."""
POST_TIMEOUT = 30_000
"""Milliseconds until a post is given up, all its retries included."""
QUEUE = 10_000
"""Posts under way or waiting before further ones are dropped, as in Seldon's executor."""

_TYPE = "type.googleapis.com/envoy"
UNREADY: Config = {
    "filter": {
        "status_code_filter": {
            "comparison": {
                "op": "EQ",
                "value": {"default_value": 503, "runtime_key": "driftloop.unready"},
            }
        }
    },
    "headers_to_add": [{"header": {"key": "retry-after", "value": "5"}}],
}
"""Says when to ask again in Envoy's own answers 503: nobody has seen the request."""
_RETRY: Config = {
    "retry_on": "5xx,reset,connect-failure,refused-stream",
    "num_retries": 10,
    "retry_back_off": {"base_interval": "0.2s", "max_interval": "5s"},
}
"""A broker that restarts; the event's id makes a repeat harmless."""
_PATHS = {
    "/api/v1.0/feedback": "/send-feedback",
    "/api/v1.0/health/status": "/health/status",
    "/api/v1.0/metadata": "/metadata",
    "/ready": "/health/ping",
    "/live": "/health/ping",
}
"""Paths of the executor that the microservice calls by another name."""


@dataclass(frozen=True)
class RequestLogger:
    """Settings of one logger: the attributes of its events, and the two ends of its connection."""

    service: str
    """Service name of the predictor."""
    namespace: str
    deployment: str
    """`ce-inferenceservicename`"""
    predictor: str
    """`ce-endpoint`: the release id."""
    node: str
    """`ce-modelid`"""
    protocol: str
    """`ce-protocol`"""
    broker_host: str
    broker_port: int
    broker_path: str
    port: int
    """Where it listens."""
    model_port: int
    """Where the model server listens, in the same pod."""
    timeout: int
    """Seconds that the model server may take for an answer."""

    @property
    def name(self) -> str:
        """Prefix of everything it names; without dots, which would break the labels of Envoy's
        metrics."""
        return f"{self.namespace}/{self.service}"


def envoy_bootstrap(logger: RequestLogger) -> Config:
    """Envoy's configuration file as data."""
    return {
        "admin": {"address": _socket_address("127.0.0.1", ADMIN_PORT)},
        # Latencies would otherwise be up to 5 s old when they are read.
        "stats_flush_interval": "1s",
        "static_resources": {
            "listeners": [
                {
                    "name": f"{logger.name}/logger",
                    "address": _socket_address("0.0.0.0", logger.port),  # noqa: S104 - the pod's own address
                    "filter_chains": [
                        {"filters": [{"name": "http", "typed_config": _connection_manager(logger)}]}
                    ],
                }
            ],
            "clusters": [
                # gunicorn closes an idle connection after 2 s; one that is about to close must not be used again.
                _envoy_cluster(
                    f"{logger.name}/model", "127.0.0.1", logger.model_port, kind="STATIC", idle="1s"
                ),
                _envoy_cluster(
                    f"{logger.name}/broker",
                    logger.broker_host,
                    logger.broker_port,
                    kind="STRICT_DNS",
                    idle="20s",
                    limits={
                        "max_connections": 64,
                        "max_pending_requests": QUEUE,
                        "max_requests": QUEUE,
                        "max_retries": QUEUE,
                    },
                    retry=_RETRY,
                ),
                _envoy_cluster(
                    f"{logger.name}/admin", "127.0.0.1", ADMIN_PORT, kind="STATIC", idle="20s"
                ),
                {
                    "name": f"{logger.name}/unlogged",
                    "type": "STATIC",
                    "load_assignment": {"cluster_name": f"{logger.name}/unlogged"},
                },
            ],
        },
    }


def _connection_manager(logger: RequestLogger) -> Config:
    return {
        "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": logger.name,
        "preserve_external_request_id": True,
        "local_reply_config": {"mappers": [UNREADY]},
        "route_config": {
            "name": logger.name,
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        _metrics_route(logger),
                        *(_renamed_route(logger, path, name) for path, name in _PATHS.items()),
                        {"match": {"prefix": "/"}, "route": _model_route(logger)},
                    ],
                }
            ],
        },
        "http_filters": [
            {
                "name": "logger",
                "typed_config": {
                    "@type": f"{_TYPE}.extensions.filters.http.lua.v3.Lua",
                    "default_source_code": {"inline_string": logger_script(logger)},
                },
            },
            {
                "name": "router",
                "typed_config": {"@type": f"{_TYPE}.extensions.filters.http.router.v3.Router"},
            },
        ],
    }


def _metrics_route(logger: RequestLogger) -> Config:
    """`/prometheus`: this predictor's own metrics, also where several loggers share an Envoy."""
    mine = f"^(server\\.uptime$|(cluster|http)\\.{re.escape(logger.name)}(/[a-z]+)?\\.)"
    return {
        "match": {"path": "/prometheus"},
        "route": {
            "cluster": f"{logger.name}/admin",
            "regex_rewrite": {
                "pattern": {"regex": "^/prometheus.*$"},
                "substitution": "/stats/prometheus?filter="
                + mine.replace("\\", "\\\\").replace("+", "%2B"),
            },
        },
    }


def _model_route(logger: RequestLogger) -> Config:
    return {
        "cluster": f"{logger.name}/model",
        "timeout": f"{logger.timeout}s",
        # Only where the model has not seen the request.
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset-before-request",
            "num_retries": 2,
        },
    }


def _renamed_route(logger: RequestLogger, path: str, known: str) -> Config:
    return {"match": {"path": path}, "route": {**_model_route(logger), "prefix_rewrite": known}}


def _envoy_cluster(
    name: str,
    host: str,
    port: int,
    *,
    kind: str,
    idle: str,
    limits: dict[str, int] | None = None,
    retry: Config | None = None,
) -> Config:
    breakers = {"circuit_breakers": {"thresholds": [limits]}} if limits else {}
    return {
        "name": name,
        "type": kind,
        "connect_timeout": "5s",
        **breakers,
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
                "common_http_protocol_options": {"idle_timeout": idle},
                "explicit_http_config": {"http_protocol_options": {}},
                **({"retry_policy": retry} if retry else {}),
            }
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": _socket_address(host, port)}}]}
            ],
        },
    }


def _socket_address(host: str, port: int) -> Config:
    return {"socket_address": {"address": host, "port_value": port}}


def logger_script(logger: RequestLogger) -> str:
    """The Lua of the logger. Each value is a quoted constant at its top."""
    constants = {
        "BROKER": f"{logger.name}/broker",
        "UNLOGGED": f"{logger.name}/unlogged",
        "AUTHORITY": logger.broker_host,
        "PATH": logger.broker_path,
        "SOURCE": f"http://{service_host(logger.service, logger.namespace)}:{logger.port}/",
        "NAME": logger.deployment,
        "NAMESPACE": logger.namespace,
        "ENDPOINT": logger.predictor,
        "MODEL": logger.node,
        "PROTOCOL": logger.protocol,
    }
    head = [f"local {name} = {json.dumps(value)}" for name, value in constants.items()]
    return "\n".join([*head, f"local LIMIT, TIMEOUT = {MAX_LOGGED}, {POST_TIMEOUT}", _LUA])


_LUA = """\
local PREDICTIONS = {["/api/v1.0/predictions"] = true, ["/api/v0.1/predictions"] = true, ["/predict"] = true}
local random = io.open("/dev/urandom", "rb")

local function uuid()
  local b = {random:read(16):byte(1, 16)}
  b[7], b[9] = b[7] % 16 + 64, b[9] % 64 + 128
  return string.format("%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", unpack(b))
end

local function now(handle)
  local ms = tonumber(handle:timestamp())
  return os.date("!%Y-%m-%dT%H:%M:%S", math.floor(ms / 1000)) .. string.format(".%03dZ", ms % 1000)
end

-- Looks at the body while it streams by; nil when it is over the limit.
local function body(handle)
  local parts, size = {}, 0
  for chunk in handle:bodyChunks() do
    local length = chunk:length()
    size = size + length
    if size > LIMIT then parts = nil end
    if parts and length > 0 then parts[#parts + 1] = chunk:getBytes(0, length) end
  end
  return parts and table.concat(parts)
end

local function post(handle, kind, id, content, encoding)
  local payload = body(handle)
  if not payload or (encoding and encoding ~= "identity") then
    handle:httpCall(UNLOGGED, {[":method"] = "GET", [":path"] = "/", [":authority"] = NAME}, nil, 1000, true)
    return
  end
  handle:httpCall(BROKER, {
    [":method"] = "POST", [":path"] = PATH, [":authority"] = AUTHORITY,
    ["content-type"] = content or "application/octet-stream",
    ["ce-specversion"] = "1.0", ["ce-id"] = uuid(), ["ce-time"] = now(handle), ["ce-source"] = SOURCE,
    ["ce-type"] = "@INFERENCE@" .. kind,
    ["ce-requestid"] = id, ["ce-inferenceservicename"] = NAME, ["ce-namespace"] = NAMESPACE,
    ["ce-endpoint"] = ENDPOINT, ["ce-modelid"] = MODEL, ["ce-protocol"] = PROTOCOL,
  }, payload, TIMEOUT, true)
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local id = headers:get("seldon-puid")
  if not id or id == "" then
    id = uuid()
    headers:replace("seldon-puid", id)
  end
  local path = headers:get(":path"):match("^[^?]*")
  local logged = headers:get(":method") == "POST" and PREDICTIONS[path] and headers:get("seldon-skip-logging") ~= "true"
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set("driftloop.logger", "id", id)
  if logged then
    metadata:set("driftloop.logger", "logged", true)
    post(handle, "request", id, headers:get("content-type"), headers:get("content-encoding"))
  end
end

function envoy_on_response(handle)
  local known = handle:streamInfo():dynamicMetadata():get("driftloop.logger")
  if not known then return end
  local headers = handle:headers()
  if not headers:get("seldon-puid") then headers:add("seldon-puid", known["id"]) end
  if known["logged"] and headers:get(":status") == "200" then
    post(handle, "response", known["id"], headers:get("content-type"), headers:get("content-encoding"))
  end
end
""".replace("@INFERENCE@", INFERENCE)
