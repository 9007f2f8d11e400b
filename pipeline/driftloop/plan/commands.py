"""Commands that train and evaluate: names in their words, and parameters as variables."""

import re
from collections.abc import Iterator, Sequence

from driftloop.contract.parameters import SEED
from driftloop.contract.programs import (
    EVALUATION_PLACES,
    TRAINING_PLACES,
    list_named,
    parameter_variable,
    place_variable,
)
from driftloop.contract.suggestions import suggest_closest
from driftloop.plan.findings import SpecFinding, format_location, format_names
from driftloop.spec import Pipeline

_VARIABLE = re.compile(r"(?<!\$)\$\(DRIFTLOOP_([A-Z0-9_]+)\)")


def check_commands(pipeline: Pipeline) -> Iterator[SpecFinding]:
    """Look for names in words that stand for nothing, and for parameters that can't all be variables."""
    train, evaluate = pipeline.spec.train, pipeline.spec.evaluate
    if train.command:
        places = [place for place in TRAINING_PLACES if place != "checkpoint" or train.checkpoint]
        yield from _check_words("train", train.command, (*places, *train.parameters))
        yield from _check_parameters(tuple(train.parameters))
    if evaluate.command:
        yield from _check_words("evaluate", evaluate.command, EVALUATION_PLACES)


def _check_words(role: str, words: Sequence[str], known: Sequence[str]) -> Iterator[SpecFinding]:
    for number, name in list_named(words):
        if name in known:
            continue
        location = ("spec", role, "command", number)
        hint = (
            suggest_closest(name, known)
            or "what a shell makes of braces goes into a script of the image"
        )
        if role == "train" and name == "checkpoint":
            hint = "write `checkpoint: true` under train"
        yield SpecFinding(
            location,
            f"{format_location(location)} names `{{{name}}}`, must be one of: {format_names(known)}",
            hint,
        )
    for number, word in enumerate(words):
        for found in _VARIABLE.finditer(word):
            location = ("spec", role, "command", number)
            place = found[1].removeprefix("PARAMETER_").lower()
            yield SpecFinding(
                location,
                f"{format_location(location)} holds `{found[0]}`, which nothing fills in: `$(NAME)` is a variable "
                "under `env`",
                f"write `{{{place}}}`",
            )


def _check_parameters(names: Sequence[str]) -> Iterator[SpecFinding]:
    taken: dict[str, str] = {}
    for name in names:
        location = ("spec", "train", "parameters", name)
        if name in TRAINING_PLACES and name != SEED:
            yield SpecFinding(
                location,
                f"{format_location(location)} must have another name: with a command `{{{name}}}` and "
                f"`{place_variable(name)}` are driftloop's own",
                key=True,
            )
        variable = parameter_variable(name)
        if (other := taken.setdefault(variable, name)) != name:
            yield SpecFinding(
                location,
                f"{format_location(location)} must not differ from `{other}` in upper and lower case alone: with a "
                f"command both are the variable `{variable}`",
                key=True,
            )
