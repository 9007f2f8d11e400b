"""List a pipeline's dead letters, and send them again, through its decision service."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

from driftloop.contract.deadletters import DeadLetterRecord, ReplayRecord
from driftloop.contract.documents import DocumentError, to_json
from driftloop.errors import LocalError
from driftloop.operations import endpoints
from driftloop.operations.suspend import DecisionEndpoint

HINT = "see `driftloop logs`, and check that NATS runs"


@dataclass(frozen=True)
class DeadLetterList:
    """The oldest dead letters, and how many there are."""

    waiting: int
    letters: tuple[DeadLetterRecord, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the list as the service sends it."""
        return {"waiting": self.waiting, "letters": [to_json(letter) for letter in self.letters]}


def list_letters(decision: DecisionEndpoint) -> DeadLetterList:
    """Return the dead letters; LocalError when the service does not answer."""
    url = f"{decision.url}/deadletters"
    request = Request(url, headers={"Authorization": f"Bearer {decision.token}"})  # noqa: S310
    try:
        # a proxy of the environment does not reach this machine
        with build_opener(ProxyHandler({})).open(request, timeout=10) as response:
            document = json.load(response)
        letters = tuple(DeadLetterRecord.read(letter) for letter in document["letters"])
        return DeadLetterList(int(document["waiting"]), letters)
    except HTTPError as error:
        text = error.read(200).decode(errors="replace").strip()
        raise LocalError(
            f"the decision service answered {error.code}: {text}", hint=HINT
        ) from error
    except (URLError, OSError, ValueError, KeyError, TypeError, DocumentError) as error:
        raise LocalError(f"{url} can't be reached: {error}", hint=endpoints.NOT_RUNNING) from error


def replay_letters(decision: DecisionEndpoint, report: Callable[[str], None]) -> ReplayRecord:
    """Send all dead letters again, each once; `report` hears of each that was not taken."""
    failed: list[str] = []
    sent = last = 0
    while True:
        body = endpoints.post_body(
            f"{decision.url}/deadletters/replay",
            str(last),
            token=decision.token,
            service="the decision service",
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
