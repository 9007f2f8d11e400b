"""Folders of a bare repository on this machine, as fast as a shell asks: nothing is fetched."""

import subprocess
from pathlib import Path


def list_folders(repository: Path, below: str) -> tuple[str, ...]:
    """Return the names of the folders in a folder at HEAD; none where there is no such folder, or no commit."""
    listed = subprocess.run(
        ["git", "-C", repository, "ls-tree", "-d", "--name-only", "HEAD", f"{below}/"],
        capture_output=True,
        text=True,
        check=False,
    )
    return tuple(Path(line).name for line in listed.stdout.splitlines())
