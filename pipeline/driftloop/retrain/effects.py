"""What the decision asks for: it is asked again until it is known to be done."""

from dataclasses import dataclass

from driftloop.contract.records import LoopWait


@dataclass(frozen=True)
class FireWebhook:
    """Ask for a run: POST the webhook."""

    decision: str
    cause: str
    attempt: int


@dataclass(frozen=True)
class FireRollback:
    """Ask for a rollback: POST the webhook of rollbacks."""

    decision: str
    cause: str
    attempt: int


@dataclass(frozen=True)
class TellLoss:
    """Tell everybody that a run was lost, and answer with Told."""

    run: str
    decision: str
    reason: str


@dataclass(frozen=True)
class TellWait:
    """Tell everybody that the loop waits, and answer with WaitTold."""

    key: str
    waits_for: LoopWait
    reason: str


Effect = FireWebhook | FireRollback | TellLoss | TellWait
