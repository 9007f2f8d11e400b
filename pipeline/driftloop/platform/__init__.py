"""The platform file of a cluster: what a platform engineer says of it, beside the trees that are rendered for it."""

from driftloop.platform.file import (
    PlatformFile,
    default_platform,
    find_platforms,
    parse_platform,
    platform_schema,
)

__all__ = [
    "PlatformFile",
    "default_platform",
    "find_platforms",
    "parse_platform",
    "platform_schema",
]
