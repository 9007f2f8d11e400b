"""Labelled batches are made of captured traffic: what it must have of a request for them."""

from collections.abc import Iterator

from driftloop.contract.columns import EVERYTHING
from driftloop.plan.findings import SpecFinding, format_location
from driftloop.spec import Pipeline


def check_batches(pipeline: Pipeline) -> Iterator[SpecFinding]:
    """Look for labelled batches without captured traffic, and for features that it does not keep as they are."""
    spec = pipeline.spec
    if spec.labels.batches is None:
        return
    location = ("spec", "labels", "batches")
    if spec.capture is None:
        yield SpecFinding(
            location,
            f"{format_location(location)} needs captured traffic, and `capture` records none",
            "add `capture: {}`, or take `batches` out",
        )
        return
    features = () if spec.data.features == EVERYTHING else tuple(spec.data.features.split(","))
    for how in ("drop", "hash"):
        for index, name in enumerate(getattr(spec.capture, how)):
            used = name in features if features else spec.data.columns.get(name) != "ignore"
            if used and name != spec.data.target:
                place = ("spec", "capture", how, index)
                yield SpecFinding(
                    place,
                    f"{format_location(place)} is `{name}`, must not be a feature with `labels.batches`: "
                    "batches have what is captured",
                    "list the other columns in `data.features`"
                    if features
                    else f"list the features in `data.features`, or say `data.columns: {{{name}: ignore}}`",
                )
