"""How far `driftloop validate` and Argo's own `argo lint` agree on the snippets of Argo's validation tests.

    python tests/bench/argo_agreement.py ARGO_SOURCE

ARGO_SOURCE is a checkout of argo-workflows; a program `argolint`, which ends with 1 for what Argo refuses, must be on the
PATH. Prints how many of the snippets that it refuses are errors here, with and without `--complete` (many call templates
that no file has), how many that it takes are errors, and which are judged otherwise.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "pipeline"))

from driftloop.check import Severity, check_files  # noqa: E402

TESTS = ("validate_test.go", "validate_dag_test.go")


def list_snippets(source: Path) -> Iterator[tuple[str, str]]:
    """Yield name and text of each Workflow in the tests."""
    for name in TESTS:
        text = (source / "workflow" / "validate" / name).read_text()
        for match in re.finditer(r"`([^`]*)`", text):
            if "kind:" in match[1] and "spec:" in match[1]:
                line = text.count("\n", 0, match.start()) + 1
                yield f"{name}:{line}", match[1].lstrip("\n")


def refuses(text: str) -> bool:
    """Return whether Argo refuses a snippet."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "w.yaml").write_text(text)
        done = subprocess.run(["argolint", "w.yaml"], cwd=folder, capture_output=True, check=False)
        return done.returncode != 0


def finds(text: str, *, complete: bool) -> bool:
    """Return whether a snippet has an error here."""
    found = check_files({"w.yaml": text}, complete=complete)
    return any(one.severity is Severity.ERROR for one in found)


def main() -> None:
    snippets = dict(list_snippets(Path(sys.argv[1])))
    refused = {name: text for name, text in snippets.items() if refuses(text)}
    taken = {name: text for name, text in snippets.items() if name not in refused}
    for complete in (False, True):
        missed = [name for name, text in refused.items() if not finds(text, complete=complete)]
        how = "with --complete" if complete else "file by file"
        share = 1 - len(missed) / len(refused)
        print(
            f"{how}: {len(refused) - len(missed)} of {len(refused)} that Argo refuses are errors, {share:.0%}"
        )
        print(*(f"  missed: {name}" for name in missed), sep="\n")
    wrong = [name for name, text in taken.items() if finds(text, complete=False)]
    print(f"{len(wrong)} of {len(taken)} that Argo takes are errors", *wrong, sep="\n  ")


if __name__ == "__main__":
    main()
