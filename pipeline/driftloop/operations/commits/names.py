"""Which pipelines there are here, as fast as a shell asks."""

import os
import subprocess
from pathlib import Path

from driftloop.contract import trees
from driftloop.operations.ground import place


def list_pipeline_names() -> list[str]:
    """Return the names of the pipelines in a tree in the current folder, and in the repository of
    the nearest state folder."""
    spec = Path(trees.spec_path("*"))
    names = {file.parent.name for file in Path().glob(str(spec))}
    state = place.choose_state(None, spec=None, environment=os.environ).folder
    if state.repository.is_dir():
        listed = subprocess.run(
            ["git", "-C", str(state.repository), "ls-tree", "-d", "--name-only", "HEAD", f"{spec.parts[0]}/"],
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        names |= {Path(line).name for line in listed.stdout.splitlines()}
    return sorted(names)
