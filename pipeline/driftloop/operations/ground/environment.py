"""Addresses and keys of the local platform, as the environment variables that other programs
read."""

from driftloop.contract.platform import (
    ACCESS_KEY,
    GATEWAY,
    GIT_URL,
    S3_ENDPOINT,
    S3_REGION,
    SECRET_KEY,
)
from driftloop.local.ground.settings import LocalSettings
from driftloop.local.ground.state import StateFolder

REPOSITORY_VARIABLE = "DRIFTLOOP_CLUSTER_REPOSITORY"
"""The cluster repository for `git clone`. No command reads it: exported in one project, it must
not direct a commit of another one."""


def read_environment(state: StateFolder) -> dict[str, str]:
    """Return environment variables by name; LocalError when nothing was started in the folder
    yet."""
    settings = LocalSettings.load(state)
    return {
        **settings.export((S3_ENDPOINT, S3_REGION, ACCESS_KEY, SECRET_KEY)),
        "DRIFTLOOP_GATEWAY": settings[GATEWAY],
        REPOSITORY_VARIABLE: settings[GIT_URL],
    }
