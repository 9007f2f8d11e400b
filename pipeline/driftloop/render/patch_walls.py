"""What a patch may not touch: the walls between a person's code and the cluster, and the order of a run."""

from collections.abc import Iterator, Mapping
from typing import Any

from driftloop.contract.marks import find_mark_owner
from driftloop.contract.names import TOKEN_SUFFIX
from driftloop.contract.platform import OBJECTS
from driftloop.render.patches import Object
from driftloop.resources.parts import HARDENED, READ_ONLY

_KINDS: Mapping[str, str] = {
    **dict.fromkeys(("Role", "RoleBinding"), "rights in the cluster are driftloop's to give"),
    **dict.fromkeys(
        ("NetworkPolicy", "AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"),
        "it says what pods reach and who reaches them; a policy of your own beside it can open more",
    ),
    "Secret": "it holds a token of the cluster",
    "Namespace": "it says which standard its pods keep",
}
_KEYS: Mapping[str, str] = {
    **dict.fromkeys(
        ("securityContext", "hostNetwork", "hostPID", "hostIPC", "hostUsers", "hostPath"),
        "what pods may do is within the namespace's standard",
    ),
    **dict.fromkeys(
        (
            *("serviceAccountName", "serviceAccount", "automountServiceAccountToken"),
            *("serviceAccountToken", "executor", "shareProcessNamespace"),
        ),
        "a pod's account is a wall between a person's code and the cluster",
    ),
    "podSpecPatch": "Argo would put it over all walls",
    **dict.fromkeys(
        ("dag", "synchronization", "onExit", "entrypoint"),
        "the order of a run is what keeps claim and gates before what follows",
    ),
    "selector": "pods are found by it",
}
"""Keys that stay as they are, at any depth, and why."""
_HARDENED = tuple(context.dump_object() for context in (HARDENED, READ_ONLY))

Facts = dict[str, tuple[Any, str]]
"""Place -> what is there, and why it stays."""


def list_breaches(before: Object, after: Object) -> Iterator[str]:
    """Yield what patches have made of an object that they may not."""
    kind = str(before.get("kind"))
    if kind in _KINDS:
        yield f"changes {kind} `{before['metadata']['name']}`, must leave it: {_KINDS[kind]}"
        return
    old, new = _collect(before), _collect(after)
    for place in dict.fromkeys((*old, *new)):
        was, why = old.get(place, (None, ""))
        now, now_why = new.get(place, (None, ""))
        if was == now or (place.endswith(_CONTAINER) and place not in new):
            continue
        if place.endswith(_CONTAINER) and place not in old:
            if now["securityContext"] not in _HARDENED:
                yield (
                    f"adds the container {place.removesuffix(_CONTAINER)}, whose `securityContext` must be "
                    f"{_HARDENED[0]}, with `readOnlyRootFilesystem: true` or without"
                )
            continue
        yield f"changes {place}, must leave it: {why or now_why}"


_CONTAINER = " as a container"


def _collect(document: Object) -> Facts:
    facts: Facts = {
        key: (document.get(key), "an object stays what it is") for key in ("apiVersion", "kind")
    }
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    for key in ("name", "namespace"):
        facts[f"metadata.{key}"] = (metadata.get(key), "others find the object by it")
    for place, value, why in _walk(document, ""):
        facts[place] = (value, why)
    return facts


def _walk(value: Any, path: str) -> Iterator[tuple[str, Any, str]]:
    """Yield what stays below a place."""
    if isinstance(value, list):
        for number, item in enumerate(value):
            name = item.get("name", number) if isinstance(item, dict) else number
            yield from _walk(item, f"{path}[{name}]")
        return
    if not isinstance(value, dict):
        return
    if value.get("name") == "claim" and "container" in value:
        yield path, value, "the claim keeps two runs apart"
        return
    if "image" in value:
        yield from _walk_container(value, path)
    for key, member in value.items():
        here = f"{path}.{key}" if path else str(key)
        if key in _KEYS and not (key == "securityContext" and "image" in value):
            yield here, member, _KEYS[key]
        elif key in ("labels", "annotations") and isinstance(member, dict):
            for name, mark in member.items():
                if (why := find_mark_owner(str(name))) is not None:
                    yield f"{here}[{name}]", mark, why
        elif key in ("secretKeyRef", "secretRef", "secret") and isinstance(member, dict):
            name = str(member.get("name") or member.get("secretName") or "")
            if name in OBJECTS or name.endswith(TOKEN_SUFFIX):
                yield (
                    here,
                    member,
                    "it holds keys of the platform, which a person's code gets no part of",
                )
        else:
            yield from _walk(member, here)


def _walk_container(value: Object, path: str) -> Iterator[tuple[str, Any, str]]:
    program = (value.get("command") or [""])[0]
    own = isinstance(program, str) and program.startswith("driftloop")
    kept = {
        "securityContext": value.get("securityContext"),
        **({key: value.get(key) for key in ("command", "args")} if own else {}),
    }
    yield (
        f"{path}{_CONTAINER}",
        kept,
        "what it may do is within the namespace's standard, and what driftloop's own programs are told is said by other "
        "fields",
    )
