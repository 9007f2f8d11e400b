"""List a pipeline's dead letters, and send them again, through its decision service."""

import json
from collections.abc import Callable

from driftloop.contract.deadletters import DeadLetterList, ReplayRecord
from driftloop.contract.documents import DocumentError
from driftloop.errors import LocalError
from driftloop.operations.ground import endpoints
from driftloop.operations.watching.suspend import DecisionEndpoint

SERVICE = "the decision service"
HINT = "see `driftloop logs`, and check that NATS runs"


def list_letters(decision: DecisionEndpoint) -> DeadLetterList:
    """Return the dead letters; LocalError when the service does not answer."""
    url = f"{decision.url}/deadletters"
    body = endpoints.get_body(url, token=decision.token, service=SERVICE, hint=HINT)
    try:
        return DeadLetterList.read(json.loads(body))
    except (ValueError, DocumentError) as error:
        raise LocalError(f"{url} can't be read: {error}", hint=HINT) from error


def replay_letters(decision: DecisionEndpoint, report: Callable[[str], None]) -> ReplayRecord:
    """Send all dead letters again, each once; `report` hears of each that was not taken."""
    failed: list[str] = []
    sent = last = 0
    while True:
        body = endpoints.post_body(
            f"{decision.url}/deadletters/replay",
            str(last),
            token=decision.token,
            service=SERVICE,
            hint=HINT,
            shown=decision.url,
        )
        try:
            turn = ReplayRecord.read(json.loads(body))
        except (ValueError, DocumentError) as error:
            raise LocalError(f"{decision.url} can't be read: {error}", hint=HINT) from error
        sent, last = sent + turn.sent, turn.last
        failed += turn.failed
        for line in turn.failed:
            report(f"not taken: {line}")
        if turn.done:
            return ReplayRecord(
                sent=sent, failed=tuple(failed), last=last, done=True, waiting=turn.waiting
            )
