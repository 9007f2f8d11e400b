"""Finds what is wrong in Kubernetes YAML before it is committed, whoever wrote it: pure, texts
in, findings out."""

from driftloop.check.check import check, judged
from driftloop.check.finding import Finding, Rule, Severity
from driftloop.check.rules import RULES
from driftloop.check.schema import Catalogue
from driftloop.check.world import World

__all__ = ["RULES", "Catalogue", "Finding", "Rule", "Severity", "World", "check", "judged"]
