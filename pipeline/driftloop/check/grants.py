"""Rights by which Flux itself applies what a set shows."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from driftloop.check.world import Object


def list_accounts(kustomizations: "Iterable[Object]") -> set[tuple[str, str]]:
    """Return namespace and name of the accounts by which Flux applies these Kustomizations."""
    return {(item.namespace, item.spec.get("serviceAccountName").text) for item in kustomizations}


def list_subjects(binding: "Object") -> set[tuple[str, str]]:
    """Return namespace and name of those whom a binding grants its role."""
    return {
        (subject.get("namespace").text, subject.get("name").text)
        for subject in binding.node.get("subjects").list
    }


def grants_creation(roles: "Iterable[Object]", plural: str) -> bool:
    """Return True if one of the Roles lets somebody create objects of a kind."""
    return any(
        plural in (node.text for node in item.get("resources").list)
        and {"create", "*"} & {node.text for node in item.get("verbs").list}
        for role in roles
        for item in role.node.get("rules").list
    )
