"""Completion of names in shells."""

import click
from click.shell_completion import CompletionItem

from driftloop.errors import PipelineError


def complete_pipeline(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the names of pipelines that begin with what is typed; none where none are known."""
    from driftloop.operations.commits.names import list_pipeline_names

    try:
        names = list_pipeline_names()
    except (PipelineError, OSError):
        names = []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
