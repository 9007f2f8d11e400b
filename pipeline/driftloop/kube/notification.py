"""notification.toolkit.fluxcd.io/v1beta3 of Flux, and monitoring.coreos.com/v1alpha1 AlertmanagerConfig: who is told of what."""

from typing import Literal

from pydantic import Field

from driftloop.kube.base import KubernetesObject, ObjectPart
from driftloop.kube.core import KeySelector, LocalReference


class ProviderSpec(ObjectPart):
    """A place that messages go to."""

    type: Literal["slack", "msteams", "generic"]
    channel: str | None = None
    secret_ref: LocalReference
    """Its key `address` is the URL."""


class Provider(KubernetesObject):
    """A place that Flux' notification-controller posts to."""

    api_version: Literal["notification.toolkit.fluxcd.io/v1beta3"] = (
        "notification.toolkit.fluxcd.io/v1beta3"
    )
    kind: Literal["Provider"] = "Provider"
    spec: ProviderSpec


class EventSource(ObjectPart):
    """An object of Flux whose events are told."""

    kind: Literal["Kustomization"] = "Kustomization"
    name: str


class AlertSpec(ObjectPart):
    """Which events go to which place."""

    provider_ref: LocalReference
    event_severity: Literal["info", "error"]
    event_sources: tuple[EventSource, ...]


class Alert(KubernetesObject):
    """Events of Flux that are told."""

    api_version: Literal["notification.toolkit.fluxcd.io/v1beta3"] = (
        "notification.toolkit.fluxcd.io/v1beta3"
    )
    kind: Literal["Alert"] = "Alert"
    spec: AlertSpec


class SlackConfig(ObjectPart):
    """A Slack channel."""

    api_url: KeySelector = Field(alias="apiURL")
    channel: str | None = None
    send_resolved: bool = True


class TeamsConfig(ObjectPart):
    """A workflow of Microsoft Teams that takes posts."""

    webhook_url: KeySelector = Field(alias="webhookURL")
    send_resolved: bool = True


class WebhookConfig(ObjectPart):
    """Any HTTP endpoint."""

    url_secret: KeySelector
    send_resolved: bool = True


class EmailConfig(ObjectPart):
    """Mail by an SMTP server."""

    to: str
    from_: str = Field(alias="from")
    smarthost: str
    auth_username: str | None = None
    auth_password: KeySelector | None = None
    send_resolved: bool = True


class AlertReceiver(ObjectPart):
    """Places that alerts go to, under one name."""

    name: str
    slack_configs: tuple[SlackConfig, ...] | None = None
    msteamsv2_configs: tuple[TeamsConfig, ...] | None = None
    webhook_configs: tuple[WebhookConfig, ...] | None = None
    email_configs: tuple[EmailConfig, ...] | None = None


class ChildRoute(ObjectPart):
    """A receiver of all that reaches the route."""

    receiver: str
    continue_: bool = Field(default=True, alias="continue")


class AlertRoute(ObjectPart):
    """Alerts of one namespace, and who gets them."""

    receiver: str
    group_by: tuple[str, ...]
    routes: tuple[ChildRoute, ...] | None = None


class AlertmanagerConfigSpec(ObjectPart):
    """A route and its receivers."""

    route: AlertRoute
    receivers: tuple[AlertReceiver, ...]


class AlertmanagerConfig(KubernetesObject):
    """Routes of a namespace's alerts, which Alertmanager adds to its own."""

    api_version: Literal["monitoring.coreos.com/v1alpha1"] = "monitoring.coreos.com/v1alpha1"
    kind: Literal["AlertmanagerConfig"] = "AlertmanagerConfig"
    spec: AlertmanagerConfigSpec
