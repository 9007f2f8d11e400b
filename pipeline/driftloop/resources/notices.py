"""Who is told of a pipeline: by Flux of commits that it can't apply, by Alertmanager of alerts."""

from typing import assert_never

from driftloop.contract.names import Names
from driftloop.contract.trees import TREES
from driftloop.kube import core, notification
from driftloop.kube.base import KubernetesObject, ObjectMeta
from driftloop.plan import Plan
from driftloop.platform.notices import (
    ADDRESS,
    PASSWORD,
    MailReceiver,
    Receiver,
    SlackReceiver,
    TeamsReceiver,
    WebhookReceiver,
)
from driftloop.resources import parts

COMPONENT = "watching"


def flux_notices(plan: Plan) -> tuple[KubernetesObject, ...]:
    """Providers and Alerts beside the pipeline's Kustomizations; none without receivers that Flux can tell, and none
    with Argo CD, which has no such objects."""
    match plan.ground.spec.follows:
        case "flux":
            pass
        case "argocd":
            return ()
        case other:
            assert_never(other)
    told = plan.ground.spec.notifications
    return tuple(
        item
        for receiver in told.receivers
        if (provider := _describe_provider(receiver)) is not None
        for item in (
            notification.Provider(metadata=_about(plan, receiver), spec=provider),
            notification.Alert(
                metadata=_about(plan, receiver),
                spec=notification.AlertSpec(
                    provider_ref=core.LocalReference(name=plan.names.receiver(receiver.name)),
                    event_severity="info" if told.flux == "everything" else "error",
                    event_sources=tuple(
                        notification.EventSource(name=plan.names.kustomization_name(tree))
                        for tree in TREES
                    ),
                ),
            ),
        )
    )


def alert_routes(plan: Plan) -> notification.AlertmanagerConfig | None:
    """Routes of the namespace's alerts to every receiver; None without alerts, or without receivers."""
    receivers = plan.ground.spec.notifications.receivers
    if not receivers or plan.observability.prometheus is None:
        return None
    first, *others = (receiver.name for receiver in receivers)
    # the route itself gets what no child has taken: with `continue` all of them have
    routes = tuple(notification.ChildRoute(receiver=name) for name in (first, *others))
    return notification.AlertmanagerConfig(
        metadata=parts.object_meta(plan.names, plan.names.watching, COMPONENT),
        spec=notification.AlertmanagerConfigSpec(
            route=notification.AlertRoute(
                receiver=first, group_by=("alertname",), routes=routes if others else None
            ),
            receivers=tuple(map(_describe_receiver, receivers)),
        ),
    )


def _about(plan: Plan, receiver: Receiver) -> ObjectMeta:
    names: Names = plan.names
    return ObjectMeta(
        name=names.receiver(receiver.name),
        namespace=plan.ground.spec.flux.namespace,
        labels=parts.object_labels(names, COMPONENT),
    )


def _describe_provider(receiver: Receiver) -> notification.ProviderSpec | None:
    match receiver:
        case SlackReceiver():
            secret = core.LocalReference(name=receiver.secret)
            return notification.ProviderSpec(
                type="slack", channel=receiver.channel, secret_ref=secret
            )
        case TeamsReceiver():
            secret = core.LocalReference(name=receiver.secret)
            return notification.ProviderSpec(type="msteams", secret_ref=secret)
        case WebhookReceiver():
            secret = core.LocalReference(name=receiver.secret)
            return notification.ProviderSpec(type="generic", secret_ref=secret)
        case MailReceiver():
            return None
        case _:
            assert_never(receiver)


def _describe_receiver(receiver: Receiver) -> notification.AlertReceiver:
    match receiver:
        case SlackReceiver():
            slack = notification.SlackConfig(
                api_url=_find_address(receiver.secret), channel=receiver.channel
            )
            return notification.AlertReceiver(name=receiver.name, slack_configs=(slack,))
        case TeamsReceiver():
            teams = notification.TeamsConfig(webhook_url=_find_address(receiver.secret))
            return notification.AlertReceiver(name=receiver.name, msteamsv2_configs=(teams,))
        case WebhookReceiver():
            webhook = notification.WebhookConfig(url_secret=_find_address(receiver.secret))
            return notification.AlertReceiver(name=receiver.name, webhook_configs=(webhook,))
        case MailReceiver():
            password = None
            if receiver.secret is not None:
                password = core.KeySelector(name=receiver.secret, key=PASSWORD)
            mail = notification.EmailConfig(
                to=", ".join(receiver.to),
                from_=receiver.sender,
                smarthost=receiver.server,
                auth_username=receiver.user,
                auth_password=password,
            )
            return notification.AlertReceiver(name=receiver.name, email_configs=(mail,))
        case _:
            assert_never(receiver)


def _find_address(secret: str) -> core.KeySelector:
    return core.KeySelector(name=secret, key=ADDRESS)
