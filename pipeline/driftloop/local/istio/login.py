"""The gateway's login: RequestAuthentications and AuthorizationPolicies as the two filters that Istio
makes of them, `jwt_authn` and `rbac`.

A token that comes must be valid, wherever it leads; one that does not come is the policies' matter.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from driftloop.contract.names import GATEWAY_LABELS, ISTIO_NAMESPACE, KEY_HEADER, TOKEN_HEADER
from driftloop.contract.trees import ACCESS, CLUSTER
from driftloop.errors import LocalError
from driftloop.local.ground import kinds
from driftloop.local.ground.binaries import find_certificates

Resource = dict[str, Any]
Object = Mapping[str, Any]

LOGIN_KINDS = (
    ("security.istio.io", "RequestAuthentication"),
    ("security.istio.io", "AuthorizationPolicy"),
)
SELECTOR = {"matchLabels": GATEWAY_LABELS}

AUTHENTICATION = frozenset({"selector", "jwtRules"})
JWT_RULE = frozenset(
    {"issuer", "audiences", "jwksUri", "jwks", "fromHeaders", "forwardOriginalToken"}
)
FROM_HEADER = frozenset({"name", "prefix"})
POLICY = frozenset({"selector", "action", "rules"})
RULE = frozenset({"from", "to", "when"})
SOURCE = frozenset({"requestPrincipals", "notRequestPrincipals"})
OPERATION = frozenset({"paths", "notMethods"})
WHEN = frozenset({"key", "values", "notValues"})

VERIFY, GUARD = "envoy.filters.http.jwt_authn", "envoy.filters.http.rbac"
"""Names of the two filters; what the first one knows of a token is kept under its name."""
_TYPE = "type.googleapis.com/envoy"
VERIFY_TYPE = f"{_TYPE}.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
GUARD_TYPE = f"{_TYPE}.extensions.filters.http.rbac.v3.RBAC"
_FETCH = {"seconds": 5 * 60}

# As cluster/infrastructure/configs/login.envoyfilter.yaml: who brings no token is told to bring one.
UNKNOWN_CALLER: Resource = {
    "filter": {
        "and_filter": {
            "filters": [
                {
                    "status_code_filter": {
                        "comparison": {
                            "op": "EQ",
                            "value": {"default_value": 403, "runtime_key": "driftloop.refused"},
                        }
                    }
                },
                {
                    "header_filter": {
                        "header": {"name": ":path", "string_match": {"prefix": "/seldon/"}}
                    }
                },
                *(
                    {
                        "header_filter": {
                            "header": {"name": name, "present_match": True, "invert_match": True}
                        }
                    }
                    for name in (TOKEN_HEADER, KEY_HEADER)
                ),
                # a token that was verified is not among the headers any more
                {
                    "metadata_filter": {
                        "matcher": {
                            "filter": VERIFY,
                            "path": [{"key": "payload"}, {"key": "iss"}],
                            "value": {"string_match": {"exact": ""}},
                        },
                        "match_if_key_not_found": True,
                    }
                },
            ]
        }
    },
    "status_code": 401,
    "headers_to_add": [{"header": {"key": "www-authenticate", "value": "Bearer"}}],
    "body_format_override": {
        "text_format_source": {
            "inline_string": "this model answers who brings a token or a key of its pipeline\n"
        }
    },
}


def is_login(item: Object) -> bool:
    """Return True for an object that says who may ask at the gateway, wherever its namespace is."""
    place = (item.get("metadata") or {}).get("namespace"), (item.get("spec") or {}).get("selector")
    return kinds.object_kind(item) in LOGIN_KINDS and place == (ISTIO_NAMESPACE, SELECTOR)


def refuse_two_gateways(objects: Iterable[Object]) -> None:
    """LocalError when logins are of different gateways: here is one."""
    places = {
        f"{item['metadata'].get('namespace')} {json.dumps(item['spec']['selector'])}"
        for item in objects
    }
    if len(places) > 1:
        raise LocalError(
            f"{CLUSTER}/<cluster>/{ACCESS}/ has logins of {len(places)} gateways: {', '.join(sorted(places))}",
            hint="a cluster's platform file names one gateway: `driftloop commit` each pipeline again",
        )


def validate_login(item: Object) -> None:
    """LocalError when a RequestAuthentication or AuthorizationPolicy of the gateway says something
    that would not be done here."""
    if kinds.object_kind(item) == LOGIN_KINDS[0]:
        list(_list_providers([item]))
    else:
        list(_list_policies([item]))


def build_verifier(objects: Iterable[Object]) -> Resource:
    """Build the filter that verifies tokens, and takes those out of a request that it has verified."""
    providers = dict(_list_providers(objects))
    if not providers:
        return {"@type": VERIFY_TYPE}
    each = [{"provider_name": name} for name in providers]
    optional = [{"requires_any": {"requirements": [one, {"allow_missing": {}}]}} for one in each]
    # of several any will do, or none: a token is one of these at most
    anyone = (
        {"requires_any": {"requirements": [*each, {"requires_all": {"requirements": optional}}]}}
        if len(each) > 1
        else optional[0]
    )
    return {
        "@type": VERIFY_TYPE,
        "providers": providers,
        "rules": [{"match": {"prefix": "/"}, "requires": anyone}],
        "bypass_cors_preflight": True,
    }


def build_guard(objects: Iterable[Object]) -> Resource:
    """Build the filter that refuses what a policy denies, and counts it by policy and rule."""
    policies = dict(_list_policies(objects))
    if not policies:
        return {"@type": GUARD_TYPE}
    return {
        "@type": GUARD_TYPE,
        "rules": {"action": "DENY", "policies": policies},
        "track_per_rule_stats": True,
    }


def build_key_servers(objects: Iterable[Object]) -> list[Resource]:
    """Build the clusters of the servers that issuers publish their keys at."""
    uris = {uri for item in objects for rule in _read_rules(item) if (uri := rule.get("jwksUri"))}
    return [cluster for _, cluster in sorted(dict(map(_build_server, uris)).items())]


def join_logins(new: Sequence[Object], old: Sequence[Object]) -> tuple[Object, ...]:
    """Objects during a change of routes: all new ones, and old ones that a route may still need."""
    names = set(map(kinds.object_identity, new))
    return (*new, *(item for item in old if kinds.object_identity(item) not in names))


def _read_rules(item: Object) -> Sequence[Mapping[str, Any]]:
    if kinds.object_kind(item) != LOGIN_KINDS[0]:
        return ()
    rules: Sequence[Mapping[str, Any]] = item["spec"].get("jwtRules") or ()
    return rules


def _list_providers(objects: Iterable[Object]) -> Iterator[tuple[str, Resource]]:
    for item in objects:
        if kinds.object_kind(item) != LOGIN_KINDS[0]:
            continue
        _check_place(item, AUTHENTICATION)
        for index, rule in enumerate(_read_rules(item)):
            _refuse_keys(item, rule, "spec.jwtRules[]", JWT_RULE)
            yield f"{item['metadata']['name']}/{index}", _build_provider(item, rule)


def _build_provider(item: Object, rule: Mapping[str, Any]) -> Resource:
    places = rule.get("fromHeaders")
    if not places:
        raise LocalError(
            f"{kinds.format_object(item)}: `spec.jwtRules[].fromHeaders` is missing: a token in an address "
            "ends up in logs",
            hint="name the header, such as `fromHeaders: [{name: Authorization, prefix: 'Bearer '}]`",
        )
    for place in places:
        _refuse_keys(item, place, "spec.jwtRules[].fromHeaders[]", FROM_HEADER)
    return {
        "issuer": rule["issuer"],
        **({"audiences": list(rule["audiences"])} if rule.get("audiences") else {}),
        "from_headers": [
            {
                "name": place["name"],
                **({"value_prefix": place["prefix"]} if place.get("prefix") else {}),
            }
            for place in places
        ],
        "forward": bool(rule.get("forwardOriginalToken", False)),
        "payload_in_metadata": "payload",
        **_build_keys(item, rule),
    }


def _build_keys(item: Object, rule: Mapping[str, Any]) -> Resource:
    if ("jwks" in rule) == ("jwksUri" in rule):
        raise LocalError(
            f"{kinds.format_object(item)}: issuer {rule['issuer']} must have either `jwks` or `jwksUri`",
            hint="Istio would look for the keys at the issuer: write what its openid-configuration says",
        )
    if "jwks" in rule:
        return {"local_jwks": {"inline_string": _read_key_set(item, rule["jwks"])}}
    uri = str(rule["jwksUri"])
    return {
        "remote_jwks": {
            "http_uri": {"uri": uri, "cluster": _build_server(uri)[0], "timeout": "5s"},
            "cache_duration": _FETCH,
            "async_fetch": {"fast_listener": True, "failed_refetch_duration": "5s"},
        }
    }


def _read_key_set(item: Object, text: str) -> str:
    """Return a key set; LocalError for a text that is none."""
    try:
        keys = json.loads(text)["keys"]
    except (ValueError, TypeError, KeyError) as error:
        raise LocalError(
            f"{kinds.format_object(item)}: `spec.jwtRules[].jwks` is no JSON Web Key Set: {error!r}",
            hint='write `{"keys": […]}`',
        ) from error
    if not keys:
        raise LocalError(
            f"{kinds.format_object(item)}: `spec.jwtRules[].jwks` has no key",
            hint="leave the rule out: nobody's tokens count",
        )
    return text


def _build_server(uri: str) -> tuple[str, Resource]:
    """Return name and cluster of the server of a key set."""
    url = urlsplit(uri)
    host, secure = url.hostname or "", url.scheme == "https"
    port = url.port or (443 if secure else 80)
    name = f"keys|{port}||{host}"
    address = {"socket_address": {"address": host, "port_value": port}}
    return name, {
        "@type": f"{_TYPE}.config.cluster.v3.Cluster",
        "name": name,
        "type": "LOGICAL_DNS",
        "dns_lookup_family": "V4_PREFERRED",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        **({"transport_socket": _wrap_transport(host)} if secure else {}),
    }


def _wrap_transport(host: str) -> Resource:
    """Build TLS to a host, whose certificate must be its own and of an authority that is trusted here."""
    validation = {
        "trusted_ca": {"filename": find_certificates()},
        "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": host}}],
    }
    return {
        "name": "tls",
        "typed_config": {
            "@type": f"{_TYPE}.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": host,
            "common_tls_context": {"validation_context": validation},
        },
    }


def _list_policies(objects: Iterable[Object]) -> Iterator[tuple[str, Resource]]:
    for item in objects:
        if kinds.object_kind(item) != LOGIN_KINDS[1]:
            continue
        _check_place(item, POLICY)
        spec = item["spec"]
        if spec.get("action") != "DENY":
            raise LocalError(
                f"{kinds.format_object(item)}: `spec.action` is {spec.get('action')}, must be DENY: what else "
                "the gateway lets in is the platform's",
                hint="write `action: DENY`, and name who is let in by `notRequestPrincipals`",
            )
        for index, rule in enumerate(spec.get("rules") or ()):
            _refuse_keys(item, rule, "spec.rules[]", RULE)
            yield f"{item['metadata']['name']}/{index}", _build_policy(item, rule)


def _build_policy(item: Object, rule: Mapping[str, Any]) -> Resource:
    sources = [
        _build_source(item, _only(item, entry, "from[]", "source"))
        for entry in rule.get("from") or ()
    ]
    operations = [
        _build_operation(item, _only(item, entry, "to[]", "operation"))
        for entry in rule.get("to") or ()
    ]
    conditions = [_build_condition(item, entry) for entry in rule.get("when") or ()]
    principals = [*([_any_of(sources)] if sources else []), *conditions] or [{"any": True}]
    return {
        "permissions": operations or [{"any": True}],
        "principals": [{"and_ids": {"ids": principals}}],
    }


def _any_of(ids: list[Resource]) -> Resource:
    return {"or_ids": {"ids": ids}}


def _build_source(item: Object, source: Mapping[str, Any]) -> Resource:
    _refuse_keys(item, source, "spec.rules[].from[].source", SOURCE)
    ids: list[Resource] = []
    if "requestPrincipals" in source:
        ids.append(_any_of([_match_principal(one) for one in source["requestPrincipals"]]))
    if "notRequestPrincipals" in source:
        others = _any_of([_match_principal(one) for one in source["notRequestPrincipals"]])
        ids.append({"not_id": others})
    return {"and_ids": {"ids": ids or [{"any": True}]}}


def _match_principal(text: str) -> Resource:
    """Match `ISSUER/SUBJECT`: as Istio does, the last slash is the one between them."""
    issuer, _, subject = ("*", "", "*") if text == "*" else text.rpartition("/")
    return {
        "and_ids": {
            "ids": [
                _match_claim("iss", {"string_match": _match_text(issuer)}),
                _match_claim("sub", {"string_match": _match_text(subject)}),
            ]
        }
    }


def _match_claim(claim: str, value: Resource) -> Resource:
    path = [{"key": "payload"}, {"key": claim}]
    return {
        "sourced_metadata": {"metadata_matcher": {"filter": VERIFY, "path": path, "value": value}}
    }


def _match_text(text: str) -> Resource:
    """Match a text, by its start before `*`, or by its end after one; `*` is any but an empty one."""
    if text == "*":
        return {"safe_regex": {"regex": ".+"}}
    if text.endswith("*"):
        return {"prefix": text[:-1]}
    return {"suffix": text[1:]} if text.startswith("*") else {"exact": text}


def _build_operation(item: Object, operation: Mapping[str, Any]) -> Resource:
    _refuse_keys(item, operation, "spec.rules[].to[].operation", OPERATION)
    rules: list[Resource] = []
    if "paths" in operation:
        paths = [{"url_path": {"path": _match_text(path)}} for path in operation["paths"]]
        rules.append({"or_rules": {"rules": paths}})
    for method in operation.get("notMethods") or ():
        match = {"name": ":method", "string_match": _match_text(method)}
        rules.append({"not_rule": {"header": match}})
    return {"and_rules": {"rules": rules or [{"any": True}]}}


def _build_condition(item: Object, condition: Mapping[str, Any]) -> Resource:
    _refuse_keys(item, condition, "spec.rules[].when[]", WHEN)
    match = _choose_condition(item, str(condition["key"]))
    ids: list[Resource] = []
    if "values" in condition:
        ids.append(_any_of([match(_match_text(value)) for value in condition["values"]]))
    if "notValues" in condition:
        ids.append(
            {"not_id": _any_of([match(_match_text(value)) for value in condition["notValues"]])}
        )
    return {"and_ids": {"ids": ids or [{"any": True}]}}


def _choose_condition(item: Object, key: str) -> Callable[[Resource], Resource]:
    kind, bracket, name = key.removesuffix("]").partition("[")
    if kind == "request.headers" and bracket:
        return lambda text: {"header": {"name": name, "string_match": text}}
    if kind == "request.auth.claims" and bracket and "[" not in name:
        # a claim is a text, or a list of them
        return lambda text: _any_of(
            [
                _match_claim(name, {"string_match": text}),
                _match_claim(name, {"list_match": {"one_of": {"string_match": text}}}),
            ]
        )
    raise LocalError(
        f"{kinds.format_object(item)}: `spec.rules[].when[].key` is `{key}`, which is not supported by the "
        "local runtime",
        hint="supported: request.headers[NAME], request.auth.claims[NAME]",
    )


def _check_place(item: Object, allowed: frozenset[str]) -> None:
    """LocalError for one that the gateway would not see, or that others would."""
    spec = item["spec"]
    _refuse_keys(item, spec, "spec", allowed)
    if not (spec.get("selector") or {}).get("matchLabels"):
        raise LocalError(
            f"{kinds.format_object(item)}: `spec.selector` is {json.dumps(spec.get('selector'))}, must be the "
            f"gateway's, such as {json.dumps(SELECTOR)}",
            hint=f"only the gateway's login belongs into {CLUSTER}/<cluster>/{ACCESS}/",
        )


def _only(item: Object, entry: Mapping[str, Any], where: str, key: str) -> Mapping[str, Any]:
    _refuse_keys(item, entry, f"spec.rules[].{where}", frozenset({key}))
    value: Mapping[str, Any] = entry[key]
    return value


def _refuse_keys(
    item: Object, value: Mapping[str, Any], where: str, allowed: frozenset[str]
) -> None:
    hint = f"supported in {where}: {', '.join(sorted(allowed))}"
    kinds.refuse_other_keys(kinds.format_object(item), where, value, allowed, hint=hint)
