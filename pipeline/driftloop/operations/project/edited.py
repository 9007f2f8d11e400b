"""A spec file and its new text."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from driftloop.errors import SpecError


@dataclass(frozen=True)
class EditedSpec:
    """A spec with an edit, not written yet."""

    file: Path
    before: str
    text: str
    """Line breaks as they are in the file."""

    def write_file(self) -> None:
        """Replace the file whole, or leave it as it is; SpecError when it can't be written."""
        if self.text == self.before:
            return
        file = self.file.resolve()
        beside = file.with_name(f".{file.name}.new")
        try:
            with beside.open("w", encoding="utf-8", newline="") as stream:
                stream.write(self.text)
                stream.flush()
                os.fsync(stream.fileno())
            shutil.copymode(file, beside)
            beside.replace(file)
        except OSError as error:
            beside.unlink(missing_ok=True)
            hint = "is the folder writable?"
            raise SpecError(f"{self.file} can't be written: {error.strerror}", hint=hint) from error
