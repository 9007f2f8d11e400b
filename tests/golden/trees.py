"""The golden pipelines, `<name>/pipeline.yaml` [+ `release.yaml`], and what is recorded of their trees.

Four trees are recorded whole, in one file for each folder of the tree; the files of a folder follow each other
below lines `# Source: <path>`, as in `helm template`. Of all others `changes.diff` records what the pipeline's
idea changes, compared with a base: the spec of another golden pipeline under this one's name, with the same
production and no rollout (or before the first release). So a label on every object changes tens of files.

Hunks name the list item that they are in, and no line numbers: they change only with the idea.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from driftloop.render import render_tree

HERE = Path(__file__).parent
NAMES = tuple(sorted(file.parent.name for file in HERE.glob("*/pipeline.yaml")))
WHOLE = ("digits-released", "minimal", "observability-seldon", "plain-shadow")
BASES = {
    "access": "plain-shadow",
    "approved": "plain-shadow",
    "autoscale": "plain-shadow",
    "canary": "shadow",
    "capture": "plain-shadow",
    "graph": "shadow",
    "mesh": "shadow",
    "observability": "plain-shadow",
    "patches": "plain-shadow",
    "pinned": "plain-shadow",
    "plain": "plain-shadow",
    "pods": "function",
    "server-sklearn": "shadow",
    "signed": "shadow",
    "sources": "new-data",
    "standby": "plain-shadow",
    "tracking": "plain-shadow",
}
"""Golden pipeline -> the one whose spec it is compared with; `minimal` for those not listed."""
UNLISTED = ("kustomization.yaml", "pipeline.yaml", "release.yaml")
"""Files of a tree that hold no object that a pipeline runs with."""


def spec_text(name: str) -> str:
    return (HERE / name / "pipeline.yaml").read_text()


def release_text(name: str) -> str | None:
    file = HERE / name / "release.yaml"
    return file.read_text() if file.exists() else None


@cache
def tree(name: str) -> dict[str, str]:
    """Path -> text of everything that the golden pipeline renders to."""
    return render_tree(spec_text(name), release_text(name))


def documents(files: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(path, object) of a tree, but for its spec and release."""
    for path, text in files.items():
        if not path.endswith(("/pipeline.yaml", "/release.yaml")):
            for document in yaml.load_all(text, yaml.CSafeLoader):
                yield path, document


def write_tree(name: str, folder: Path) -> Path:
    """Write the tree below `folder` and return it, for programs that read files."""
    for path, text in tree(name).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


@cache
def base_tree(name: str) -> dict[str, str]:
    """Path -> text of what the golden pipeline is compared with."""
    spec, base = spec_text(name), spec_text(BASES.get(name, "minimal"))
    old, new = (yaml.safe_load(text)["metadata"]["name"] for text in (base, spec))
    base = re.sub(rf"\b{re.escape(old)}\b", new, base)
    release = release_text(name)
    settled = _settled(release)
    # where the first release is all that the pipeline shows
    return render_tree(base, None if (base, settled) == (spec, release) else settled)


def _settled(release: str | None) -> str | None:
    """Return the release without a rollout: production alone, with all traffic."""
    if release is None:
        return None
    document = yaml.safe_load(release)
    spec = document["spec"]
    alone = {
        "phase": "stable",
        "candidate": None,
        "previous": None,
        "weights": {spec["production"]["id"]: 100},
    }
    if spec | alone == spec:
        return release
    document["spec"] = spec | alone
    return yaml.safe_dump(document, sort_keys=False)


def expected(name: str) -> dict[str, str]:
    """File below the pipeline's folder -> text that should be in it."""
    files = tree(name)
    if name not in WHOLE:
        return {"changes.diff": compare_trees(base_tree(name), files)}
    folders: dict[str, str] = {}
    for path, text in files.items():
        file = f"expected/{path.partition('/')[0]}.yaml"
        folders[file] = folders.get(file, "") + f"---\n# Source: {path}\n{text}"
    return folders


def recorded(name: str) -> dict[str, str]:
    """File below the pipeline's folder -> text that is in it."""
    folder = HERE / name
    files = sorted((*folder.glob("expected/*"), *folder.glob("changes.*")))
    return {file.relative_to(folder).as_posix(): file.read_text() for file in files}


def compare_trees(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Return the differences of two trees, by file."""
    lines: list[str] = []
    for path in sorted(before.keys() | after.keys()):
        old, new = (files.get(path, "").splitlines(keepends=True) for files in (before, after))
        names = (path if path in files else "/dev/null" for files in (before, after))
        for line in difflib.unified_diff(old, new, *names):
            hunk = re.match(r"@@ -(\d+)", line)
            lines.append(f"@@{_heading(old, int(hunk[1]))}\n" if hunk else line)
    return "".join(lines)


def _heading(lines: list[str], first: int) -> str:
    """Return the item of a list that a hunk's first line (counted from 1) is in."""
    if not 0 < first <= len(lines):
        return ""
    depth = len(lines[first - 1]) - len(lines[first - 1].lstrip())
    for line in reversed(lines[: first - 1]):
        item = re.match(r"( *)- (name|id): .+", line)
        if item and len(item[1]) < depth:
            return f" {line.strip()}"
    return ""
