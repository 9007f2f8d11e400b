"""The user's spec: `load(text, path=…)` turns YAML into a frozen Pipeline, or raises with every
problem."""

from driftloop.spec.load import Document, load_spec, parse_spec, schema
from driftloop.spec.model import Pipeline
from driftloop.spec.problem import InvalidSpec, Problem

__all__ = ["Document", "InvalidSpec", "Pipeline", "Problem", "load_spec", "parse_spec", "schema"]
