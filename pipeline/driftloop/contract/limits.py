"""Bounds: of a request at the gateway (a route of predictions names its bound, and the gateway holds requests to it),
and of the data of a run."""

from collections.abc import Mapping
from types import MappingProxyType

DATA_LIMIT = 20 * 1024**3
"""Bytes of all batches together that a run reads at most, where the spec states none."""

DEFAULT_REQUEST_LIMIT = "8Mi"
"""Bound of a route that names none: a model server needs forty times as much memory to read one."""

REQUEST_LIMITS: Mapping[str, int] = MappingProxyType(
    {
        "1Mi": 1 << 20,
        "2Mi": 2 << 20,
        "4Mi": 4 << 20,
        "8Mi": 8 << 20,
        "16Mi": 16 << 20,
        "32Mi": 32 << 20,
        "64Mi": 64 << 20,
    }
)
"""Bytes of each size that a spec can choose: the platform's gateway knows each by the name of its
route."""

HEADERS_TIME = "10s"
"""Time that a request's headers may take to arrive at the gateway."""

_ROUTE = "request-limit-"


def name_limited_route(limit: str) -> str | None:
    """Return the name of a route with this bound; None for the default, which needs none."""
    return None if limit == DEFAULT_REQUEST_LIMIT else f"{_ROUTE}{limit.lower()}"


def read_route_limit(name: str | None) -> int:
    """Return the bytes that the gateway takes by a route of this name."""
    named = {name_limited_route(limit): size for limit, size in REQUEST_LIMITS.items()}
    return named.get(name, REQUEST_LIMITS[DEFAULT_REQUEST_LIMIT])
