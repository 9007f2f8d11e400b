"""Names of the pipelines that are here, as fast as a shell asks."""

import os
from pathlib import Path

from driftloop.contract import trees
from driftloop.git.listing import list_folders
from driftloop.operations.ground import place


def list_pipeline_names() -> list[str]:
    """Return the names of the pipelines in a tree in the current folder, and in the repository of
    the nearest state folder."""
    spec = Path(trees.spec_path("*"))
    names = {file.parent.name for file in Path().glob(str(spec))}
    state = place.choose_state(None, spec=None, environment=os.environ).folder
    if state.repository.is_dir():
        names |= set(list_folders(state.repository, spec.parts[0]))
    return sorted(names)
