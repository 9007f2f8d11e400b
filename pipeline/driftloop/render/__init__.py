"""Manifests -> Tree, Tree against Tree. `rendered(spec_text, release_text)` is the one way from
texts to files."""

from driftloop.render.diff import FileChange, compare_trees, owned_files
from driftloop.render.patches import PatchedValue
from driftloop.render.patching import patch_tree
from driftloop.render.samples import sample_releases
from driftloop.render.tree import Tree, build_tree, render_tree, require_signatures

__all__ = [
    "FileChange",
    "PatchedValue",
    "Tree",
    "build_tree",
    "compare_trees",
    "owned_files",
    "patch_tree",
    "render_tree",
    "require_signatures",
    "sample_releases",
]
