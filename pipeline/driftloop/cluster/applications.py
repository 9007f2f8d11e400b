"""An Application of Argo CD, as its controller has written it: which commit it has applied, and why it has not applied
another."""

import re
from typing import Any

Json = dict[str, Any]

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
FAILED = ("Failed", "Error")
"""Phases of a sync that did not do it."""


def read_applied_commit(application: Json | None) -> str:
    """Return the commit that was applied last; empty before the first.

    What is compared is applied as soon as nothing differs from it: a commit that changes nothing below the path needs
    no sync.
    """
    status = (application or {}).get("status") or {}
    compared = status.get("sync") or {}
    if compared.get("status") == "Synced":
        return str(compared.get("revision") or "")
    history = status.get("history") or [{}]
    return str(history[-1].get("revision") or "")


def read_compared_commit(application: Json) -> str:
    """Return the commit that is compared with; empty where the repository can't be read, and a branch stands there."""
    revision = str(((application.get("status") or {}).get("sync") or {}).get("revision") or "")
    return revision if _COMMIT.fullmatch(revision) else ""


def describe_refusal(application: Json) -> str:
    """Return why Argo CD does not apply what it compares with, in its own words; empty where nothing says so."""
    status = application.get("status") or {}
    if (status.get("sync") or {}).get("status") == "Synced":
        return ""
    # a repository that can't be read, a kind that the project does not allow
    errors = [
        str(each.get("message", ""))
        for each in status.get("conditions") or ()
        if str(each.get("type", "")).endswith("Error")
    ]
    last = status.get("operationState") or {}
    # between two attempts the phase is Running
    failed = [
        f"{each.get('kind')} {each.get('name')}: {each.get('message', '')}"
        for each in (last.get("syncResult") or {}).get("resources") or ()
        if each.get("status") == "SyncFailed"
    ]
    said = dict.fromkeys((*failed, *errors))
    if not said and last.get("phase") in FAILED:
        said = {str(last.get("message") or ""): None}
    return " ".join("; ".join(said).split())


def describe_health(application: Json) -> str:
    """Return what keeps what is applied from being healthy; empty when it is."""
    health = (application.get("status") or {}).get("health") or {}
    state = str(health.get("status") or "not known")
    if state == "Healthy":
        return ""
    return f"{state}: {health['message']}" if health.get("message") else state


def is_suspended(application: Json) -> bool:
    """Return True when no commit is applied until somebody asks for it."""
    automated = (application["spec"].get("syncPolicy") or {}).get("automated")
    return automated is None or automated.get("enabled") is False
