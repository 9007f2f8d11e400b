"""`driftloop explain`: what a finding code means, with an example."""

import json
from importlib.resources import files

import click

from driftloop.check import RULES, Rule
from driftloop.check.explanation import explained
from driftloop.errors import PipelineError
from driftloop.text.words import near


def example(code: str) -> str | None:
    """The example of a rule; None for the few that a text can't show."""
    file = files("driftloop.check").joinpath("examples", f"{code}.yaml")
    return file.read_text("utf-8") if file.is_file() else None


@click.command()
@click.argument("code", required=False)
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(*, code: str | None, output: str) -> None:
    """Say what finding CODE means, why it breaks at run time, and what to do; without CODE, list all of them."""
    rules = RULES if code is None else (_named(code),)
    if output == "json":
        click.echo(json.dumps([_described(rule) for rule in rules] if code is None else _described(rules[0])))
    elif code is None:
        for rule in rules:
            click.echo(f"{rule.code}  {rule.severity:7}  {rule.title}")
    else:
        click.echo(explained(rules[0], example(rules[0].code)))


def _named(code: str) -> Rule:
    found = {rule.code: rule for rule in RULES}
    if code.upper() not in found:
        hint = near(code.upper(), found) or "`driftloop explain` lists all of them"
        raise PipelineError(f"there is no finding `{code}`", hint=hint)
    return found[code.upper()]


def _described(rule: Rule) -> dict[str, str | None]:
    about = {"code": rule.code, "title": rule.title, "severity": str(rule.severity), "why": rule.why, "fix": rule.fix}
    return {**about, "example": example(rule.code)}
