"""The batches of a run in words, for its card and its report."""

from driftloop.contract.runs import RunData


def describe_batches(data: RunData, production: str | None) -> str:
    """Return how many batches a run read, and how many of them the release that was production had not been
    trained on; None before the first."""
    batches = "1 batch" if data.batches == 1 else f"{data.batches} batches"
    if production is None:
        return batches
    return f"{batches}, {data.recent} of them new since {production} was trained"
