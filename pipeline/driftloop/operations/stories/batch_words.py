"""The batches of a run in words, for its card and its report."""

from driftloop.contract.runs import RunReport


def describe_batches(report: RunReport) -> str:
    """Return how many batches a run read, and how many of them production had not been trained on; empty without
    a record of them."""
    if (data := report.data) is None:
        return ""
    batches = "1 batch" if data.batches == 1 else f"{data.batches} batches"
    if report.production is None:
        return batches
    return f"{batches}, {data.recent} of them new since {report.production} was trained"
