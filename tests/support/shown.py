"""The commands that the pages show and that change nothing, typed against a running loop: `python shown.py PIPELINE`."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
READING = {
    *("status", "why", "runs", "releases", "history", "logs", "traffic", "report", "trace", "card"),
    *("list", "events", "prune", "explain", "data", "env", "schema", "access", "reproduce", "plan"),
}
ELSEWHERE = re.compile(
    r"--(cluster|context|repository|watch|follow|keep|into|platform)\b|\$|s3://|\.\./|\bput\b"
)
"""What asks a cluster or another repository, does not end, or needs files that only its page has."""
NAMES = re.compile(r"(?<![\w./-])(digits|credit|fraud)(?![\w./-])")


def list_shown() -> Iterator[str]:
    """Each command line once, without what a shell does with its output."""
    pages = [page for page in sorted(DOCS.rglob("*.md")) if "decisions" not in page.parts]
    lines = [line for page in pages for line in _list_lines(page.read_text())]
    yield from dict.fromkeys(lines)


def _list_lines(text: str) -> Iterator[str]:
    for block in re.findall(r"^ *```.*?^ *```", text, re.DOTALL | re.MULTILINE):
        for shown in re.findall(r"^ *(?:\$ )?driftloop (.*)$", block, re.MULTILINE):
            line = re.split(r"\s+(?:#|\||>|&&)", shown)[0].strip()
            if line.partition(" ")[0] in READING and not ELSEWHERE.search(line):
                yield line


def type_shown(pipeline: str) -> int:
    """Type all of them with this pipeline's own name, runs, release and request; how many were typed."""
    runs = [run["run"] for run in json.loads(_type(f"runs {pipeline} -o json"))]
    release = json.loads(_type(f"releases {pipeline} -o json"))[0]["release"]
    request = _find_request(pipeline)
    count, failures = 0, list[str]()
    for shown in list_shown():
        line = NAMES.sub(pipeline, shown).replace("digits-4f0c1d2e3a5b", runs[0])
        line = re.sub(r"\b(digits|fraud)-[0-9a-f]{12}\b", runs[-1], line)
        line = re.sub(r"\br1a2b3c4d\b", release, line)
        line = re.sub(r"(?<=trace )[0-9a-f]{8}(-[0-9a-f-]{27})?(?= |$)", request, line)
        print(f"$ driftloop {line}", flush=True)
        try:
            _type(line)
        except RuntimeError as error:
            failures.append(str(error))
        count += 1
    if failures:
        raise SystemExit("\n".join(failures))
    return count


def _find_request(pipeline: str) -> str:
    """Wait until a request is recorded, and return its id."""
    for _ in range(60):
        try:
            return _type(f"traffic {pipeline} -o csv --columns request_id").split()[-1]
        except RuntimeError:
            time.sleep(1)
    raise SystemExit("no request was recorded in a minute")


def _type(line: str) -> str:
    done = subprocess.run(
        ["bash", "-c", f"driftloop {line}"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"driftloop {line}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    print(f"{type_shown(sys.argv[1])} commands were typed")
