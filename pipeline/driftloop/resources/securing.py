"""Users, groups and rights of pods: what a role says, over what all have."""

from typing import Any

from driftloop.kube import core
from driftloop.resources import parts
from driftloop.spec.pods import PodSettings, find_security


def secure_pod(settings: PodSettings) -> core.PodSecurityContext:
    """Return users and groups of a role's pods."""
    security = find_security(settings)
    given: dict[str, Any] = {
        "run_as_user": security.run_as_user,
        "run_as_group": security.run_as_group,
        "fs_group": security.fs_group,
        "supplemental_groups": security.supplemental_groups or None,
    }
    changed = {name: value for name, value in given.items() if value is not None}
    return parts.POD.model_copy(update=changed)


def secure_container(container: core.Container, settings: PodSettings) -> core.Container:
    """Return a container of a person's code with the rights of its role."""
    if not find_security(settings):
        return container
    context = container.security_context or parts.HARDENED
    return container.model_copy(update={"security_context": give_rights(context, settings)})


def give_rights(context: core.SecurityContext, settings: PodSettings) -> core.SecurityContext:
    """Return the security context of a person's container with the rights of its role."""
    security = find_security(settings)
    changed: dict[str, Any] = {}
    if security.capabilities.add:
        changed["capabilities"] = core.Capabilities(add=security.capabilities.add, drop=("ALL",))
    if (profile := security.seccomp_profile) is not None:
        changed["seccomp_profile"] = core.SeccompProfile(
            type=profile.type, localhost_profile=profile.localhost_profile
        )
    if security.read_only_root_filesystem is not None:
        changed["read_only_root_filesystem"] = security.read_only_root_filesystem
    return context.model_copy(update=changed)
