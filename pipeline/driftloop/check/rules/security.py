"""DL8xx: secrets in the open, and doors that anybody can use."""

from collections.abc import Iterator

from driftloop.check.finding import Found, Severity, rule
from driftloop.check.world import EVENT_SOURCE, GATEWAY, SECRET, VIRTUAL_SERVICE, World
from driftloop.text.node import Node


@rule(
    "DL801",
    "A Secret is written in plain",
    fix="seal it (`driftloop seal`) or name one that is made elsewhere, and change what was written here",
)
def plain_secret(world: World) -> Iterator[Found]:
    """Whoever can read the repository has the credential, for ever: it stays in the history after it is removed.
    base64 is no encryption."""
    for one in world.of(SECRET):
        if one.node.get("sops") or one.host is not None:
            continue
        for field in ("data", "stringData"):
            for node in one.node.get(field).map.values():
                if node.text and not _elsewhere(node.text):
                    yield one.at(one.node.get(field), f"`{field}` holds values in plain")
                    break
    for folder, kustomization in world.kustomizations.items():
        for item in kustomization.get("secretGenerator").list:
            for literal in item.get("literals").list:
                if (value := literal.text.partition("=")[2]) and not _elsewhere(value):
                    where = world.kustomization_file(folder)
                    name = item.get("name").shown
                    yield Found(where, *literal.place, "", f"`secretGenerator` {name} holds values in plain")
                    break


def _elsewhere(text: str) -> bool:
    """Whether a value is sealed, or put in its place by another program."""
    found = text.strip()
    return "{{" in found or found.startswith(("ENC[", "${", "op://", "ref+", "vault:", "<path:"))


@rule(
    "DL802",
    "A webhook takes events from anybody",
    severity=Severity.WARNING,
    fix="give it `authSecret: {name: …, key: …}`",
)
def open_webhook(world: World) -> Iterator[Found]:
    """Whoever reaches the port starts runs: training on demand for strangers, and a retrain loop that anyone can
    drive."""
    for one in world.of(EVENT_SOURCE):
        for name, node in one.spec.get("webhook").map.items():
            if node.map and not node.get("authSecret"):
                yield one.at(node, f"webhook `{name}` has no `authSecret`")


@rule(
    "DL803",
    "A host of `*` without a path of its own",
    severity=Severity.WARNING,
    fix="name the host, or match a path of your own and guard the gateway with an AuthorizationPolicy",
)
def any_host(world: World) -> Iterator[Found]:
    """Every request that reaches the gateway under any name goes there, also those meant for another service, and
    nothing asks who sends them."""
    guarded = {
        one.namespace
        for one in world.of(
            ("security.istio.io", "AuthorizationPolicy"), ("security.istio.io", "RequestAuthentication")
        )
    }
    for one in world.of(GATEWAY):
        for server in one.spec.get("servers").list:
            for node in server.get("hosts").list:
                if node.text.rpartition("/")[2] == "*" and one.namespace not in guarded:
                    yield one.at(
                        node,
                        "every host is let in, and no AuthorizationPolicy in the gateway's namespace guards it",
                    )
    for one in world.of(VIRTUAL_SERVICE):
        gateways = [node.text for node in one.spec.get("gateways").list if node.text != "mesh"]
        for node in one.spec.get("hosts").list:
            if node.text == "*" and gateways and any(_every(route) for route in one.spec.get("http").list):
                yield one.at(node, "every host and every path: the route takes all requests of the gateway")


def _every(route: Node) -> bool:
    """Whether a route takes every request: it has no `match`, or one of all paths and nothing else."""
    found = [list(match.map) == ["uri"] and match.get("uri", "prefix").text == "/" for match in route.get("match").list]
    return not found or any(found)
