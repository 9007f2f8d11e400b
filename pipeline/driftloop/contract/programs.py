"""What a command that trains or evaluates is given, as variables and in its words, and what it has to leave."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

Place = Literal["data", "model", "metrics", "parameters", "checkpoint", "seed", "trial"]

TRAINING_PLACES: tuple[Place, ...] = (
    "data",
    "model",
    "metrics",
    "parameters",
    "checkpoint",
    "seed",
    "trial",
)
"""What the command of a training is given besides its parameters."""
EVALUATION_PLACES: tuple[Place, ...] = ("data", "model", "metrics")
"""What the command of an evaluation is given."""

_NAME = re.compile(r"(?<!\$)\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""A name in a word; a shell's `${NAME}` is none."""
_BARE = re.compile(r"(?:[\w@%+=:./-]|\{[A-Za-z_][A-Za-z0-9_]*\})+", re.ASCII)
"""A word that needs no quotes."""


def place_variable(place: str) -> str:
    """Return the environment variable that holds what a command is given."""
    return f"DRIFTLOOP_{place.upper()}"


def parameter_variable(name: str) -> str:
    """Return the environment variable that holds a parameter."""
    return f"DRIFTLOOP_PARAMETER_{name.upper()}"


def list_named(words: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield the names that a command's words hold in braces, and the number of the word."""
    for number, word in enumerate(words):
        for found in _NAME.finditer(word):
            yield number, found[1]


def fill_names(word: str, values: Mapping[str, str]) -> str:
    """Return a word with the values of the names in it; a name without a value stays."""
    return _NAME.sub(lambda found: values.get(found[1], found[0]), word)


def type_words(words: Sequence[str]) -> str:
    """Return a command as one types it; of names in braces a shell makes nothing."""
    return " ".join(word if _BARE.fullmatch(word) else shlex.quote(word) for word in words)


def format_parameter(value: object) -> str:
    """Return a parameter as a variable or a word holds it: a text as it is, a number in digits, `true` or `false`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)
