"""The columns of batches, looked at before anything is trained on them."""

from collections.abc import Iterable
from pathlib import Path

from driftloop.contract.columns import ColumnError, read_columns
from driftloop.errors import StepError


def check_columns(batches: Iterable[tuple[str, Path]], features: str) -> None:
    """Look at the columns of batches, by name and file; StepError for one that `features` names
    and a batch lacks."""
    for name, file in batches:
        try:
            with file.open("rb") as stream:
                columns = read_columns(name, stream)
            if columns is not None:
                columns.choose_features(features)
        except OSError as error:
            raise StepError(f"{file} can't be read: {error.strerror}") from error
        except ColumnError as error:
            raise StepError(error.message, hint=error.hint) from error
