"""A Dockerfile as far as this machine needs it: the base image; and mistakes that a build would
stop at, said early.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from driftloop.errors import LocalError

INSTRUCTIONS = (
    *(
        "ADD",
        "ARG",
        "CMD",
        "COPY",
        "ENTRYPOINT",
        "ENV",
        "EXPOSE",
        "FROM",
        "HEALTHCHECK",
        "LABEL",
        "MAINTAINER",
    ),
    *("ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
)
HINT = "start it with `FROM python:3.11-slim` or one of our bases"

_HEREDOC = re.compile(r"<<-?\s*([\"']?)(\w+)\1")


def read_base_image(file: Path) -> str:
    """The image of the last FROM; LocalError with file and line of the first error."""
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise LocalError(f"{file} is not UTF-8 text", hint=HINT) from error
    image = None
    for number, line in _split_instructions(text):
        word, _, rest = line.partition(" ")
        instruction = word.upper()
        if instruction not in INSTRUCTIONS:
            raise LocalError(
                f"{file}:{number}: `{word[:40]}` is not an instruction, must be one of: {', '.join(INSTRUCTIONS)}",
                hint=HINT if image is None else None,
            )
        if instruction == "FROM":
            image = next((part for part in rest.split() if not part.startswith("--")), None)
        elif image is None and instruction != "ARG":
            raise LocalError(f"{file}:{number}: {instruction} comes before any FROM", hint=HINT)
    if image is None:
        raise LocalError(f"{file} has no FROM line", hint=HINT)
    return image


def _split_instructions(text: str) -> Iterator[tuple[int, str]]:
    """First line's number and text of each instruction, continued lines joined; without comments,
    here-documents.
    """
    start, parts = 0, list[str]()
    until: list[str] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if until:
            if line == until[0]:
                until.pop(0)
            continue
        if not line or line.startswith("#"):
            continue
        start = start or number
        parts.append(line.removesuffix("\\").strip())
        if line.endswith("\\"):
            continue
        whole = " ".join(parts)
        yield start, whole
        until = (
            [match[2] for match in _HEREDOC.finditer(whole)]
            if whole[:4].upper() in ("RUN ", "COPY", "ADD ")
            else []
        )
        start, parts = 0, []
    if parts:
        yield start, " ".join(parts)
