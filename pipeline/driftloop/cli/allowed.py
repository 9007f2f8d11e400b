"""The option `--allow`."""

import click


def _check_codes(
    _context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    if value:
        # rendering takes a second to import, and `up` stays small without it
        from driftloop.operations.commits.impact import SURPRISES

        for code in value:
            if code not in SURPRISES:
                raise click.BadParameter(
                    f"`{code}` is not defined, must be one of: {', '.join(sorted(SURPRISES))}"
                )
    return value


option = click.option(
    "--allow",
    metavar="CODE",
    multiple=True,
    callback=_check_codes,
    help="Allow a surprise: detector-removed, predictor-removed or rollout-left; repeatable.",
)
