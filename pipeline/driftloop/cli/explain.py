"""`driftloop explain`."""

import json

import click

from driftloop.check import RULES, CheckRule
from driftloop.check.explanation import explained
from driftloop.cli import options
from driftloop.operations.project.explain import find_rule, read_example

EXAMPLES = """\b
Examples:
  driftloop explain
  driftloop explain DL204"""


@click.command(epilog=EXAMPLES)
@click.argument("code", required=False)
@options.output
def command(*, code: str | None, output: str) -> None:
    """Explain finding CODE: the rule, why it fails at run time, and the fix. Without CODE, list
    all codes."""
    rules = RULES if code is None else (find_rule(code),)
    if output == "json":
        documents = [_to_json(rule) for rule in rules]
        click.echo(json.dumps(documents if code is None else documents[0]))
    elif code is None:
        for rule in rules:
            click.echo(f"{rule.code}  {rule.severity:7}  {rule.title}")
    else:
        click.echo(explained(rules[0], read_example(rules[0].code)))


def _to_json(rule: CheckRule) -> dict[str, str | None]:
    return {
        "code": rule.code,
        "title": rule.title,
        "severity": str(rule.severity),
        "why": rule.why,
        "fix": rule.fix,
        "example": read_example(rule.code),
    }
