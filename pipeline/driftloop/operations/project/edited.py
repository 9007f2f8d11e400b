"""A spec file and its new text."""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from driftloop.errors import SpecError


def replace_ref(text: str, old: str, new: str, *, file: Path) -> str:
    """Return the text of a spec with another reference of an image; SpecError when it does not hold the old one."""
    text, count = re.subn(rf"{re.escape(old)}(?![\w.@-])", new, text)
    if count == 0:
        raise SpecError(f"{file} does not hold `{old}` as one text", hint=f"write `{new}`")
    return text


@dataclass(frozen=True)
class EditedSpec:
    """A spec with an edit, not written yet."""

    file: Path
    before: str
    text: str
    """Line breaks as they are in the file."""

    @classmethod
    def edit(cls, file: Path, change: Callable[[str], str]) -> "EditedSpec":
        """Return a spec whose text is changed, line breaks as they are."""
        with file.open(encoding="utf-8", newline="") as stream:
            text = stream.read()
        return cls(file, text, change(text))

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
