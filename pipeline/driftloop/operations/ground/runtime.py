"""The API of what runs, as a command finds it."""

from collections.abc import Mapping

from driftloop.clients.kubernetes import KubernetesClient
from driftloop.local.ground.state import StateFolder


def find_runtime(
    state: StateFolder, environment: Mapping[str, str], *, repository: str | None = None
) -> KubernetesClient | None:
    """Return the API that shows what is applied: of the running `up`, or
    DRIFTLOOP_KUBERNETES_URL; None without.

    An `up` that follows another repository than `repository` is left out.
    """
    port = state.known_ports().get("api")
    follows = repository in (None, state.repository_url)
    if follows and port is not None and state.find_holder() is not None:
        return KubernetesClient.from_url(f"http://127.0.0.1:{port}")
    url = environment.get("DRIFTLOOP_KUBERNETES_URL")
    return KubernetesClient.from_url(url) if url else None


def follows_here(state: StateFolder, api: KubernetesClient) -> bool:
    """Return True if an API is that of the `up` of this state folder, which knows no users."""
    return api.url == f"http://127.0.0.1:{state.known_ports().get('api')}"
