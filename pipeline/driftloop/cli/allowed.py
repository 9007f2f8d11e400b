"""`--allow`: the surprises a person means."""

import click


def _known(_context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    if value:
        # rendering takes a second to import, and `up` stays small without it
        from driftloop.operations.impact import SURPRISES

        for code in value:
            if code not in SURPRISES:
                raise click.BadParameter(f"`{code}` is none of {', '.join(sorted(SURPRISES))}")
    return value


option = click.option(
    "--allow",
    metavar="CODE",
    multiple=True,
    callback=_known,
    help="A surprise that is meant: detector-removed, predictor-removed; may be given again.",
)
