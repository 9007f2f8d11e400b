"""Quality of answers, from the metrics of a detector that reads labels."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from driftloop.contract.quality import (
    MEASURES,
    Figures,
    SlicedQuality,
    SliceQuality,
    describe_figures,
)

if TYPE_CHECKING:
    from prometheus_client.samples import Sample


def describe_quality(samples: Sequence["Sample"]) -> str:
    """Say how good the answers of the last window are, and those of its slices; empty without labels."""
    figures = _pair_figures(
        sample for sample in samples if sample.name == "driftloop_detector_window_quality"
    )
    estimates = _pair_figures(
        sample for sample in samples if sample.name == "driftloop_detector_estimated_quality"
    )
    parts = []
    for sample in samples:
        if sample.name != "driftloop_detector_slice_rows":
            continue
        own = _pair_figures(
            each
            for each in samples
            if each.name == "driftloop_detector_slice_quality"
            and sample.labels.items() <= each.labels.items()
        )
        if own:
            part = SliceQuality(
                column=sample.labels["column"],
                value=sample.labels["value"],
                rows=int(sample.value),
                figures=own,
                score=0.0,
                alarm=False,
            )
            parts.append(part)
    sliced = SlicedQuality(slices=tuple(parts)).describe() if parts else ""
    estimated = f"estimated {describe_figures(estimates)}" if estimates else ""
    return "; ".join(part for part in (describe_figures(figures), estimated, sliced) if part)


def _pair_figures(samples: Iterable["Sample"]) -> Figures:
    """Return figures by name, of the held-out rows and of the window."""
    values = {(each.labels["measure"], each.labels["of"]): each.value for each in samples}
    return {
        name: (values[measure, "heldout"], values[measure, "window"])
        for name, measure in MEASURES.items()
        if (measure, "heldout") in values and (measure, "window") in values
    }
