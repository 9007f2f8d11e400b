"""Streams and subjects of one detector of one pipeline's release (docs/architecture.md, Events)."""

import re
from dataclasses import dataclass

from driftloop.clients.nats import token

VERDICTS = "DRIFTLOOP_VERDICTS"
VERDICT_SUBJECTS = "driftloop.verdicts.>"

_RELEASE = re.compile(r"[A-Za-z0-9_-]{1,63}\Z")


@dataclass(frozen=True)
class Names:
    """Whose detector this is."""

    namespace: str
    pipeline: str
    detector: str
    release: str

    @property
    def stream(self) -> str:
        """The stream its door writes to; one for all releases."""
        return f"DRIFTLOOP_{token(self.namespace)}_{token(self.pipeline)}_{token(self.detector)}"

    @property
    def subjects(self) -> str:
        """Everything in that stream."""
        return f"driftloop.events.{self.namespace}.{self.pipeline}.{self.detector}.>"

    def events(self, release: str) -> str:
        """Where the events of a release go."""
        return f"driftloop.events.{self.namespace}.{self.pipeline}.{self.detector}.{release}"

    @property
    def verdicts(self) -> str:
        """Where its verdicts go."""
        return f"driftloop.verdicts.{self.namespace}.{self.pipeline}.{self.detector}.{self.release}"

    @property
    def emitter(self) -> str:
        """The durable consumer that remembers which verdicts have been told."""
        return f"emit_{self.namespace}_{self.pipeline}_{self.detector}_{self.release}"


def is_release(text: str) -> bool:
    """Whether it can be the last token of a subject."""
    return _RELEASE.match(text) is not None
