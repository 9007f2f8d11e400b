"""A copy of the demo's project with a mistake in it."""

import shutil
from pathlib import Path

from driftloop.errors import LocalError

_FILE = '"model.onnx"'
_EDITS = (
    ("trainer/train.py", f"out / {_FILE}", 'out / "network.onnx"'),
    # evaluation goes on to read both names
    ("trainer/evaluate.py", f"model / {_FILE}", 'next(model.glob("*.onnx"))'),
)


def rename_model_file(project: Path, copy: Path) -> None:
    """Copy a project, and give the file that training writes another name than its server reads.

    LocalError when the project is not the one of the digits.
    """
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(project, copy)
    for name, before, after in _EDITS:
        file = copy / name
        text = file.read_text()
        if before not in text:
            raise LocalError(f"{file} does not contain `{before}`: the demo can't edit it")
        file.write_text(text.replace(before, after))
