"""Every rule over a set of files."""

from collections.abc import Mapping

from driftloop.check.finding import Finding
from driftloop.check.rules import RULES
from driftloop.check.schema import Catalogue
from driftloop.check.world import World


def check_files(
    files: Mapping[str, str | bytes],
    *,
    others: frozenset[str] = frozenset(),
    within: tuple[str, ...] = ("",),
    complete: bool = False,
    catalogue: Catalogue | None = None,
) -> tuple[Finding, ...]:
    """Return the findings of a set of YAML files (path -> text), in the order of paths and
    lines.

    `others` are paths that exist beside them, `within` the folders that are given whole (all of
    them by default), `complete` says that nothing is made elsewhere, so that every reference
    must resolve, and a `catalogue` of API schemas makes the check strict. Input of any size,
    depth or encoding is answered with findings, in bounded time.
    """
    return check_world(
        World(files, others=others, within=within, complete=complete, catalogue=catalogue)
    )


def check_world(world: World) -> tuple[Finding, ...]:
    """Return the findings of a world that has been read."""
    return tuple(sorted({finding for rule in RULES for finding in rule.findings(world)}))
