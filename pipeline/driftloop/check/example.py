"""Examples of rules: one text that holds a bad and a good variant.

A line that ends in `# bad` stands in the bad variant only, one in `# good` in the good one; `# here` (or `# bad here`)
marks the lines that are reported. `# file: PATH` begins another file, `# whole: NAME` adds that Namespace.
"""

import re
from dataclasses import dataclass

_MARK = re.compile(r"[ \t]*# (bad|good|here|bad here)$")
_FILE = re.compile(r"# file: (\S+)$")
_WHOLE = re.compile(r"# whole: (\S+)$")


@dataclass(frozen=True)
class Variant:
    """The files of one variant, and the (path, line) of what is to be found there."""

    files: dict[str, str]
    expected: tuple[tuple[str, int], ...]


def variant(text: str, name: str) -> Variant:
    """The `bad` or the `good` variant of an example."""
    lines: dict[str, list[str]] = {}
    expected: list[tuple[str, int]] = []
    path = "example.yaml"
    for line in text.splitlines():
        if found := _FILE.match(line):
            path = found[1]
        elif found := _WHOLE.match(line):
            lines["namespace.yaml"] = ["apiVersion: v1", "kind: Namespace", f"metadata: {{name: {found[1]}}}"]
        else:
            mark = _MARK.search(line)
            words = mark[1].split() if mark else []
            if {"bad", "good"} & set(words) <= {name}:
                lines.setdefault(path, []).append(line[: mark.start()] if mark else line)
                if name == "bad" and "here" in words:
                    expected.append((path, len(lines[path])))
    return Variant({path: "\n".join(found) + "\n" for path, found in lines.items()}, tuple(sorted(expected)))
