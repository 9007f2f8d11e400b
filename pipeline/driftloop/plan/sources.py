"""Sources of data: what they need of the rest of a spec."""

from collections.abc import Iterator

from driftloop.plan.effects import retrain_on
from driftloop.plan.findings import SpecFinding, format_location
from driftloop.spec import Pipeline


def check_sources(pipeline: Pipeline) -> Iterator[SpecFinding]:
    """Look for sources that nobody looks at while alarms wait for new data."""
    spec = pipeline.spec
    changing = [name for name, each in spec.data.sources.items() if each.sha256 is None]
    if changing and spec.train.new_data is None and retrain_on(spec):
        location = ("spec", "data", "sources", changing[0])
        yield SpecFinding(
            location,
            f"{format_location(location)} may change, and nobody looks there while alarms wait for new data",
            'add `newData: "0 * * * *"` to `train`: times (UTC) at which the sources are looked at',
            key=True,
        )
