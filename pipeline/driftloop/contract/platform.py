"""Settings of the ConfigMap and the Secret `driftloop-platform`, and of the Secrets `driftloop-git`,
`driftloop-signing` and `driftloop-tracking`: what differs from place to place.

Each pipeline namespace has the first three; one whose pipelines sign nothing does without the signing
key, and one whose tracking server asks for no credential without the last. Pods get
single keys as environment variables; commands on a person's machine read the same variables. The
table `SETTINGS` is the only list of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from driftloop.contract.accounts import RIGHTS, NatsRole
from driftloop.contract.names import (
    GATEWAY_URL,
    GIT_SECRET,
    LOGS,
    NATS_URL,
    PLATFORM,
    SIGNING_SECRET,
    STORAGE_URL,
    TRACKING_SECRET,
)
from driftloop.errors import PipelineError


class MissingSettingError(PipelineError):
    """A setting of `driftloop-platform` is not in the environment."""


@dataclass(frozen=True)
class Setting:
    """One key of `driftloop-platform`."""

    key: str
    environment: str
    """Environment variable that carries it into pods; empty when none does."""
    kind: Literal["ConfigMap", "Secret"]
    """Object that holds the key."""
    description: str
    example: str
    home: str = PLATFORM
    """Name of that object."""
    optional: bool = False
    """Pods start without it."""

    @property
    def place(self) -> str:
        """Place of the setting as a hint names it."""
        return f"key `{self.key}` of the {self.kind} `{self.home}` in the pipeline's namespace"

    def read(self, environment: Mapping[str, str]) -> str:
        """Return the value in an environment; MissingSettingError when it is unset or empty."""
        value = environment.get(self.environment, "")
        if not value:
            raise MissingSettingError(
                f"{self.environment} is not set", hint=f"it comes from {self.place}"
            )
        return value


S3_ENDPOINT = Setting(
    "s3-endpoint", "AWS_ENDPOINT_URL", "ConfigMap", "URL of the object store", STORAGE_URL
)
S3_REGION = Setting(
    "s3-region", "AWS_DEFAULT_REGION", "ConfigMap", "Region of the object store", "us-east-1"
)
S3_BUCKET = Setting(
    "s3-bucket", "DRIFTLOOP_BUCKET", "ConfigMap", "Bucket of runs and models", "driftloop"
)
NATS = Setting("nats-url", "", "ConfigMap", "Address of NATS with JetStream", NATS_URL)
NATS_ROLES: Mapping[NatsRole, Setting] = {
    role: Setting(
        f"nats-{role}",
        {NatsRole.READER: "NATS_READER_URL", NatsRole.BUS: ""}.get(role, "NATS_URL"),
        "Secret",
        f"User and password of NATS for {rights.description}"
        if role is NatsRole.BUS
        else f"URL of NATS for {rights.description}",
        "…",
    )
    for role, rights in RIGHTS.items()
}
"""A user of NATS each, with its password; a pod has those that its program connects as."""
GIT_URL = Setting(
    "git-url",
    "DRIFTLOOP_GIT_URL",
    "ConfigMap",
    "URL of the cluster repository, without credentials",
    "https://github.com/acme/cluster.git",
)
GIT_BRANCH = Setting(
    "git-branch", "DRIFTLOOP_GIT_BRANCH", "ConfigMap", "Branch that Flux follows", "main"
)
KUBERNETES_URL = Setting(
    "kubernetes-url",
    "DRIFTLOOP_KUBERNETES_URL",
    "ConfigMap",
    "URL of the API server",
    "https://kubernetes.default.svc",
)
GATEWAY = Setting(
    "gateway-url", "DRIFTLOOP_GATEWAY_URL", "ConfigMap", "URL of the ingress gateway", GATEWAY_URL
)
CONSOLE_URL = Setting(
    "console-url",
    "DRIFTLOOP_CONSOLE_URL",
    "ConfigMap",
    "Address of the console in a browser, for the links of dashboards; without it they say that there is none",
    "https://console.example.org",
    optional=True,
)
ARTIFACT_REPOSITORY = Setting(
    "artifact-repository",
    "",
    "ConfigMap",
    "Argo's artifact repository as YAML, made from the s3 settings",
    "s3: {endpoint: …, bucket: driftloop, …}",
)
ACCESS_KEY = Setting(
    "accesskey", "AWS_ACCESS_KEY_ID", "Secret", "Access key of the object store", "AKIAEXAMPLE"
)
SECRET_KEY = Setting(
    "secretkey", "AWS_SECRET_ACCESS_KEY", "Secret", "Secret key of the object store", "…"
)
WEBHOOK_TOKEN = Setting(
    "webhook-token",
    "DRIFTLOOP_WEBHOOK_TOKEN",
    "Secret",
    "Bearer token of the webhook and of the decision service's suspend and resume",
    "…",
)
GIT_USERNAME = Setting(
    "git-username",
    "DRIFTLOOP_GIT_USERNAME",
    "Secret",
    "User that pushes releases",
    "driftloop-bot",
    home=GIT_SECRET,
)
GIT_PASSWORD = Setting(
    "git-password",
    "DRIFTLOOP_GIT_PASSWORD",
    "Secret",
    "Password or access token of that user; empty: git asks for none",
    "…",
    home=GIT_SECRET,
)
SIGNING_KEYS = Setting(
    "signing-keys",
    "DRIFTLOOP_SIGNING_KEYS",
    "ConfigMap",
    "Public keys whose signatures of releases count, one a line, in minisign's format; the first is "
    "that of `signing-key`",
    "RWQAAQIDBAUGBwOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4",
)
SIGNING_KEY = Setting(
    "signing-key",
    "DRIFTLOOP_SIGNING_KEY",
    "Secret",
    "Key that signs releases, in minisign's format, without a password",
    "…",
    home=SIGNING_SECRET,
)
MLFLOW_USERNAME = Setting(
    "mlflow-username",
    "MLFLOW_TRACKING_USERNAME",
    "Secret",
    "User of the MLflow server that a spec's `tracking` names",
    "driftloop",
    home=TRACKING_SECRET,
    optional=True,
)
MLFLOW_PASSWORD = Setting(
    "mlflow-password",
    "MLFLOW_TRACKING_PASSWORD",
    "Secret",
    "Password of that user",
    "…",
    home=TRACKING_SECRET,
    optional=True,
)
MLFLOW_TOKEN = Setting(
    "mlflow-token",
    "MLFLOW_TRACKING_TOKEN",
    "Secret",
    "Bearer token of that server, in place of user and password",
    "…",
    home=TRACKING_SECRET,
    optional=True,
)

SETTINGS: tuple[Setting, ...] = (
    S3_ENDPOINT,
    S3_REGION,
    S3_BUCKET,
    NATS,
    GIT_URL,
    GIT_BRANCH,
    KUBERNETES_URL,
    GATEWAY,
    CONSOLE_URL,
    ARTIFACT_REPOSITORY,
    SIGNING_KEYS,
    ACCESS_KEY,
    SECRET_KEY,
    *NATS_ROLES.values(),
    WEBHOOK_TOKEN,
    GIT_USERNAME,
    GIT_PASSWORD,
    SIGNING_KEY,
    MLFLOW_USERNAME,
    MLFLOW_PASSWORD,
    MLFLOW_TOKEN,
)
"""Every setting, in the order in which the objects list them."""

CONFIG_KEYS = tuple(setting.key for setting in SETTINGS if setting.kind == "ConfigMap")
SECRET_KEYS: Mapping[str, tuple[str, ...]] = {
    home: tuple(item.key for item in SETTINGS if (item.kind, item.home) == ("Secret", home))
    for home in (PLATFORM, GIT_SECRET, SIGNING_SECRET, TRACKING_SECRET)
}
"""Name of each Secret -> its keys."""
OBJECTS = frozenset({PLATFORM, *SECRET_KEYS})
"""Names of the ConfigMap and the Secrets of the platform."""
NEEDED_CONFIG_KEYS = tuple(
    key for key in CONFIG_KEYS if key not in (SIGNING_KEYS.key, CONSOLE_URL.key)
)
NEEDED_SECRET_KEYS: Mapping[str, tuple[str, ...]] = {
    home: keys
    for home, keys in SECRET_KEYS.items()
    if home not in (SIGNING_SECRET, TRACKING_SECRET)
}
"""Without what only pipelines need that sign their releases, or are tracked."""
BY_KEY: Mapping[str, Setting] = {setting.key: setting for setting in SETTINGS}
BY_ENVIRONMENT: Mapping[str, Setting] = {
    setting.environment: setting
    for setting in SETTINGS
    if setting.environment and setting not in NATS_ROLES.values()
}
"""Settings that one environment variable carries everywhere."""

STORAGE_VARIABLES = tuple(
    setting.environment for setting in (S3_ENDPOINT, S3_REGION, S3_BUCKET, ACCESS_KEY, SECRET_KEY)
)
"""Environment variables of a pod that uses the object store."""
GIT_VARIABLES = tuple(
    setting.environment for setting in (GIT_URL, GIT_BRANCH, GIT_USERNAME, GIT_PASSWORD)
)
"""Environment variables of a pod that commits."""
TRACKING_SETTINGS = (MLFLOW_USERNAME, MLFLOW_PASSWORD, MLFLOW_TOKEN)
"""Credential of a tracking server: user and password, or a token."""
TRACKING_VARIABLES = tuple(setting.environment for setting in TRACKING_SETTINGS)


def select_secret(name: str, values: Mapping[str, str]) -> dict[str, str] | None:
    """Return the keys of one Secret out of the values of all; None for a Secret that is none of them."""
    keys = SECRET_KEYS.get(name)
    return None if keys is None else {key: values[key] for key in keys if key in values}


def nats_url(address: str, user: str, password: str) -> str:
    """Return the URL of NATS with a user's credential."""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{user}:{password}@{rest}"


def event_bus_credential(user: str, password: str) -> str:
    """Return a credential as Argo Events reads it from a Secret."""
    return f"username: {user}\npassword: {password}\n"


def rclone_settings(endpoint: str, access_key: str, secret_key: str) -> dict[str, str]:
    """Return the Secret's further keys: the credentials as Seldon's rclone initializer reads
    them."""
    return {
        "RCLONE_CONFIG_S3_TYPE": "s3",
        "RCLONE_CONFIG_S3_PROVIDER": "Other",
        "RCLONE_CONFIG_S3_ENV_AUTH": "false",
        "RCLONE_CONFIG_S3_ACCESS_KEY_ID": access_key,
        "RCLONE_CONFIG_S3_SECRET_ACCESS_KEY": secret_key,
        "RCLONE_CONFIG_S3_ENDPOINT": endpoint,
    }


def artifact_repository(
    host: str,
    *,
    insecure: bool,
    bucket: str,
    region: str,
    create_bucket: bool,
    is_keyless: bool = False,
) -> dict[str, Any]:
    """Return Argo's artifact repository; `host` is `host:port` without a scheme, as Argo wants
    it. Without keys Argo's containers use the identity of the step's pod."""
    keys: dict[str, Any] = {
        "accessKeySecret": {"name": PLATFORM, "key": ACCESS_KEY.key},
        "secretKeySecret": {"name": PLATFORM, "key": SECRET_KEY.key},
    }
    created: dict[str, Any] = {"createBucketIfNotPresent": {}} if create_bucket else {}
    return {
        "s3": {
            "endpoint": host,
            "insecure": insecure,
            "bucket": bucket,
            "region": region,
            **created,
            "keyFormat": LOGS,
            **({"useSDKCreds": True} if is_keyless else keys),
        }
    }
