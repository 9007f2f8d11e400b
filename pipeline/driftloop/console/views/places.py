"""Paths of pages that several pages lead to."""

HOME = "/pipelines"
"""Above the pages of each pipeline."""
