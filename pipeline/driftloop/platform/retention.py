"""What pipelines of a cluster keep: values for specs that say nothing, and bounds for those that do."""

from typing import Self

from pydantic import model_validator

from driftloop.spec.base import SpecModel
from driftloop.spec.events import StreamRoom
from driftloop.spec.values import Cron, Duration, PositiveDuration, memory_bytes


class KeptTime(SpecModel):
    """A length of time that something is kept."""

    default: Duration | None = None
    """Time that holds where a spec says none; that of specs when left out."""
    longest: PositiveDuration | None = None
    """Longest time that a spec may say, any when left out. A default that is longer is cut to it."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.default is not None and self.longest is not None and self.default > self.longest:
            raise ValueError("`default` must be at most `longest`")
        return self


class StreamLimit(SpecModel):
    """Room of a stream."""

    default: StreamRoom | None = None
    """Room that holds where a spec says none; that of specs when left out."""
    most: StreamRoom | None = None
    """Most room that a spec may say, any when left out. A default that is more is cut to it."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if (
            self.default is not None
            and self.most is not None
            and memory_bytes(self.default) > memory_bytes(self.most)
        ):
            raise ValueError("`default` must be at most `most`")
        return self


class StreamLimits(SpecModel):
    """Room of the streams of a pipeline, as `events` of a spec says it."""

    broker: StreamLimit = StreamLimit()
    """Of the Broker of a namespace."""
    detector: StreamLimit = StreamLimit()
    """Of each detector."""
    recorder: StreamLimit = StreamLimit()
    """Of each recorder."""


class ClusterRetention(SpecModel):
    """What pipelines of the cluster keep, and how long. A spec whose value is beyond a bound is refused; of one that was
    committed before, the bound holds."""

    trials: KeptTime = KeptTime()
    """Models of trials (`retention.trials` of a spec)."""
    runs: KeptTime = KeptTime()
    """Files of runs that became no release (`retention.runs`)."""
    releases: KeptTime = KeptTime()
    """Models and detectors of former releases (`retention.releases`)."""
    logs: KeptTime = KeptTime()
    """Logs of steps in the bucket (`retention.logs`)."""
    traffic: KeptTime = KeptTime()
    """Recorded traffic (`capture.keep`)."""
    streams: StreamLimits = StreamLimits()
    """Room of events on their way (`events`)."""
    schedule: Cron = "30 3 * * *"
    """Times (UTC) at which what is older is removed, of pipelines whose spec says none: five cron fields. Where a platform
    file has `retention`, it is removed of every pipeline."""
