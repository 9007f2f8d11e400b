"""Predictions that the gateway of this machine has refused for want of a login, since it started."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from driftloop.contract.documents import document_key, from_json, is_whole
from driftloop.local.ground.state import StateFolder
from driftloop.operations.rollouts.answer_counts import read_statistics
from driftloop.text.words import count_noun

_COUNTED = r"^http\.gateway\.(rbac\.policy\..*\.denied|jwt_authn\.(denied|jwks_fetch_failed))$"
_LINE = re.compile(
    r"http\.gateway\.(rbac\.policy\.(?P<pipeline>.+)-access/(?P<rule>\d+)\.denied|"
    r"jwt_authn\.(?P<kind>denied|jwks_fetch_failed)): (?P<count>\d+)"
)


def _are_counts(value: object) -> bool:
    return isinstance(value, Mapping) and all(is_whole(count, 0) for count in value.values())


def _is_count(value: object) -> bool:
    return is_whole(value, 0)


@dataclass(frozen=True)
class CallerRefusals:
    """Requests that were refused; mappings are by pipeline."""

    nothing: Mapping[str, int] = document_key("nothing", "numbers by pipeline", _are_counts)
    """Those that brought no login."""
    another: Mapping[str, int] = document_key("another", "numbers by pipeline", _are_counts)
    """Those with a valid login that is not for this pipeline."""
    invalid: int = document_key("invalid", "a number", _is_count)
    """Those with a token or key that is not valid, on any path."""
    unfetched: int = document_key("unfetched", "a number", _is_count)
    """Times that an issuer's public keys could not be fetched."""

    @classmethod
    def read(cls, document: object) -> "CallerRefusals":
        """Read it from plain data, of a cluster from None; DocumentError."""
        if document is None:
            return cls({}, {}, 0, 0)
        return from_json(cls, document, label="the refused callers", closed=False)

    def list_lines(self) -> Iterator[str]:
        """Yield what a person should know, a line each; nothing while nobody was refused."""
        for pipeline in sorted({*self.nothing, *self.another}):
            counts = (
                (self.nothing.get(pipeline, 0), "without a login"),
                (self.another.get(pipeline, 0), "with a login for another pipeline or audience"),
            )
            told = (f"{count_noun(count, 'request')} {how}" for count, how in counts if count)
            yield f"{pipeline}: refused {', '.join(told)}"
        if self.invalid:
            yield f"refused {count_noun(self.invalid, 'request')} with an invalid token or key"
        if self.unfetched:
            yield (
                f"the public keys of an issuer could not be fetched, {count_noun(self.unfetched, 'time')}: "
                "until they are its tokens are refused"
            )


def read_refusals(state: StateFolder) -> CallerRefusals:
    """Return what the gateway has counted; nothing while it does not answer."""
    return parse_refusals(read_statistics(state, _COUNTED))


def parse_refusals(statistics: str) -> CallerRefusals:
    """Read Envoy's statistics: a policy's first rule is about who brings nothing."""
    found: dict[str, Any] = {"nothing": {}, "another": {}, "denied": 0, "jwks_fetch_failed": 0}
    for match in filter(None, map(_LINE.fullmatch, statistics.splitlines())):
        count = int(match["count"])
        if match["kind"] is not None:
            found[match["kind"]] += count
        elif count:
            counts = found["nothing" if match["rule"] == "0" else "another"]
            counts[match["pipeline"]] = counts.get(match["pipeline"], 0) + count
    return CallerRefusals(
        found["nothing"], found["another"], found["denied"], found["jwks_fetch_failed"]
    )
