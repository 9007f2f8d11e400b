"""`driftloop explain`."""

import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from driftloop.check import RULES, CheckRule
from driftloop.check.explanation import explained
from driftloop.cli import options
from driftloop.operations.project.explain import find_rule, read_example

if TYPE_CHECKING:
    from driftloop.operations.project.fields import FieldExplanation

EXAMPLES = """\b
Examples:
  driftloop explain
  driftloop explain DL204
  driftloop explain rollout.canary"""

_CODE = re.compile(r"(?i)dl\d*")


@click.command(epilog=EXAMPLES)
@click.argument("what", metavar="CODE|FIELD", required=False)
@options.output
def command(*, what: str | None, output: str) -> None:
    """Explain finding CODE (the rule, why it fails at run time, and the fix) or FIELD of a spec (what
    it is, its type and default, the fields in it). Without either, list all codes."""
    if what is not None and not _CODE.fullmatch(what):
        _print_field(what, output)
        return
    code = what
    rules = RULES if code is None else (find_rule(code),)
    if output != "text":
        documents = [_to_json(rule) for rule in rules]
        options.print_document(documents if code is None else documents[0], output)
    elif code is None:
        for rule in rules:
            click.echo(f"{rule.code}  {rule.severity:7}  {rule.title}")
    else:
        click.echo(explained(rules[0], read_example(rules[0].code)))


def _print_field(path: str, output: str) -> None:
    # it reads the models of the spec, which a code does not need
    from driftloop.operations.project.fields import explain_field

    explained_field = explain_field(path)
    if output != "text":
        options.print_document(asdict(explained_field), output)
        return
    click.echo(f"{_format_field(explained_field, explained_field.path)}")
    if explained_field.fields:
        click.echo("\nfields:")
    for inner in explained_field.fields:
        click.echo(f"  {_format_field(inner, inner.path.rpartition('.')[2])}")


def _format_field(one: "FieldExplanation", name: str) -> str:
    default = f", default `{json.dumps(one.default)}`" if one.default not in (None, {}, []) else ""
    needed = ", needed" if one.required else ""
    only = f"; {one.only}" if one.only else ""
    return f"{name}  ({one.type}{default}{needed}{only})" + (
        f"\n      {one.text}" if one.text else ""
    )


def _to_json(rule: CheckRule) -> dict[str, str | None]:
    return {
        "code": rule.code,
        "title": rule.title,
        "severity": str(rule.severity),
        "why": rule.why,
        "fix": rule.fix,
        "example": read_example(rule.code),
    }
