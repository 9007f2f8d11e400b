"""Filter of a Trigger: `filter.attributes`."""

from collections.abc import Callable, Mapping

Filter = Callable[[Mapping[str, str]], bool]


def compile_filter(expected: Mapping[str, str]) -> Filter:
    """The filter of these attributes; an empty value means "has to be there", as in Knative."""
    pairs = tuple(expected.items())
    return lambda attributes: all(
        (attributes.get(name) == value) if value else name in attributes for name, value in pairs
    )
