"""Commits: specs, releases and secrets, what a change does, what is refused."""
