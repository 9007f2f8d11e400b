"""YAML that Go's readers understand as we do: they take a bare `n` or `y` for a boolean, PyYAML
does not quote it."""

import re
from typing import Any

import yaml


class _QuotingDumper(yaml.SafeDumper):
    pass


_QuotingDumper.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^[yYnN]$"), list("yYnN")
)
# an importer of Hera finds strings of several lines printed differently: this dumper keeps its own way
_QuotingDumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, "|" if "\n" in text else None
    ),
)


def dump(*documents: dict[str, Any]) -> str:
    """One or more objects as YAML."""
    text: str = yaml.dump_all(
        documents, Dumper=_QuotingDumper, sort_keys=False, width=10**6, allow_unicode=True
    )
    return text
