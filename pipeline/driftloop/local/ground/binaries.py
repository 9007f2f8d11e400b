"""The programs that come inside wheels: their own files are run, not pip's launchers, which would
stay in between. And what of the machine itself these need.
"""

import os
import shutil
import ssl
import sys
from importlib.util import find_spec
from pathlib import Path

from driftloop.errors import InstallationError
from driftloop.extras import build_missing_error, write_install_command

_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def find_nats_server() -> str:
    """NATS with JetStream."""
    return _find_script("nats-server")


def find_rclone() -> str:
    """rclone, whose `serve s3` is the object store."""
    return _find_script("rclone")


def find_envoy() -> str:
    """Envoy."""
    spec = find_spec("envoy")
    for folder in spec.submodule_search_locations or () if spec else ():
        file = Path(folder) / "_bin" / "envoy"
        if os.access(file, os.X_OK):
            return str(file)
    raise build_missing_error("the local runtime", ["envoy"], "local")


def find_uv() -> str:
    """uv, which builds environments of roles."""
    try:
        from uv import find_uv_bin
    except ModuleNotFoundError:
        raise build_missing_error("building an environment", ["uv"], "local") from None
    return find_uv_bin()


def find_git() -> str:
    """Return the path of git, which does not come as a wheel."""
    program = shutil.which("git")
    if program is None:
        raise InstallationError(
            "the program `git` is missing", hint="install git with the system's package manager"
        )
    return program


def _find_script(name: str) -> str:
    file = Path(sys.prefix) / "bin" / name
    if not os.access(file, os.X_OK):
        raise build_missing_error("the local runtime", [name], "local")
    with file.open("rb") as stream:
        if stream.read(2) == b"#!":
            raise InstallationError(
                f"{file} is a launcher script, not the program itself",
                hint=f"install it with `{write_install_command('local')}`",
            )
    return str(file)


def find_certificates() -> str:
    """Return the file with the certificates of the authorities that are trusted here: OpenSSL's own, or
    where a distribution has it."""
    own = ssl.get_default_verify_paths().cafile
    for file in (own, *_CERTIFICATES):
        if file is not None and Path(file).is_file():
            return file
    raise InstallationError(
        f"no file of trusted certificates, looked for {', '.join(_CERTIFICATES)}",
        hint="name one in SSL_CERT_FILE",
    )
