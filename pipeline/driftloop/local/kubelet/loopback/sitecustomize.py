"""Python's start in a container: what listens on all addresses listens on the loopback one.

In a cluster a container's addresses are its pod's own; on this machine "all" are those that the
network sees. seldon-core's microservice names 0.0.0.0 in its code and takes no other.
"""

import importlib.machinery
import importlib.util
import os
import socket
import sys
from typing import Any

_bind = socket.socket.bind


def bind_loopback(self: socket.socket, address: Any) -> None:
    """Bind a socket, to the loopback address where all were meant."""
    if self.family == socket.AF_INET and address[0] in ("", "0.0.0.0"):  # noqa: S104
        address = ("127.0.0.1", *address[1:])
    elif self.family == socket.AF_INET6 and address[0] in ("", "::"):
        alone = self.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        address = ("::1" if alone else "::ffff:127.0.0.1", *address[1:])
    _bind(self, address)


def run_shadowed() -> None:
    """Run the environment's own module of this name, which this one hides."""
    own = os.path.dirname(__file__)
    others = [entry for entry in sys.path if entry != own]
    spec = importlib.machinery.PathFinder.find_spec(__name__, others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


setattr(socket.socket, "bind", bind_loopback)  # noqa: B010 - a type checker lets nobody assign it
run_shadowed()
