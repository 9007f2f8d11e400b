"""Pages from templates: every value is escaped, whatever is in it."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import Any

from jinja2 import BaseLoader, ChoiceLoader, Environment, TemplateNotFound

from driftloop.console.views.times import format_ago, format_length, format_number, read_moment
from driftloop.local.ground.sentences import describe_cause
from driftloop.pages.documents import build_environment as build_shared
from driftloop.pages.svg import percent, shorten_text

PACKAGE = "driftloop.console"
_TRIAL = re.compile(r"\((\d+):.*")
"""What Argo puts behind the name of a step of a loop: its number, and everything that it is given."""
_GOOD = {
    "good", "done", "released", "quiet", "passed", "Succeeded", "production", "idle", "chosen",
}  # fmt: skip
_BAD = {
    "bad", "refused", "rejected", "failed", "alarm", "not judged", "halted", "lost", "Failed", "Error",
    "taken back",
}  # fmt: skip
_BUSY = {
    "running", "rolling out", "rolling-out", "evaluating", "pending", "waiting", "held", "candidate", "postponed",
    "Running", "Pending", "cooling",
}  # fmt: skip


def render_page(template: str, **values: Any) -> str:
    """Return a page."""
    return build_environment().get_template(template).render(**values)


@cache
def build_environment() -> Environment:
    """Return Jinja's environment of the console's templates, above the shared ones."""
    shared = build_shared()
    loaders = [_OwnTemplates(), *filter(None, [shared.loader])]
    environment = shared.overlay(loader=ChoiceLoader(loaders))
    # an overlay shares these with the environment below it, where nobody uses the names
    environment.filters = environment.filters | {
        "ago": lambda text: format_ago(read_moment(text), datetime.now(UTC)),
        "clock": lambda moment: moment.astimezone(UTC).strftime("%H:%M:%S UTC"),
        "stamp": lambda at: datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S"),
        "length_of": format_length,
        "figure": format_number,
        "shorten": lambda text, most=160: shorten_text(str(text), most),
        "digest": lambda text: (text or "").removeprefix("sha256:")[:12] or "-",
        "pairs": format_pairs,
        "percent": percent,
        "weights": format_weights,
        "step": lambda name: _TRIAL.sub(r" \1", name),
        "kind": find_kind,
        "cause": describe_cause,
    }
    return environment


def format_pairs(values: Mapping[str, object] | None) -> str:
    """Return values by name in one line."""
    return ", ".join(f"{name} {format_number(value)}" for name, value in (values or {}).items())


def format_weights(weights: Mapping[str, int]) -> str:
    """Return how traffic is split, in one line."""
    return ", ".join(f"{release} {weight} %" for release, weight in weights.items())


def group_rows(rows: Iterable[Any]) -> list[tuple[str, list[Any]]]:
    """Return rows by their section, in their order."""
    return [(section, list(group)) for section, group in groupby(rows, key=lambda row: row.section)]


def find_kind(word: str) -> str:
    """Return the class that colours a word: `good`, `bad`, `busy`, or none."""
    for kind, words in (("good", _GOOD), ("bad", _BAD), ("busy", _BUSY)):
        if word in words:
            return kind
    return ""


class _OwnTemplates(BaseLoader):
    def get_source(self, environment: Environment, template: str) -> tuple[str, None, Any]:
        try:
            return (files(PACKAGE) / "templates" / template).read_text(), None, lambda: True
        except (FileNotFoundError, IsADirectoryError) as error:
            raise TemplateNotFound(template) from error
