"""Credentials for image registries, where `docker login` left them: config.json, and the helpers
that it names."""

import base64
import binascii
import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from driftloop.errors import RegistryError

LARGEST = 1024 * 1024
HELPER_SECONDS = 30.0
"""A helper may ask a cloud for a new password."""
HUB = "docker.io"


@dataclass(frozen=True)
class RegistryLogin:
    """Credentials for a registry."""

    user: str
    password: str = field(repr=False)
    identity: bool = False
    """True if `password` is a token to get other tokens with, not a password."""

    @property
    def encode_basic(self) -> str:
        """The value of an `Authorization` header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


@dataclass(frozen=True)
class DockerConfig:
    """The logins of a config.json; registries are host names, with a port where one was given."""

    path: Path | None = None
    auths: Mapping[str, RegistryLogin] = field(default_factory=dict)
    helpers: Mapping[str, str] = field(default_factory=dict)
    """Registry to the program that knows its password."""
    store: str | None = None
    """The program that knows all others."""

    @classmethod
    def read_file(cls, path: Path) -> "DockerConfig":
        """The file at `path`, or nothing when there is none; RegistryError when it can't be
        understood."""
        try:
            with path.open("rb") as stream:
                content = stream.read(LARGEST + 1)
        except FileNotFoundError:
            return cls()
        except OSError as error:
            raise RegistryError(f"{path} can't be read: {error.strerror}") from error
        if len(content) > LARGEST:
            raise RegistryError(
                f"{path} is larger than {LARGEST} bytes",
                hint="name another folder with DOCKER_CONFIG",
            )
        try:
            document = json.loads(content)
            auths = {
                _normalise_host(name): _read_login(entry)
                for name, entry in (document.get("auths") or {}).items()
            }
            helpers = {
                _normalise_host(name): _check_helper(helper)
                for name, helper in (document.get("credHelpers") or {}).items()
            }
            store = _check_helper(document["credsStore"]) if document.get("credsStore") else None
        except (ValueError, AttributeError, TypeError, RecursionError, binascii.Error) as error:
            raise RegistryError(
                f"{path} is not a Docker config file: {error}",
                hint="correct it, or name another folder with DOCKER_CONFIG",
            ) from error
        return cls(
            path,
            {name: login for name, login in auths.items() if login is not None},
            helpers,
            store,
        )

    def find_login(self, registry: str) -> RegistryLogin | None:
        """Return credentials for `registry`; None to go without. Blocks while a helper works."""
        helper = self.helpers.get(registry, self.store)
        if helper is not None and (found := _ask_helper(helper, registry)) is not None:
            return found
        return self.auths.get(registry)


def _normalise_host(name: str) -> str:
    """`https://index.docker.io/v1/` and `ghcr.io/` as the host names that refs have."""
    host = re.sub(r"^https?://", "", name).rstrip("/")
    host = re.sub(r"/v[12]$", "", host)
    return (
        HUB
        if host in ("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")
        else host
    )


def _read_login(entry: Mapping[str, Any]) -> RegistryLogin | None:
    user, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        user, _, password = (
            base64.b64decode(entry["auth"], validate=True).decode().rstrip("\0").partition(":")
        )
    if entry.get("identitytoken"):
        return RegistryLogin(user, str(entry["identitytoken"]), identity=True)
    return RegistryLogin(user, password) if user and password else None


def _check_helper(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", name):
        raise ValueError(f"`{name}` is not a credential helper")
    return f"docker-credential-{name}"


def _ask_helper(helper: str, registry: str) -> RegistryLogin | None:
    """Return the login that a helper has. One that is not installed, or has none, is not a login: the
    image may be public."""
    server = "https://index.docker.io/v1/" if registry == HUB else registry
    try:
        done = subprocess.run(
            [helper, "get"],
            input=server.encode(),
            capture_output=True,
            check=False,
            timeout=HELPER_SECONDS,
        )
        login = json.loads(done.stdout[:LARGEST]) if done.returncode == 0 else {}
        user, secret = str(login.get("Username") or ""), str(login.get("Secret") or "")
    except (OSError, subprocess.TimeoutExpired, ValueError, AttributeError):
        return None
    return RegistryLogin(user, secret, identity=user == "<token>") if secret else None
