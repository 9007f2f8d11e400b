"""Addresses and keys of the local platform, as the environment variables that other programs
read."""

import json

from driftloop.contract.platform import ACCESS_KEY, GIT_URL, S3_ENDPOINT, S3_REGION, SECRET_KEY
from driftloop.errors import LocalError
from driftloop.local.ground.state import StateFolder


def ensure_state(state: StateFolder) -> None:
    """Raise LocalError unless the folder is a state folder."""
    if not state.exists():
        raise LocalError(
            f"`{state.root}` is not a state folder",
            hint="name the one of `driftloop up` with --state",
        )


def read_environment(state: StateFolder) -> dict[str, str]:
    """Return environment variables by name; LocalError when nothing was started in the folder
    yet."""
    ensure_state(state)
    try:
        platform = json.loads(state.platform.read_text())
    except FileNotFoundError as error:
        raise LocalError(
            f"nothing was started in {state.root}", hint="start it with `driftloop up`"
        ) from error
    config, secret = platform["configMap"], platform["secret"]
    return {
        **{setting.environment: config[setting.key] for setting in (S3_ENDPOINT, S3_REGION)},
        **{setting.environment: secret[setting.key] for setting in (ACCESS_KEY, SECRET_KEY)},
        "DRIFTLOOP_GATEWAY": f"http://127.0.0.1:{state.known_ports()['gateway']}",
        GIT_URL.environment: config[GIT_URL.key],
    }
