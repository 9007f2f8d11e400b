"""What a PromQL text asks for, as a parser of the language reads it."""

import re

import promql_parser

_VARIABLES = {"$__rate_interval": "5m"}
"""What Grafana puts in before it asks."""


def parsed(expression: str) -> promql_parser.Expr:
    """ValueError when it is no PromQL."""
    for name, value in _VARIABLES.items():
        expression = expression.replace(name, value)
    return promql_parser.parse(expression)


def asked(expression: str, legend: str = "") -> tuple[dict[str, dict[str, str]], set[str]]:
    """(metric -> label -> value asked of it, labels that it is summed or matched by, or shown with)."""
    metrics: dict[str, dict[str, str]] = {}
    grouped = set(re.findall(r"\{\{(\w+)\}\}", legend))

    def look(node: promql_parser.Expr) -> None:
        match node:
            case promql_parser.VectorSelector():
                labels = {matcher.name: matcher.value for matcher in node.matchers.matchers}
                metrics.setdefault(node.name, {}).update(labels)
            case promql_parser.AggregateExpr() if node.modifier is not None:
                grouped.update(node.modifier.labels)
            case promql_parser.BinaryExpr() if node.modifier is not None:
                if node.modifier.matching is not None:
                    grouped.update(node.modifier.matching.labels)
                grouped.update(node.modifier.group_labels or ())

    promql_parser.walk(parsed(expression), look)
    return metrics, grouped
