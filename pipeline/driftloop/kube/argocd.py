"""argoproj.io/v1alpha1 of Argo CD: AppProject, Application."""

from typing import Annotated, Literal

from pydantic import Field

from driftloop.kube.base import KubernetesObject, ObjectMeta, ObjectPart


class ApplicationMeta(ObjectMeta):
    """Metadata of an object that is removed after what it has made."""

    finalizers: tuple[str, ...] | None = None


class ApplicationDestination(ObjectPart):
    """A cluster and a namespace in it."""

    server: str
    namespace: str


class GroupKind(ObjectPart):
    """A kind of objects."""

    group: str
    kind: str


class DestinationAccount(ObjectPart):
    """Account by whose rights everything is applied to a destination, where Argo CD impersonates."""

    server: str
    namespace: str
    default_service_account: str
    """`<namespace>:<name>`."""


class AppProjectSpec(ObjectPart):
    """What Applications may apply, and where."""

    description: str
    source_repos: tuple[str, ...]
    destinations: tuple[ApplicationDestination, ...]
    cluster_resource_whitelist: tuple[GroupKind, ...]
    namespace_resource_whitelist: tuple[GroupKind, ...]
    destination_service_accounts: tuple[DestinationAccount, ...]


class AppProject(KubernetesObject):
    """Bounds of some Applications."""

    api_version: Literal["argoproj.io/v1alpha1"] = "argoproj.io/v1alpha1"
    kind: Literal["AppProject"] = "AppProject"
    spec: AppProjectSpec


class ApplicationDirectory(ObjectPart):
    """How the files of a folder without a kustomization.yaml are read."""

    recurse: bool


class ApplicationSource(ObjectPart):
    """A folder of a repository."""

    repo_url: Annotated[str, Field(alias="repoURL")]
    target_revision: str
    path: str
    directory: ApplicationDirectory | None = None


class AutomatedSync(ObjectPart):
    """Sync without anybody's asking."""

    prune: bool
    self_heal: bool
    allow_empty: bool | None = None
    """Whether a commit may leave nothing of what was applied."""


class RetryBackoff(ObjectPart):
    """Time between two attempts."""

    duration: str
    factor: int
    max_duration: str


class SyncRetry(ObjectPart):
    """What is done after a sync that failed."""

    limit: int
    """Attempts; below 0 there is no end."""
    refresh: bool
    """Attempt the newest commit, not the one that failed."""
    backoff: RetryBackoff


class SyncPolicy(ObjectPart):
    """When and how a folder is applied."""

    automated: AutomatedSync
    retry: SyncRetry
    sync_options: tuple[str, ...]


class ApplicationSpec(ObjectPart):
    """A folder of a repository that Argo CD applies."""

    project: str
    source: ApplicationSource
    destination: ApplicationDestination
    sync_policy: SyncPolicy


class Application(KubernetesObject):
    """A folder that Argo CD applies, and how."""

    api_version: Literal["argoproj.io/v1alpha1"] = "argoproj.io/v1alpha1"
    kind: Literal["Application"] = "Application"
    metadata: ApplicationMeta
    spec: ApplicationSpec
