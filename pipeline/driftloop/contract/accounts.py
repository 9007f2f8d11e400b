"""Accounts and users of a cluster's NATS, which `driftloop secrets init` makes for each namespace.

An account is a wall: its streams, buckets and subjects exist for its own users only. What a user
may do inside an account is a rail: whoever may make a consumer or a stream there can have the
server write where they can't. So what must not write to each other is in different accounts.
"""

from dataclasses import dataclass
from enum import StrEnum

from driftloop.contract.streams import DECISIONS

KNATIVE_USER = "knative"
"""User, and account, of Knative's channels: the events of all Brokers, before detectors take them."""
_ANSWERS = ("_INBOX.>",)


class _OfNamespace(StrEnum):
    """Accounts that each namespace has one of."""

    def of(self, namespace: str) -> str:
        """Return its name at the server; a namespace has no `_`, so no two are the same."""
        return f"{namespace}_{self.value}"


class NatsAccount(_OfNamespace):
    """An account of a namespace, by whose streams it holds."""

    DETECTOR = "detector"
    JUDGE = "judge"
    DECISION = "decision"
    RECORDER = "recorder"
    BUS = "bus"


class NatsRole(_OfNamespace):
    """A user of a namespace, by who connects as it."""

    DETECTOR = "detector"
    JUDGE = "judge"
    DECISION = "decision"
    RECORDER = "recorder"
    STEP = "step"
    READER = "reader"
    BUS = "bus"


@dataclass(frozen=True)
class NatsRights:
    """Account of a user, and what it may do there."""

    account: NatsAccount
    description: str
    """Programs that connect as it, and what for."""
    publish: tuple[str, ...] = ()
    """Subjects it may send to; all of the account's when there are none."""

    @property
    def subscribe(self) -> tuple[str, ...]:
        """Subjects it may listen to; all of the account's when there are none."""
        return _ANSWERS if self.publish else ()


RIGHTS: dict[NatsRole, NatsRights] = {
    NatsRole.DETECTOR: NatsRights(
        NatsAccount.DETECTOR, "detectors: events of their requests, and verdicts"
    ),
    NatsRole.JUDGE: NatsRights(
        NatsAccount.JUDGE, "the analysis service: what it keeps of answers, and labels"
    ),
    NatsRole.DECISION: NatsRights(
        NatsAccount.DECISION, "the decision service: its state, and dead letters"
    ),
    NatsRole.RECORDER: NatsRights(
        NatsAccount.RECORDER, "the recorder: requests and answers that are not written yet"
    ),
    NatsRole.STEP: NatsRights(
        NatsAccount.DECISION,
        "`driftloop step claim` and `finish`: the decision's state",
        (
            *(
                f"$JS.API.{call}.{DECISIONS.stream}"
                for call in ("STREAM.INFO", "STREAM.CREATE", "STREAM.MSG.GET", "DIRECT.GET")
            ),
            f"$JS.API.DIRECT.GET.{DECISIONS.stream}.>",
            f"{DECISIONS.prefix}>",
        ),
    ),
    NatsRole.READER: NatsRights(
        NatsAccount.DETECTOR,
        "the decision service, and `driftloop step claim` and `finish`: reads of verdicts and events",
        (
            *(f"$JS.API.STREAM.{call}.*" for call in ("INFO", "MSG.GET")),
            *(f"$JS.API.CONSUMER.{call}.*.>" for call in ("CREATE", "INFO", "DELETE", "MSG.NEXT")),
        ),
    ),
    NatsRole.BUS: NatsRights(
        NatsAccount.BUS, "Argo Events' EventSources and Sensors: what starts runs"
    ),
}
"""Every user of a namespace."""
