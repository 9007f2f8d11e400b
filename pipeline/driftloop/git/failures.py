"""Git's own error texts, and what to do about each."""

from driftloop.contract.names import GIT_SECRET
from driftloop.contract.platform import GIT_PASSWORD, GIT_USERNAME
from driftloop.errors import GitError

CREDENTIAL_VARIABLES = (GIT_USERNAME.environment, GIT_PASSWORD.environment)


FAILURES = (
    (
        (
            "Authentication failed",
            "could not read Username",
            "could not read Password",
            "Permission denied",
            "returned error: 401",
            "returned error: 403",
        ),
        "the git server refuses the credentials",
        f"set `{GIT_USERNAME.key}` and `{GIT_PASSWORD.key}` in the Secret `{GIT_SECRET}` "
        f"({' and '.join(CREDENTIAL_VARIABLES)}), of a user that may push",
    ),
    (
        (
            "does not appear to be a git repository",
            "does not exist",
            "not found",
            "No such file or directory",
        ),
        "the repository does not exist",
        "check the URL; create a local one with `git init --bare --initial-branch=main FOLDER`",
    ),
    (
        (
            "Could not resolve host",
            "Failed to connect",
            "Connection refused",
            "Connection timed out",
            "unable to access",
        ),
        "the git server can't be reached",
        "check the URL and the network, then try again; nothing was changed",
    ),
    (
        ("No space left on device",),
        "no space left on the device",
        "free some space, then try again",
    ),
    (
        ("pre-receive hook declined", "protected branch", "hook declined"),
        "the git server refuses the push by its rules",
        "allow this user to push to the branch, or use another branch",
    ),
)


RACES = (
    "fetch first",
    "non-fast-forward",
    "cannot lock ref",
    "failed to update ref",
    "stale info",
    "incorrect old value",
)


def is_race(said: str) -> bool:
    return any(sign in said for sign in RACES)


def explain_failure(url: str, command: str, stderr: str) -> GitError:
    """Return git's error output as one sentence, with a hint that helps."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    short = next(
        (line for line in lines if line.startswith(("fatal:", "error:", "!"))),
        lines[-1] if lines else "",
    )
    for signs, problem, hint in FAILURES:
        if any(sign in stderr for sign in signs):
            return GitError(f"{url}: {problem} ({short})", hint=hint)
    return GitError(
        f"`git {command}` failed on {url}: {short}",
        hint="run the same command by hand for more details",
    )
