"""Manifests -> Tree, Tree against Tree. `rendered(spec_text, release_text)` is the one way from
texts to files."""

from driftloop.render.diff import Change, diff, owned
from driftloop.render.tree import Tree, rendered, tree

__all__ = ["Change", "Tree", "diff", "owned", "rendered", "tree"]
