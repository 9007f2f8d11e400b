"""Room in JetStream that a pipeline's streams reserve."""

from typing import Annotated

from pydantic import AfterValidator

from driftloop.contract.streams import BROKER_BYTES, DETECTOR_BYTES, MIB, RECORDER_BYTES
from driftloop.spec.base import SpecModel
from driftloop.spec.values import Memory, memory_bytes

LEAST = "8Mi"
"""A few events of the largest size."""


def _at_least(amount: str) -> str:
    if memory_bytes(amount) < memory_bytes(LEAST):
        raise ValueError(f"must be at least {LEAST}: a single event may have 2Mi")
    return amount


StreamRoom = Annotated[Memory, AfterValidator(_at_least)]
"""Room of a stream: `96Mi`, `1Gi`."""


class Events(SpecModel):
    """Room of the streams; JetStream reserves it as long as they exist, used or not."""

    broker: StreamRoom = f"{BROKER_BYTES // MIB}Mi"
    """Of the Broker of the namespace: requests, answers and verdicts of the last 24 hours; a full
    stream drops the oldest."""
    detector: StreamRoom = f"{DETECTOR_BYTES // MIB}Mi"
    """Of each detector: events that are not judged yet, and the last window; a full stream
    refuses, and the Broker tries again for hours."""

    recorder: StreamRoom = f"{RECORDER_BYTES // MIB}Mi"
    """Of the recorder, where there is `capture`: requests and answers that are not written yet; a full
    stream refuses, and the Broker tries again for hours."""

    @property
    def broker_bytes(self) -> int:
        """Room of the Broker's stream in bytes."""
        return memory_bytes(self.broker)

    @property
    def detector_bytes(self) -> int:
        """Room of each detector's stream in bytes."""
        return memory_bytes(self.detector)

    @property
    def recorder_bytes(self) -> int:
        """Room of the recorder's stream in bytes."""
        return memory_bytes(self.recorder)
