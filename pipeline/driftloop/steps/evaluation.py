"""metrics.json, as the steps after the evaluation read it."""

from pathlib import Path

from driftloop.contract.documents import DocumentError, parse_json
from driftloop.contract.records import Evaluation
from driftloop.contract.trees import METRICS_FILE
from driftloop.errors import StepError

HINT = "the evaluate step writes it"


def read_evaluation(path: Path) -> Evaluation:
    """Read metrics.json from its path, or from its folder; StepError."""
    file = path / METRICS_FILE if path.is_dir() else path
    try:
        return Evaluation.read(parse_json(file.read_bytes(), label=METRICS_FILE))
    except OSError as error:
        raise StepError(f"{file} can't be read: {error.strerror}", hint=HINT) from error
    except DocumentError as error:
        raise StepError(f"{file} can't be read: {error.message}", hint=HINT) from error
