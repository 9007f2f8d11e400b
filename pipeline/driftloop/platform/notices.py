"""Who is told of what goes wrong on a cluster: Slack, Teams, any webhook, mail."""

from typing import Annotated, Literal

from pydantic import Field, Tag

from driftloop.platform.values import MailAddress, ObjectName, ReceiverName, SmtpHost
from driftloop.spec.base import SpecModel, tagged

ADDRESS = "address"
"""Key of the Secret with a receiver's URL."""
PASSWORD = "password"  # noqa: S105 - a key
"""Key of the Secret with the password of mail."""


class SlackReceiver(SpecModel):
    """A Slack channel, by an incoming webhook or a bot."""

    type: Literal["slack"]
    """A Slack channel: `slack`."""
    name: ReceiverName
    """Name of the receiver; objects are named after it."""
    secret: ObjectName
    """Secret with the URL under the key `address`: in the namespace of the pipelines' Flux objects, and in each pipeline's
    namespace."""
    channel: (
        Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[#@]?[\w.-]+$")] | None
    ) = None
    """Channel; that of the webhook when left out."""


class TeamsReceiver(SpecModel):
    """A channel of Microsoft Teams, by a workflow that takes posts."""

    type: Literal["teams"]
    """A channel of Microsoft Teams: `teams`."""
    name: ReceiverName
    """Name of the receiver; objects are named after it."""
    secret: ObjectName
    """Secret with the URL under the key `address`, in the same namespaces."""


class WebhookReceiver(SpecModel):
    """Any HTTP endpoint: it gets Flux' and Alertmanager's JSON as they are."""

    type: Literal["webhook"]
    """An HTTP endpoint: `webhook`."""
    name: ReceiverName
    """Name of the receiver; objects are named after it."""
    secret: ObjectName
    """Secret with the URL under the key `address`, in the same namespaces."""


class MailReceiver(SpecModel):
    """Mail of alerts; Flux sends none."""

    type: Literal["mail"]
    """Mail: `mail`."""
    name: ReceiverName
    """Name of the receiver; objects are named after it."""
    to: Annotated[tuple[MailAddress, ...], Field(min_length=1, max_length=20)]
    """Addresses that get it."""
    sender: MailAddress
    """Address that it is from."""
    server: SmtpHost
    """Host and port of the SMTP server."""
    user: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """User at that server; none asks for none."""
    secret: ObjectName | None = None
    """Secret in each pipeline's namespace with the user's password under the key `password`."""


Receiver = Annotated[
    Annotated[SlackReceiver, Tag("slack")]
    | Annotated[TeamsReceiver, Tag("teams")]
    | Annotated[WebhookReceiver, Tag("webhook")]
    | Annotated[MailReceiver, Tag("mail")],
    tagged("type"),
]


class Notifications(SpecModel):
    """People who are told."""

    receivers: Annotated[tuple[Receiver, ...], Field(max_length=10)] = ()
    """Receivers: Flux tells each, but for mail, of commits that it can't apply, by a Provider and an Alert for each
    pipeline; Alertmanager tells each of the alerts of pipelines with `observability.prometheus`, by an
    AlertmanagerConfig."""
    flux: Literal["failures", "everything"] = "failures"
    """Events of Flux that are told: `failures`, or `everything`, which is each commit that is applied, too, releases and
    promotions among them."""
