"""The demo's project: its own batches, and a copy of it with a mistake."""

import shutil
from pathlib import Path

from driftloop.demo.platform import run_program
from driftloop.errors import LocalError
from driftloop.local.ground import binaries

_FILE = '"model.onnx"'
_EDITS = (
    ("trainer/train.py", f"out / {_FILE}", 'out / "network.onnx"'),
    # evaluation goes on to read both names
    ("trainer/evaluate.py", f"model / {_FILE}", 'next(model.glob("*.onnx"))'),
)


async def make_batches(project: Path, what: str, *kinds: str, to: Path) -> None:
    """Run the project's own batches.py, in an environment that uv makes for it."""
    command = [
        binaries.find_uv(),
        "run",
        "--quiet",
        "--no-project",
        str(project / "batches.py"),
        what,
    ]
    await run_program([*command, "--to", str(to), "--kind", *kinds])


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
