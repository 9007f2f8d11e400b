"""Finds what is wrong in Kubernetes YAML before it is committed, whoever wrote it: pure, texts in, findings out."""

from pipeline.check.check import check, judged
from pipeline.check.finding import Finding, Rule, Severity
from pipeline.check.rules import RULES
from pipeline.check.schema import Catalogue
from pipeline.check.world import World

__all__ = ["RULES", "Catalogue", "Finding", "Rule", "Severity", "World", "check", "judged"]
