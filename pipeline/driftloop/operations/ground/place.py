"""The state folder that a command works in: named, beside the spec, above the current folder, or
of the environment.

A state folder that is here wins over a variable: a variable outlives the project that it was set
for, and a command must not write to another project's repository.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from driftloop.contract.platform import GIT_URL
from driftloop.errors import GitError, LocalError
from driftloop.local.ground.state import STATE_FOLDER, StateFolder

VARIABLE = "DRIFTLOOP_STATE"
"""Environment variable with the state folder, for where none is here."""

Source = Literal["option", "spec", "here", "variable", "none"]


@dataclass(frozen=True)
class StateChoice:
    """A state folder, and what named it; with source `none` it does not exist yet."""

    folder: StateFolder
    source: Source

    def ensure_exists(self) -> StateFolder:
        """Return the folder; LocalError unless it is a state folder."""
        if not self.folder.exists():
            raise LocalError(f"`{self.folder.root}` is not a state folder", hint=self._hint)
        return self.folder

    @property
    def _hint(self) -> str:
        if self.source == "none":
            return (
                "there is none above this folder either; start one with `driftloop up SPEC`, or name "
                f"it with --state or {VARIABLE}"
            )
        return "name the one of `driftloop up` with --state"


def choose_state(
    option: Path | None, *, spec: Path | None, environment: Mapping[str, str]
) -> StateChoice:
    """Return the state folder of a command.

    It is the option's, else the nearest `.driftloop` beside or above the spec, else beside or
    above the current folder, else that of DRIFTLOOP_STATE. LocalError when the nearest one
    belongs to another user.
    """
    if option is not None:
        return StateChoice(StateFolder.open_folder(option), "option")
    if spec is not None and (state := _search_upwards(spec.expanduser().absolute().parent)):
        return StateChoice(state, "spec")
    here = Path.cwd()
    if state := _search_upwards(here):
        return StateChoice(state, "here")
    if value := environment.get(VARIABLE):
        return StateChoice(StateFolder.open_folder(Path(value)), "variable")
    return StateChoice(StateFolder.open_folder(here / STATE_FOLDER), "none")


def describe_ignored(choice: StateChoice, environment: Mapping[str, str]) -> str | None:
    """Return what to tell about a DRIFTLOOP_STATE that is not used; None when there is none."""
    value = environment.get(VARIABLE)
    nearer = choice.source in ("spec", "here")
    if not value or not nearer or StateFolder.open_folder(Path(value)) == choice.folder:
        return None
    return f"{VARIABLE} is not used: the state folder {choice.folder.root} is nearer"


def choose_new_state(
    option: Path | None, *, spec: Path | None, environment: Mapping[str, str]
) -> StateChoice:
    """Return the state folder of `up`, which need not exist yet.

    Without one at or above the spec, it is made in the current folder when the spec is below it,
    so that the next command finds it from here, and beside the spec otherwise.
    """
    choice = choose_state(option, spec=spec, environment=environment)
    if spec is None or choice.source in ("option", "spec", "variable"):
        return choice
    folder, here = spec.expanduser().resolve().parent, Path.cwd().resolve()
    place = here if folder.is_relative_to(here) else folder
    return StateChoice(StateFolder.open_folder(place / STATE_FOLDER), "none")


def is_nowhere(state: StateChoice, environment: Mapping[str, str]) -> bool:
    """Return True when neither a state folder nor a variable names a cluster repository."""
    return state.source == "none" and not environment.get(GIT_URL.environment)


def choose_repository(
    url: str | None, state: StateChoice, environment: Mapping[str, str]
) -> tuple[str, str | None]:
    """Return the URL of the cluster repository, and what to tell about a variable that is not
    used.

    `url` wins, then the state folder's repository, then DRIFTLOOP_GIT_URL. GitError when none of
    them names a repository.
    """
    if url is not None:
        return url, None
    folder, variable = state.folder, environment.get(GIT_URL.environment)
    if folder.repository.exists():
        folder.require_repository()
        ignored = variable not in (None, "", folder.repository_url)
        note = f"{GIT_URL.environment} is not used: the state folder {folder.root} is nearer"
        return folder.repository_url, note if ignored else None
    if variable and state.source == "none":
        return variable, None
    raise GitError(
        f"no cluster repository: --repository is not set and `{folder.root}` has none",
        hint="name it with --repository URL, or the state folder of `driftloop up` with --state",
    )


def _search_upwards(start: Path) -> StateFolder | None:
    """Return the nearest state folder at or above a folder, not looking into or above the home
    of the user from below it."""
    for folder in _walk_upwards(start):
        state = StateFolder.open_folder(folder / STATE_FOLDER)
        if state.exists():
            if (owner := state.root.stat().st_uid) != os.getuid():
                raise LocalError(
                    f"the state folder {state.root} belongs to another user (uid {owner})",
                    hint="name your own with --state",
                )
            return state
    return None


def _walk_upwards(start: Path) -> Iterator[Path]:
    home = Path.home()
    for folder in (start, *start.parents):
        if folder == home and folder != start:
            return
        yield folder
