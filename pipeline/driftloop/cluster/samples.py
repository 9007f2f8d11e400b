"""Metrics of a program on a cluster, one by one."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client.samples import Sample


def read_samples(text: str) -> "Iterator[Sample]":
    """Yield the samples of a page of metrics; ValueError when it can't be read."""
    from prometheus_client.parser import text_string_to_metric_families

    for family in text_string_to_metric_families(text):
        yield from family.samples
