"""Finds what is wrong in Kubernetes YAML before it is committed, whoever wrote it: pure, texts
in, findings out."""

from driftloop.check.check import check_files, check_world
from driftloop.check.finding import CheckRule, Finding, Severity
from driftloop.check.rules import RULES
from driftloop.check.schema import Catalogue
from driftloop.check.world import World

__all__ = [
    "RULES",
    "Catalogue",
    "CheckRule",
    "Finding",
    "Severity",
    "World",
    "check_files",
    "check_world",
]
