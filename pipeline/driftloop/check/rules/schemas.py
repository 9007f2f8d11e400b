"""DL9xx: objects against the schemas of an API server; nothing without schemas."""

from collections.abc import Iterator

from driftloop.check.finding import RuleMatch, rule
from driftloop.check.schema import Kind
from driftloop.check.world import World


def _misfits(world: World, kind: Kind) -> Iterator[RuleMatch]:
    for item, misfit in world.misfits:
        if misfit.kind == kind:
            yield item.at(misfit.node, misfit.said, fix=misfit.fix)


@rule("DL901", "A field that the API does not have", fix="remove it, or write it where it belongs")
def unknown(world: World) -> Iterator[RuleMatch]:
    """A strict API server refuses the object; a lenient one drops the field without a word, so
    that what it asks for never happens."""
    yield from _misfits(world, "unknown")


@rule("DL902", "A value of the wrong type", fix="write the type that the API takes")
def wrong_type(world: World) -> Iterator[RuleMatch]:
    """The API server refuses the object, and Flux nothing or all of what it was applied with."""
    yield from _misfits(world, "type")


@rule("DL903", "A required field is missing", fix="add it")
def required(world: World) -> Iterator[RuleMatch]:
    """The API server refuses the object, and with it what Flux applies together with it."""
    yield from _misfits(world, "required")


@rule("DL904", "A value that the API does not allow", fix="write one that it allows")
def value(world: World) -> Iterator[RuleMatch]:
    """The API server refuses the object, and with it what Flux applies together with it."""
    yield from _misfits(world, "value")
