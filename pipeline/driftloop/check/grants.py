"""Rights by which Flux itself applies what a set shows."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from driftloop.check.world import Object


def list_flux_roles(
    kustomizations: "Iterable[Object]", bindings: "Iterable[Object]", namespace: str
) -> set[str]:
    """Return the Roles of a namespace that nobody has but the accounts by which Flux applies."""
    accounts = {
        (item.namespace, item.spec.get("serviceAccountName").text) for item in kustomizations
    }
    return {
        binding.node.get("roleRef", "name").text
        for binding in bindings
        if binding.namespace == namespace
        and {
            (subject.get("namespace").text, subject.get("name").text)
            for subject in binding.node.get("subjects").list
        }
        <= accounts
    }


def grants_creation(roles: "Iterable[Object]", plural: str) -> bool:
    """Return True if one of the Roles lets somebody create objects of a kind."""
    return any(
        plural in (node.text for node in item.get("resources").list)
        and {"create", "*"} & {node.text for node in item.get("verbs").list}
        for role in roles
        for item in role.node.get("rules").list
    )
