"""A function or a command of the user's, as `driftloop-train` takes it."""

from driftloop.spec.evaluate import Evaluate
from driftloop.spec.train import Train


def name_function(code: Train | Evaluate) -> tuple[str, ...]:
    """Return the function, before all options; nothing where there is a command."""
    return () if code.run is None else (code.run,)


def name_program(code: Train | Evaluate) -> tuple[str, ...]:
    """Return the words of the command, after all options; nothing where there is a function."""
    return ("--", *code.command) if code.command else ()
