"""`python -m driftloop.console.drafting plan|commit`: a draft of a spec, in a process of its own, since
rendering loads what the console does without."""

import argparse
import json
import sys
from pathlib import Path

from driftloop.errors import PipelineError
from driftloop.local.ground.state import StateFolder
from driftloop.operations.commits.drafts import commit_draft, plan_draft


def main() -> None:
    """Entry point; prints JSON, or an error as the command line says it."""
    parser = argparse.ArgumentParser(prog="drafting", description=__doc__)
    parser.add_argument("action", choices=("plan", "commit"))
    parser.add_argument("file", type=Path)
    parser.add_argument("name")
    parser.add_argument("--branch", action="store_true", help="commit to a new branch")
    parser.add_argument("--allow", action="append", default=[], help="a surprise that is meant")
    parser.add_argument("--state", type=Path, required=True)
    arguments = parser.parse_args()
    state = StateFolder.open_folder(arguments.state)
    try:
        if arguments.action == "plan":
            print(json.dumps(plan_draft(state, arguments.file, arguments.name)))
            return
        done = commit_draft(
            state,
            arguments.file,
            arguments.name,
            to_branch=arguments.branch,
            allow=frozenset(arguments.allow),
        )
        sha = done.commit.sha if done.commit is not None else None
        print(json.dumps({"commit": sha, "branch": done.branch}))
    except PipelineError as error:
        hint = f"\n\nhint: {error.hint}" if error.hint is not None else ""
        sys.exit(f"error: {error.message}{hint}")


if __name__ == "__main__":
    main()
