"""YAML text to plain data, and a PipelineError with file, line and column where that can't be done."""

from typing import Any

from driftloop.errors import PipelineError
from driftloop.text.node import YamlNode
from driftloop.text.read import ReadProblem, ReadRules, read

EXACT_RULES = ReadRules(exact=True)


def load_documents(
    content: str | bytes,
    source: str,
    *,
    error: type[PipelineError] = PipelineError,
    hint: str | None = None,
) -> list[Any]:
    """Return the documents of a text, empty ones left out. `source` names the text in errors."""
    return [node.plain_data() for node in _read_nodes(content, source, error, hint)]


def load_mapping(
    content: str | bytes,
    source: str,
    *,
    error: type[PipelineError] = PipelineError,
    hint: str | None = None,
    rules: ReadRules = EXACT_RULES,
) -> dict[str, Any]:
    """Return the only document of a text, which must be a mapping."""
    nodes = _read_nodes(content, source, error, hint, rules)
    if not nodes:
        raise error(f"{source}:1:1: the text is empty, must be a mapping", hint=hint)
    if len(nodes) > 1:
        message = f"{source}:{nodes[1].line}:{nodes[1].column}: a second document begins, must be the only one"
        raise error(message, hint=hint)
    value = nodes[0].plain_data()
    if not isinstance(value, dict):
        shown = "a list" if isinstance(value, list) else nodes[0].shown
        message = f"{source}:{nodes[0].line}:{nodes[0].column}: the document is {shown}, must be a mapping"
        raise error(message, hint=hint)
    return value


def describe_problem(problem: ReadProblem, source: str) -> str:
    """Return `file:line:column: message`, as every error about a text begins."""
    syntax = "not YAML: " if problem.fault == "syntax" else ""
    return f"{source}:{problem.line}:{problem.column}: {syntax}{problem.said}"


def _read_nodes(
    content: str | bytes,
    source: str,
    error: type[PipelineError],
    hint: str | None,
    rules: ReadRules = EXACT_RULES,
) -> tuple[YamlNode, ...]:
    reading = read(content, rules=rules)
    if reading.problems:
        lines = (describe_problem(problem, source) for problem in reading.problems)
        raise error("\n".join(lines), hint=hint)
    return reading.documents
