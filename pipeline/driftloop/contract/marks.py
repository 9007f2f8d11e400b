"""Labels and annotations of pods that a spec can't set: driftloop, or what it stands on, finds pods by them."""

from collections.abc import Mapping

from driftloop.contract.names import API_GROUP, COMPONENT_LABEL, MANAGED_BY_LABEL, NAME_LABEL

_FOUND = "Services, NetworkPolicies and metrics find driftloop's pods by it"
_NAMES: Mapping[str, str] = {
    **dict.fromkeys((NAME_LABEL, COMPONENT_LABEL, MANAGED_BY_LABEL), _FOUND),
    **dict.fromkeys(
        ("app", "version", "fluentd", "seldon-app", "seldon-deployment-id"),
        "Seldon's operator sets it",
    ),
    **dict.fromkeys(
        ("eventsource-name", "sensor-name", "owner-name", "controller"), "Argo Events sets it"
    ),
    "pod-template-hash": "Kubernetes sets it",
    "sidecar.istio.io/inject": "a sidecar would keep a finished step's pod from ending",
}
_DOMAINS: Mapping[str, str] = {
    API_GROUP: "driftloop's own begin so",
    "workflows.argoproj.io": "Argo's own begin so",
    "seldon.io": "Seldon's own begin so",
    "prometheus.io": "driftloop says by it what is scraped",
}


def find_mark_owner(name: str) -> str | None:
    """Return why a spec can't set a label or annotation; None where it can."""
    return _NAMES.get(name) or _DOMAINS.get(name.partition("/")[0] if "/" in name else "")
