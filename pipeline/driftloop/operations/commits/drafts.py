"""A spec that somebody edits: what is wrong with it, what a commit of it would change, and the commit. There
is no project beside it: what its images are built from is looked at where they are."""

import getpass
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftloop.contract.trees import SPEC
from driftloop.errors import GitError, SpecError
from driftloop.git.repository import Commit
from driftloop.local.ground import addresses, binaries
from driftloop.local.ground.state import StateFolder
from driftloop.operations.commits import releases, target
from driftloop.operations.commits.preview import read_committed
from driftloop.operations.ground.place import StateChoice
from driftloop.plan import make_plan
from driftloop.spec import InvalidSpec, Problem, parse_spec


@dataclass(frozen=True)
class CommittedDraft:
    """A draft in git."""

    commit: Commit | None
    """None when nothing changes."""
    branch: str


def list_problems(text: str, name: str) -> tuple[Problem, ...]:
    """Return what is wrong with a spec of a pipeline, in the order of its lines."""
    try:
        document = parse_spec(text, path=SPEC)
        make_plan(document)
    except InvalidSpec as error:
        return error.problems
    except SpecError as error:
        return (Problem(SPEC, 1, 1, error.message, error.hint),)
    found = document.pipeline.metadata.name
    if found != name:
        problem = f"metadata.name is `{found}`, must be `{name}`"
        return (document.source.problem(("metadata", "name"), problem),)
    return ()


def plan_draft(state: StateFolder, file: Path, name: str) -> dict[str, Any]:
    """Return what a commit of a draft would change: `settings`, `effects`, `objects`, `surprises`,
    `files`. Writes nothing."""
    from driftloop.operations.commits.preview import preview_commit

    text = _read_draft(file, name)
    with _open(state, addresses.BRANCH) as opened:
        existing, platform = read_committed(opened, name)
    preview = preview_commit(file, text, existing, platform=platform)
    impact = preview.impact
    return {
        "settings": [{"path": s.path, "old": s.old, "new": s.new} for s in impact.settings],
        "effects": list(impact.effects),
        "objects": [{"change": r.change, "kind": r.kind, "name": r.name} for r in impact.resources],
        "surprises": [{"code": s.code, "what": s.what, "why": s.why} for s in impact.surprises],
        "files": [{"path": c.path, "change": c.kind} for c in preview.changes],
    }


def commit_draft(
    state: StateFolder, file: Path, name: str, *, to_branch: bool, allow: frozenset[str]
) -> CommittedDraft:
    """Commit a draft, to the branch that is applied or to a new one with the person's name;
    SurpriseError for a change that is seldom meant and not allowed."""
    text = _read_draft(file, name)
    branch = _create_branch(state, name) if to_branch else addresses.BRANCH
    with _open(state, branch) as opened:
        commit = releases.commit_spec(opened.repository, text, cause=opened.cause, allow=allow)
    return CommittedDraft(commit, branch)


def _read_draft(file: Path, name: str) -> str:
    text = file.read_text()
    if problems := list_problems(text, name):
        raise InvalidSpec(problems)
    return text


def _open(state: StateFolder, branch: str) -> Any:
    return target.open_target(
        state.repository_url,
        branch=branch,
        state=StateChoice(state, "option"),
        environment={},
        report=lambda _: None,
        is_applied=branch == addresses.BRANCH,
    )


def _create_branch(state: StateFolder, name: str) -> str:
    """Make a new branch at the tip of the one that is applied."""
    state.require_repository()
    person = re.sub(r"[^a-z0-9]+", "-", getpass.getuser().lower()).strip("-") or "somebody"
    git = [binaries.find_git(), f"--git-dir={state.repository}"]
    for number in range(1, 1000):
        branch = f"{person}/{name}-{number}"
        command = [*git, "branch", "--no-track", branch, addresses.BRANCH]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return branch
        if "already exists" not in done.stderr:
            raise GitError(f"branch {branch} can't be made: {done.stderr.strip()}")
    raise GitError(f"there are 999 branches of {person} for {name}", hint="delete old ones")
