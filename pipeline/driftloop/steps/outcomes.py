"""The outcome of a run in its folder: whichever step ends the run stores it, the last step reads
it."""

from driftloop.clients.s3 import MissingObjectError, ObjectStore, StoreLocation
from driftloop.contract.documents import to_json
from driftloop.contract.outcomes import RunOutcome
from driftloop.contract.trees import outcome_key
from driftloop.release.record import Version


def store_outcome(
    store: ObjectStore, bucket: StoreLocation, run: str, outcome: RunOutcome
) -> RunOutcome:
    """Store the outcome of a run, and return it; a run ends once, so a stored one stays."""
    if (stored := read_outcome(store, bucket, run)) is not None:
        return stored
    store.write_json(bucket / outcome_key(run), to_json(outcome))
    return outcome


def end_refit(production: Version) -> RunOutcome:
    """Return the outcome of a run that made production's model again, and whose detectors are production's now."""
    reason = f"nothing new since {production.id}, whose model stays; its detectors are fitted anew"
    return RunOutcome.now("released", reason, obstacle="nothing-new")


def read_outcome(store: ObjectStore, bucket: StoreLocation, run: str) -> RunOutcome | None:
    """Return the stored outcome of a run; None while there is none."""
    try:
        return RunOutcome.read(store.read_json(bucket / outcome_key(run)))
    except MissingObjectError:
        return None
