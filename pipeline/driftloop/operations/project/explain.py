"""Find the rule of a finding code, and its example."""

from importlib.resources import files

from driftloop.check import RULES, CheckRule
from driftloop.errors import PipelineError
from driftloop.text.words import suggest_names


def find_rule(code: str) -> CheckRule:
    """Return the rule of a code in any case; PipelineError when it is not defined."""
    rules = {rule.code: rule for rule in RULES}
    if code.upper() not in rules:
        hint = suggest_names(code.upper(), rules) or "`driftloop explain` lists all of them"
        raise PipelineError(f"finding `{code}` is not defined", hint=hint)
    return rules[code.upper()]


def read_example(code: str) -> str | None:
    """Return the example of a rule; None for the few that a text can't show."""
    file = files("driftloop.check").joinpath("examples", f"{code}.yaml")
    return file.read_text("utf-8") if file.is_file() else None
