"""Refusals of a run by another step than the gate: `snapshot` and `register` store them, `finish`
reports them."""

from driftloop.clients.s3 import MissingObjectError
from driftloop.contract.documents import DocumentError, to_json
from driftloop.contract.records import RefusalRecord
from driftloop.contract.trees import refusal_key
from driftloop.errors import StepError
from driftloop.steps.settings import StepSettings


def store_refusal(settings: StepSettings, run: str, refusal: RefusalRecord) -> None:
    """Store why a run goes no further."""
    settings.store.write_json(settings.bucket / refusal_key(run), to_json(refusal))


def read_refusal(settings: StepSettings, run: str) -> RefusalRecord | None:
    """Return why a run went no further; None when no step but the gate can have refused it."""
    at = settings.bucket / refusal_key(run)
    try:
        return RefusalRecord.read(settings.store.read_json(at))
    except MissingObjectError:
        return None
    except DocumentError as error:
        raise StepError(f"{at}: {error.message}", hint="an earlier step writes it") from error
