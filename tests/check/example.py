"""Examples of rules: one text that holds a bad and a good variant.

A line that ends in `# bad` is in the bad variant only, one in `# good` in the good one; `# here` (or `# bad here`)
marks the lines that are reported. `# file: PATH` begins another file, `# whole: NAME` adds that Namespace.
"""

import re
from dataclasses import dataclass

_MARK = re.compile(r"[ \t]*# (bad|good|here|bad here)$")
_FILE = re.compile(r"# file: (\S+)$")
_WHOLE = re.compile(r"# whole: (\S+)$")


@dataclass(frozen=True)
class Variant:
    """Files of one variant, and the (path, line) of the findings expected in them."""

    files: dict[str, str]
    expected: tuple[tuple[str, int], ...]


def variant(text: str, name: str) -> Variant:
    """Return the `bad` or the `good` variant of an example."""
    lines: dict[str, list[str]] = {}
    expected: list[tuple[str, int]] = []
    path = "example.yaml"
    for line in text.splitlines():
        if file := _FILE.match(line):
            path = file[1]
        elif whole := _WHOLE.match(line):
            lines["namespace.yaml"] = [
                "apiVersion: v1",
                "kind: Namespace",
                f"metadata: {{name: {whole[1]}}}",
            ]
        else:
            mark = _MARK.search(line)
            words = mark[1].split() if mark else []
            if {"bad", "good"} & set(words) <= {name}:
                lines.setdefault(path, []).append(line[: mark.start()] if mark else line)
                if name == "bad" and "here" in words:
                    expected.append((path, len(lines[path])))
    return Variant(
        {path: "\n".join(kept) + "\n" for path, kept in lines.items()}, tuple(sorted(expected))
    )
