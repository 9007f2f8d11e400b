"""The platform file of a cluster: what a platform engineer says of it, beside the trees that are rendered for it."""

from driftloop.platform.file import (
    PlatformFile,
    default_platform,
    find_platforms,
    parse_platform,
    platform_schema,
)
from driftloop.platform.model import Platform, PlatformSpec

__all__ = [
    "Platform",
    "PlatformFile",
    "PlatformSpec",
    "default_platform",
    "find_platforms",
    "parse_platform",
    "platform_schema",
]
