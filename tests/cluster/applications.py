"""Applications as Argo CD 3.5 has written them, shortened."""

from typing import Any

Json = dict[str, Any]

REPOSITORY = "https://git.acme.example/ml/cluster.git"
OLD, COMMIT = "a" * 40, "b" * 40
HEALTHY = {"status": "Healthy"}
DENIED = "resource rbac.authorization.k8s.io:ClusterRole is not permitted in project digits-access"
DRY_RUN = (
    "Failed to compare desired state to live state: failed to calculate diff: error calculating server side diff: "
    "serverSideDiff error: error running server side apply in dryrun mode for resource ServiceAccount/digits-model: "
    ".automountServiceAccountToken: expected boolean, got &{maybe}"
)


def application(name: str, status: Json | None, **spec: Any) -> Json:
    """An Application of a pipeline's tree."""
    automated = {"automated": {"prune": True, "selfHeal": True}}
    source = {"repoURL": REPOSITORY, "targetRevision": "main", "path": f"driftloop/prod/{name}"}
    return {
        "metadata": {
            "name": name,
            "namespace": "argocd",
            "labels": {"app.kubernetes.io/managed-by": "driftloop"},
        },
        "spec": {"project": "digits-access", "source": source, "syncPolicy": automated, **spec},
        **({} if status is None else {"status": status}),
    }


def synced(commit: str, *, health: Json = HEALTHY, at: str = "2026-11-30T22:18:24Z") -> Json:
    return {
        "health": health,
        "history": [{"revision": OLD}],
        "operationState": {"phase": "Succeeded", "message": "successfully synced (all tasks run)"},
        "reconciledAt": at,
        "sync": {"status": "Synced", "revision": commit},
    }


def retried(commit: str, at: str = "2026-11-30T22:22:22Z") -> Json:
    """A commit that the project does not allow; between two attempts the phase is Running."""
    return {
        "health": HEALTHY,
        "history": [{"revision": OLD}],
        "operationState": {
            "phase": "Running",
            "message": f"one or more synchronization tasks are not valid: {DENIED}. Retrying attempt #2 at 10:22PM.",
            "syncResult": {
                "revision": commit,
                "resources": [
                    {"kind": "Role", "name": "digits-finish", "status": "Synced"},
                    {
                        "kind": "ClusterRole",
                        "name": "more",
                        "status": "SyncFailed",
                        "message": DENIED,
                    },
                ],
            },
        },
        "reconciledAt": at,
        "sync": {"status": "OutOfSync", "revision": commit},
    }


def uncompared(revision: str, message: str) -> Json:
    """A commit, or with a repository that can't be read its branch, that could not be compared."""
    return {
        "conditions": [{"type": "ComparisonError", "message": message}],
        "health": HEALTHY,
        "history": [{"revision": OLD}],
        "operationState": {"phase": "Succeeded", "message": "successfully synced (all tasks run)"},
        "reconciledAt": "2026-11-30T22:23:00Z",
        "sync": {"status": "Unknown", "revision": revision},
    }


NEW = {
    "health": {"status": "Missing"},
    "reconciledAt": "2026-11-30T22:17:00Z",
    "sync": {"status": "OutOfSync", "revision": COMMIT},
}
