"""DL8xx: secrets in the open, and doors that anybody can use."""

import base64
import re
from collections.abc import Iterator

from driftloop.check.finding import RuleMatch, Severity, rule
from driftloop.check.world import (
    EVENT_SOURCE,
    GATEWAY,
    SECRET,
    TEMPLATE,
    VIRTUAL_SERVICE,
    World,
)
from driftloop.text.node import YamlNode
from driftloop.text.read import read


@rule(
    "DL801",
    "A Secret is written in plain",
    fix="seal it or encrypt it with sops (`driftloop seal` does both) or name one that is made elsewhere, and change what was written here",
)
def plain_secret(world: World) -> Iterator[RuleMatch]:
    """Whoever can read the repository has the credential, for ever: it stays in the history
    after it is removed. base64 does not encrypt."""
    for secret in world.of(SECRET):
        if secret.host is not None:
            continue
        is_encrypted = bool(secret.node.get("sops"))
        for field in ("data", "stringData"):
            for node in secret.node.get(field).map.values():
                text = _decoded(node.text) if field == "data" else node.text
                if is_encrypted and node.text.startswith("ENC["):
                    continue
                if text and not _elsewhere(node.text) and not _opens_nothing(text):
                    yield secret.at(secret.node.get(field), f"`{field}` holds values in plain")
                    break
    for folder, kustomization in world.kustomizations.items():
        for item in kustomization.get("secretGenerator").list:
            for literal in item.get("literals").list:
                if (value := literal.text.partition("=")[2]) and not _elsewhere(value):
                    where = world.kustomization_file(folder)
                    name = item.get("name").shown
                    yield RuleMatch(
                        where, *literal.place, "", f"`secretGenerator` {name} holds values in plain"
                    )
                    break


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except ValueError:
        return text


_CREDENTIAL = re.compile(
    r"pass|pwd|secret|token|key|cred|auth|priv|cert|sign|sas|conn|dsn|user|login|account|id$", re.I
)
_OPEN = ("anonymous", "no_auth", "public")


def _opens_nothing(text: str) -> bool:
    """Return True if a value is settings that say that nobody signs in: `anonymous: true`, and
    no field for a credential with anything in it."""
    reading = read(text)
    if reading.problems or len(reading.documents) != 1 or not reading.documents[0].map:
        return False
    fields = [
        (key, node)
        for _, mapping in reading.documents[0].mappings()
        for key, node in mapping.map.items()
        if not isinstance(node.value, dict | list)
    ]
    return any(
        key.lower() in _OPEN and node.value in (True, "true") for key, node in fields
    ) and not any(
        (
            _CREDENTIAL.search(key)
            and key.lower() not in _OPEN
            and node.value not in ("", None, False)
        )
        or "@" in node.text
        for key, node in fields
    )


def _elsewhere(text: str) -> bool:
    """Return True if a value is sealed, or put in its place by another program."""
    text_inside = text.strip()
    return "{{" in text_inside or text_inside.startswith(
        ("ENC[", "${", "op://", "ref+", "vault:", "<path:")
    )


@rule(
    "DL802",
    "A webhook takes events from anybody",
    severity=Severity.WARNING,
    fix="give it `authSecret: {name: …, key: …}`",
)
def open_webhook(world: World) -> Iterator[RuleMatch]:
    """Whoever reaches the port starts runs: training on demand for strangers, and a retrain loop
    that anyone can drive."""
    for source in world.of(EVENT_SOURCE):
        for name, node in source.spec.get("webhook").map.items():
            if node.map and not node.get("authSecret"):
                yield source.at(node, f"webhook `{name}` has no `authSecret`")


@rule(
    "DL803",
    "A host of `*` without a path of its own",
    severity=Severity.WARNING,
    fix="name the host, or match a path of your own and guard the gateway with an AuthorizationPolicy",
)
def any_host(world: World) -> Iterator[RuleMatch]:
    """Every request that reaches the gateway under any name goes there, also those meant for
    another service, and nothing asks who sends them."""
    guarded = {
        item.namespace
        for item in world.of(
            ("security.istio.io", "AuthorizationPolicy"),
            ("security.istio.io", "RequestAuthentication"),
        )
    }
    for item in world.of(GATEWAY):
        for server in item.spec.get("servers").list:
            for node in server.get("hosts").list:
                if node.text.rpartition("/")[2] == "*" and item.namespace not in guarded:
                    yield item.at(
                        node,
                        "every host is let in, and no AuthorizationPolicy in the gateway's namespace guards it",
                    )
    for item in world.of(VIRTUAL_SERVICE):
        gateways = [node.text for node in item.spec.get("gateways").list if node.text != "mesh"]
        for node in item.spec.get("hosts").list:
            if (
                node.text == "*"
                and gateways
                and any(_every(route) for route in item.spec.get("http").list)
            ):
                yield item.at(
                    node, "every host and every path: the route takes all requests of the gateway"
                )


def _every(route: YamlNode) -> bool:
    """Return True if a route takes every request: it has no `match`, or one of all paths and
    nothing else."""
    catches_all = [
        list(match.map) == ["uri"] and match.get("uri", "prefix").text == "/"
        for match in route.get("match").list
    ]
    return not catches_all or any(catches_all)


@rule(
    "DL804",
    "A person's code holds a Kubernetes token",
    fix="set `automountServiceAccountToken: false` on the workflow, with `executor.serviceAccountName`; "
    "give a token to the steps of driftloop that need one",
)
def token_beside_code(world: World) -> Iterator[RuleMatch]:
    """Whoever wrote the image, or a package in it, acts at the API server as the step's account.
    Looked for in the workflows that driftloop renders, where it is known which steps are its own."""
    for entry in world.of(TEMPLATE):
        labels = entry.node.get("metadata", "labels")
        if labels.get("app.kubernetes.io/managed-by").text != "driftloop":
            continue
        general = entry.spec.get("automountServiceAccountToken")
        for template in entry.spec.get("templates").list:
            container, own = template.get("container"), template.get("automountServiceAccountToken")
            token = general if own.missing else own
            program = next((node.text for node in container.get("command").list), "")
            is_ours = program == "driftloop" and not template.get("sidecars").list
            if container.map and not is_ours and token.value is not False:
                yield entry.at(
                    template.get("name"), f"step {template.get('name').shown} runs with a token"
                )
