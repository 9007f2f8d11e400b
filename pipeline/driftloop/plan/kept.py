"""What a pipeline keeps on a cluster: its spec's values within the bounds of the platform file, and whose value holds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from driftloop.plan.findings import SpecFinding
from driftloop.platform import PlatformFile
from driftloop.platform.retention import ClusterRetention, KeptTime, StreamLimit
from driftloop.spec import parse_spec
from driftloop.spec.base import SpecModel
from driftloop.spec.capture import Capture
from driftloop.spec.events import Events
from driftloop.spec.model import Spec
from driftloop.spec.problem import InvalidSpec
from driftloop.spec.retention import Retention
from driftloop.spec.values import memory_bytes, written

Value = TypeVar("Value")
_TIMES = ("trials", "runs", "releases", "logs")
_STREAMS = ("broker", "detector", "recorder")


@dataclass(frozen=True)
class KeptValue:
    """A value of what is kept, and whose it is."""

    path: str
    """Field of a spec that says it, such as `retention.runs`."""
    value: str
    holder: str
    """Who says it: the spec, the platform file, or neither."""
    asked: str | None = None
    """What the spec says beyond the bound that holds in its place."""

    @property
    def text(self) -> str:
        """The value as a person reads it."""
        beyond = f", in place of {self.asked}" if self.asked is not None else ""
        return f"{self.path}: {self.value} ({self.holder}{beyond})"


@dataclass(frozen=True)
class Kept:
    """What a pipeline keeps, and the values of it on a cluster whose platform file says anything of them."""

    retention: Retention
    capture: Capture | None
    events: Events
    prune: str | None
    """Times at which what is older is removed; None: a person does."""
    values: tuple[KeptValue, ...] = ()


def settle_kept(spec: Spec, ground: PlatformFile) -> Kept:
    """Return what a pipeline keeps on a cluster. A value beyond a bound is cut to it."""
    own = ground.spec.retention
    has_own = "retention" in spec.model_fields_set
    if own is None:
        prune = spec.retention.schedule if has_own else None
        return Kept(spec.retention, spec.capture, spec.events, prune)
    values: list[KeptValue] = []
    times = {
        name: _settle_time(spec.retention, name, f"retention.{name}", getattr(own, name), values)
        for name in _TIMES
    }
    capture = spec.capture
    if capture is not None:
        keep = _settle_time(capture, "keep", "capture.keep", own.traffic, values)
        capture = capture.model_copy(update={"keep": keep})
    streams = {name: _settle_room(spec.events, name, own, values) for name in _STREAMS}
    says_schedule = has_own and "schedule" in spec.retention.model_fields_set
    prune = (spec.retention.schedule or own.schedule) if says_schedule else own.schedule
    holder = "spec" if says_schedule and spec.retention.schedule else "platform file"
    values.append(KeptValue("retention.schedule", prune, holder))
    return Kept(
        spec.retention.model_copy(update=times),
        capture,
        spec.events.model_copy(update=streams),
        prune,
        tuple(values),
    )


def refuse_exceeded(text: str, path: str, ground: PlatformFile) -> None:
    """Raise InvalidSpec for the values of a spec's text that are beyond a bound of the platform file."""
    if ground.read is None or ground.spec.retention is None:
        return
    document = parse_spec(text, path=path)
    found = tuple(_find_exceeded(document.pipeline.spec, ground))
    if found:
        raise InvalidSpec(
            [document.source.problem(f.location, f.message, hint=f.hint) for f in found]
        )


def _find_exceeded(spec: Spec, ground: PlatformFile) -> Iterator[SpecFinding]:
    hint = f"{ground.path} says so for all pipelines of `{ground.cluster}`: ask who keeps it for another bound"
    for each in settle_kept(spec, ground).values:
        if each.asked is not None:
            yield SpecFinding(
                ("spec", *each.path.split(".")),
                f"spec.{each.path} is {each.asked}, must be at most {each.value} on cluster `{ground.cluster}`",
                hint,
            )
    if spec.retention.schedule is None:
        yield SpecFinding(
            ("spec", "retention", "schedule"),
            f"spec.retention.schedule is null, must be given or left out on cluster `{ground.cluster}`",
            hint,
        )


def _settle_time(
    model: SpecModel, name: str, path: str, own: KeptTime, values: list[KeptValue]
) -> timedelta | None:
    """Return how long something is kept; None: for ever, where no bound says otherwise."""
    longest = own.longest
    bound = _Bound[timedelta | None](
        own.default,
        longest,
        lambda value: longest is not None and (value is None or value > longest),
        lambda value: "for ever" if value is None else written(value),
    )
    return bound.settle(model, name, path, values)


def _settle_room(
    events: Events, name: str, own: ClusterRetention, values: list[KeptValue]
) -> str | None:
    """Return the room of a stream."""
    limit: StreamLimit = getattr(own.streams, name)
    most = None if limit.most is None else memory_bytes(limit.most)
    bound = _Bound[str | None](
        limit.default,
        limit.most,
        lambda value: most is not None and value is not None and memory_bytes(value) > most,
        str,
    )
    return bound.settle(events, name, f"events.{name}", values)


@dataclass(frozen=True)
class _Bound(Generic[Value]):
    """What a platform file says of a value of specs."""

    default: Value
    limit: Value
    exceeds: Callable[[Value], bool]
    write: Callable[[Value], str]

    def settle(self, model: SpecModel, name: str, path: str, values: list[KeptValue]) -> Value:
        """Return the value that holds, and note whose it is."""
        given: Value = getattr(model, name)
        is_said = name in model.model_fields_set
        wanted = given if is_said or self.default is None else self.default
        if self.exceeds(wanted):
            asked = self.write(given) if is_said else None
            values.append(
                KeptValue(path, self.write(self.limit), "bound of the platform file", asked)
            )
            return self.limit
        holder = "spec" if is_said else "default" if self.default is None else "platform file"
        values.append(KeptValue(path, self.write(wanted), holder))
        return wanted
