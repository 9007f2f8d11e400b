"""Addresses of the platform's parts: the cluster names that pods use, and what answers them on this
machine.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from driftloop.contract.names import (
    BROKER_HOST,
    GATEWAY_HOST,
    NATS_HOST,
    NATS_PORT,
    STORAGE_HOST,
    STORAGE_PORT,
)

REGION = "us-east-1"
BUCKET = "driftloop"
BRANCH = "main"

BROKER_ADDRESS = f"{BROKER_HOST}:80"
GATEWAY_ADDRESS = f"{GATEWAY_HOST}:80"
NATS_ADDRESS = f"{NATS_HOST}:{NATS_PORT}"
S3_ADDRESS = f"{STORAGE_HOST}:{STORAGE_PORT}"


def map_platform_hosts(ports: Mapping[str, int]) -> dict[str, int]:
    """Cluster names that platform parts answer: `<host>:<port>` -> loopback port."""
    return {BROKER_ADDRESS: ports["broker"], GATEWAY_ADDRESS: ports["gateway"]}


def proxy_environment(port: int) -> dict[str, str]:
    """The environment that makes HTTP clients ask Envoy for names; addresses of this machine are
    reached directly.
    """
    proxy, none = f"http://127.0.0.1:{port}", "127.0.0.1,localhost"
    return {"HTTP_PROXY": proxy, "http_proxy": proxy, "NO_PROXY": none, "no_proxy": none}


@contextlib.contextmanager
def short_path(socket: Path) -> Iterator[str]:
    """A path of a Unix socket for the length of a `with` that is short enough for the kernel,
    which takes 107 bytes. OSError when its folder does not exist."""
    folder = os.open(socket.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{socket.name}"
    finally:
        os.close(folder)
