"""Facts of a model that only a person can say, for its card."""

from typing import Annotated

from pydantic import AfterValidator, Field

from driftloop.spec.base import SpecModel


def _words(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return " ".join(text.split())


Words = Annotated[str, AfterValidator(_words), Field(min_length=1, max_length=2000)]
"""A sentence or more."""


class Card(SpecModel):
    """What a model card says besides what driftloop knows; all of it is needed."""

    owner: Words
    """Who answers for the model: a person or a team."""
    contact: Words
    """How to reach them."""
    intended_use: Words
    """What its answers are for, and who uses them."""
    limits: Words
    """Where it must not be used, what it is known to do badly, and for whom."""
