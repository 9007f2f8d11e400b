"""Addresses and keys of the local platform, as the environment variables that other programs
read."""

import json

from driftloop.contract.platform import ACCESS_KEY, GIT_URL, S3_ENDPOINT, S3_REGION, SECRET_KEY
from driftloop.errors import LocalError
from driftloop.local.ground.state import StateFolder

REPOSITORY_VARIABLE = "DRIFTLOOP_CLUSTER_REPOSITORY"
"""The cluster repository for `git clone`. No command reads it: exported in one project, it must
not direct a commit of another one."""


def read_environment(state: StateFolder) -> dict[str, str]:
    """Return environment variables by name; LocalError when nothing was started in the folder
    yet."""
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
        REPOSITORY_VARIABLE: config[GIT_URL.key],
    }
