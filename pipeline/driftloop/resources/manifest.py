"""One object and the file it goes to."""

from dataclasses import dataclass

from pydantic import BaseModel


@dataclass(frozen=True)
class Manifest:
    """A file of the tree: its path from the repository's root, and the typed object in it."""

    path: str
    object: BaseModel
