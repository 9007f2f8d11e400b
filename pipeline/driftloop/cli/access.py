"""`driftloop access`."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from driftloop.cli import options
from driftloop.cli.lazy import SuggestingGroup
from driftloop.contract.times import format_now
from driftloop.operations.commits.target import read_person
from driftloop.operations.project.keys import add_key, list_keys, revoke_key
from driftloop.spec.access import ApiKey
from driftloop.spec.values import duration
from driftloop.text.tables import format_table
from driftloop.text.words import count_noun

GROUP_EXAMPLES = """\b
Examples:
  driftloop access add acme --to pipeline.yaml
  driftloop access list pipeline.yaml
  driftloop access revoke acme --from pipeline.yaml"""

ADD_EXAMPLES = """\b
Examples:
  driftloop access add acme --to pipeline.yaml --expires 90d
  export DRIFTLOOP_API_KEY=$(driftloop access add me --to pipeline.yaml)"""

LIST_EXAMPLES = """\b
Examples:
  driftloop access list pipeline.yaml
  driftloop access list pipeline.yaml --output json"""

REVOKE_EXAMPLES = """\b
Examples:
  driftloop access revoke acme --from pipeline.yaml"""

SPEC = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("access", cls=SuggestingGroup, epilog=GROUP_EXAMPLES)
def command() -> None:
    """Make, list and revoke the keys of a pipeline's callers, in its spec: `driftloop commit` makes them
    count."""


def _read_lifetime(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> timedelta | None:
    if text is None:
        return None
    try:
        lifetime = duration(text)
    except ValueError as error:
        raise click.BadParameter(f"`{text}` {error}") from error
    if not lifetime:
        raise click.BadParameter(f"`{text}` must be longer than 0s")
    return lifetime


@command.command("add", epilog=ADD_EXAMPLES)
@click.argument("name")
@click.option("--to", "spec", required=True, type=SPEC, metavar="SPEC", help="Spec to write it to.")
@click.option(
    "--expires",
    "lifetime",
    callback=_read_lifetime,
    metavar="TIME",
    help="Time after which the key ends, such as 90d.  [default: it is valid until it is revoked]",
)
@options.output
def add(*, name: str, spec: Path, lifetime: timedelta | None, output: str) -> None:
    """Make a key for caller NAME, and print it: nothing keeps it, so it can't be printed again.

    The spec gets the key's public half, by which the gateway knows it. Callers send the key as
    `x-api-key`. With a first key all callers without one are refused.
    """
    made = add_key(spec, name, person=read_person(), now=datetime.now(UTC), lifetime=lifetime)
    if output != "text":
        document = {"name": made.name, "key": made.text, "expires": made.expires}
        options.print_document(document, output)
    else:
        click.echo(made.text)
    options.print_progress(
        f"`{made.name}` opens {made.pipeline} once {spec} is committed"
        f"{f', until {made.expires}' if made.expires else ''}; its key is not shown again"
    )
    if made.first:
        options.print_progress(
            f"it is the first one: callers of {made.pipeline} without a key will be refused"
        )


@command.command("list", epilog=LIST_EXAMPLES)
@click.argument("spec", type=SPEC)
@options.output
def list_(*, spec: Path, output: str) -> None:
    """List the keys of a spec: who made each, when, and until when it is valid."""
    keys = list_keys(spec)
    if output != "text":
        rows = [{"name": name, **_describe(key)} for name, key in keys.items()]
        options.print_document({"keys": rows}, output)
        return
    now = format_now()
    for line in format_table(
        [
            ("NAME", "MADE", "BY", "EXPIRES"),
            *((name, key.made, key.by, _format_end(key, now)) for name, key in keys.items()),
        ]
        if keys
        else []
    ):
        click.echo(line)
    options.print_progress(f"{count_noun(len(keys), 'key')} in {spec}")


@command.command("revoke", epilog=REVOKE_EXAMPLES)
@click.argument("name")
@click.option(
    "--from", "spec", required=True, type=SPEC, metavar="SPEC", help="Spec to take it out of."
)
def revoke(*, name: str, spec: Path) -> None:
    """Take the key of caller NAME out of a spec: once that is committed the gateway knows it no more."""
    done = revoke_key(spec, name)
    left = count_noun(done.left, "key") if done.left else "no key"
    options.print_progress(
        f"`{done.name}` is refused once {spec} is committed; {left} left"
        f"{'' if done.left else f', so nobody gets in by one: take `apiKeys` out to open {done.pipeline} to all'}"
    )


def _describe(key: ApiKey) -> dict[str, str | None]:
    return {"made": key.made, "by": key.by, "expires": key.expires, "public": key.public}


def _format_end(key: ApiKey, now: str) -> str:
    if key.expires is None:
        return "never"
    return f"{key.expires}{' (expired)' if key.expires <= now else ''}"
