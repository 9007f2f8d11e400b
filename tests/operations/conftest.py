"""The cluster repository of the tests of git serves these, too."""

from tests.git.conftest import git, remote, repository

__all__ = ["git", "remote", "repository"]
