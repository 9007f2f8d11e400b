"""The platform's own parts (NATS, object store, Envoy, broker, Argo's stand-in) and what pods are
told about them.
"""

import contextlib
import importlib.util
import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from driftloop.contract import platform as contract
from driftloop.contract.accounts import NatsRole
from driftloop.local.ground import binaries, files
from driftloop.local.ground.addresses import BRANCH, BUCKET, REGION, proxy_environment
from driftloop.local.ground.settings import LocalSettings
from driftloop.local.ground.state import StateFolder, replace_file
from driftloop.local.istio.envoy import ADMIN_SOCKET
from driftloop.local.kubelet.devices import VENDORS
from driftloop.local.kubelet.process import (
    HttpProbe,
    LivenessCheck,
    Probe,
    ProcessSpec,
    SocketProbe,
    TcpProbe,
)
from driftloop.local.up.signing import ensure_signing_keys
from driftloop.text.dump import dump_yaml

# Broker events are bounded at 1 MiB of body; headers and the JetStream envelope come on top.
_NATS_PAYLOAD = 4 * 1024 * 1024
_NATS_USER = "driftloop"
CONSOLE_LIBRARIES = ("jinja2", "starlette", "uvicorn")
"""What the console needs besides; the extra `local` has it."""


def _ask_part(probe: Probe) -> LivenessCheck:
    """A part that answers no more, though it runs, as when it is frozen, is found within 25 s."""
    return LivenessCheck(replace(probe, timeout=10.0), period=5.0, failures=2)


def build_settings(
    state: StateFolder, ports: Mapping[str, int]
) -> tuple[dict[str, str], dict[str, str]]:
    """ConfigMap and Secret `driftloop-platform`, also written to run/platform.json."""
    access, secret = state.ensure_secret("s3-access", 20), state.ensure_secret("s3-secret", 40)
    endpoint = f"127.0.0.1:{ports['s3']}"
    repository = contract.artifact_repository(
        endpoint, insecure=True, bucket=BUCKET, region=REGION, create_bucket=False
    )
    address, password = f"nats://127.0.0.1:{ports['nats']}", _nats_password(state)
    nats = contract.nats_url(address, _NATS_USER, password)
    signing, trusted = ensure_signing_keys(state)
    config = {
        contract.S3_ENDPOINT.key: f"http://{endpoint}",
        contract.S3_REGION.key: REGION,
        contract.S3_BUCKET.key: BUCKET,
        contract.NATS.key: nats,
        contract.GIT_URL.key: state.repository_url,
        contract.GIT_BRANCH.key: BRANCH,
        contract.KUBERNETES_URL.key: f"http://127.0.0.1:{ports['api']}",
        contract.GATEWAY.key: f"http://127.0.0.1:{ports['gateway']}",
        contract.ARTIFACT_REPOSITORY.key: dump_yaml(repository),
        contract.SIGNING_KEYS.key: trusted,
    }
    secrets = {
        contract.ACCESS_KEY.key: access,
        contract.SECRET_KEY.key: secret,
        **{setting.key: nats for setting in contract.NATS_ROLES.values()},
        contract.NATS_ROLES[NatsRole.BUS].key: contract.event_bus_credential(_NATS_USER, password),
        contract.WEBHOOK_TOKEN.key: state.ensure_secret(contract.WEBHOOK_TOKEN.key, 48),
        contract.GIT_USERNAME.key: "",
        contract.GIT_PASSWORD.key: "",
        contract.SIGNING_KEY.key: signing,
        **_read_tracking_credential(state),
        **contract.rclone_settings(f"http://{endpoint}", access, secret),
    }
    LocalSettings(config, secrets).save(state)
    return config, secrets


def _read_tracking_credential(state: StateFolder) -> dict[str, str]:
    """Return what a person has put into files of `secrets/`: mlflow-token, or mlflow-username and
    mlflow-password."""
    found = {}
    for setting in contract.TRACKING_SETTINGS:
        with contextlib.suppress(FileNotFoundError):
            found[setting.key] = files.read_text(state.secrets / setting.key).strip()
    return {key: value for key, value in found.items() if value}


def list_store_programs(
    state: StateFolder, ports: Mapping[str, int], *, envoy_bootstrap: Path
) -> tuple[ProcessSpec, ...]:
    """The parts in the order they start; they stop in the reverse order."""
    state.s3.joinpath(BUCKET).mkdir(parents=True, exist_ok=True)
    return (
        _nats_program(state, ports),
        _s3_program(state, ports),
        _envoy_program(state, envoy_bootstrap),
    )


def list_service_programs(state: StateFolder, ports: Mapping[str, int]) -> tuple[ProcessSpec, ...]:
    """Our own stand-ins, which need the parts above."""
    return (
        _module_program(state, ports, "broker", "driftloop.local.knative", "broker"),
        _module_program(state, ports, "argo", "driftloop.local.argo_run", "webhook"),
    )


def build_console_program(state: StateFolder, ports: Mapping[str, int]) -> ProcessSpec | None:
    """The console, with a new key; None where its libraries are not installed."""
    if any(importlib.util.find_spec(name) is None for name in CONSOLE_LIBRARIES):
        return None
    replace_file(state.console_key, secrets.token_urlsafe(32) + "\n", mode=0o600)
    program = _module_program(state, ports, "console", "driftloop.console", "console")
    # it asks nobody through Envoy, and its actions are those of the person's own shell
    own = {name: value for name, value in os.environ.items() if name not in program.env}
    return replace(program, env={**own, **program.env, "NO_PROXY": "*", "no_proxy": "*"})


def _nats_program(state: StateFolder, ports: Mapping[str, int]) -> ProcessSpec:
    config = state.run / "nats.conf"
    replace_file(
        config,
        "\n".join(
            [
                f"listen: 127.0.0.1:{ports['nats']}",
                f"http: 127.0.0.1:{ports['nats-monitor']}",
                f"max_payload: {_NATS_PAYLOAD}",
                f'authorization {{ user: "{_NATS_USER}", password: "{_nats_password(state)}" }}',
                "server_name: driftloop",
                # a killed server loses nothing it acknowledged; this bounds what a power cut may take
                f'jetstream {{ store_dir: "{state.nats}", sync_interval: "10s", max_mem: 64MB, max_file: 20GB }}',
                "",
            ]
        ),
        mode=0o600,
    )
    return ProcessSpec(
        name="nats",
        argv=(binaries.find_nats_server(), "-c", str(config)),
        log=state.logs / "nats.log",
        cwd=state.nats,
        env={**_base_environment(), "GOMEMLIMIT": "200MiB"},
        probe=HttpProbe(ports["nats-monitor"], "/healthz?js-enabled-only=true"),
        # a store that refuses writes is the storage watch's affair
        liveness=_ask_part(HttpProbe(ports["nats-monitor"], "/varz", refused=True)),
        grace=15,
    )


def _nats_password(state: StateFolder) -> str:
    return state.ensure_secret("nats-password", 48)


def _s3_program(state: StateFolder, ports: Mapping[str, int]) -> ProcessSpec:
    access, secret = state.ensure_secret("s3-access", 20), state.ensure_secret("s3-secret", 40)
    return ProcessSpec(
        name="s3",
        argv=(
            binaries.find_rclone(),
            "serve",
            "s3",
            "--addr",
            f"127.0.0.1:{ports['s3']}",
            # other processes (and people) put files into the folder too
            "--dir-cache-time",
            "2s",
            "--no-cleanup",
            str(state.s3),
        ),
        log=state.logs / "s3.log",
        cwd=state.s3,
        # the environment, since every user of the machine may read a command line
        env={
            **_base_environment(),
            "RCLONE_AUTH_KEY": f'"{access},{secret}"',
            "RCLONE_CONFIG": "/dev/null",
            "GOMEMLIMIT": "150MiB",
        },
        probe=TcpProbe(ports["s3"]),
        liveness=_ask_part(HttpProbe(ports["s3"], refused=True)),
    )


def _envoy_program(state: StateFolder, bootstrap: Path) -> ProcessSpec:
    return ProcessSpec(
        name="envoy",
        argv=(
            binaries.find_envoy(),
            "-c",
            str(bootstrap),
            "--concurrency",
            str(min(2, os.cpu_count() or 1)),
            "--use-dynamic-base-id",
            "-l",
            "warning",
            "--drain-time-s",
            "5",
        ),
        log=state.logs / "envoy.log",
        cwd=bootstrap.parent,
        env=_base_environment(),
        # no port: whoever reaches this interface may drain the gateway
        probe=SocketProbe(bootstrap.with_name(ADMIN_SOCKET), "/ready"),
        liveness=_ask_part(SocketProbe(bootstrap.with_name(ADMIN_SOCKET), "/ready")),
    )


def _module_program(
    state: StateFolder, ports: Mapping[str, int], name: str, module: str, port: str
) -> ProcessSpec:
    return ProcessSpec(
        name=name,
        argv=(sys.executable, "-m", module, "--state", str(state.root)),
        log=state.logs / f"{name}.log",
        cwd=state.run,
        env={
            **_base_environment(),
            **proxy_environment(ports["proxy"]),
            **_device_environment(),
            "PYTHONUNBUFFERED": "1",
        },
        probe=TcpProbe(ports[port]),
        # without NATS they answer 503, and wait for it
        liveness=_ask_part(HttpProbe(ports[port], "/healthz", refused=True)),
        grace=15,
    )


def _base_environment() -> dict[str, str]:
    path = os.pathsep.join(
        dict.fromkeys([f"{sys.prefix}/bin", "/usr/local/bin", "/usr/bin", "/bin", _git_folder()])
    )
    return {"PATH": path, "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8"}


def _device_environment() -> dict[str, str]:
    """Return the variables that limit the visible GPUs, as far as they are set."""
    return {
        vendor.variable: os.environ[vendor.variable]
        for vendor in VENDORS
        if vendor.variable in os.environ
    }


def _git_folder() -> str:
    return str(Path(shutil.which("git") or "/usr/bin/git").parent)
