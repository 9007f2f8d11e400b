"""Whether there is a cluster to test on, and what is missing otherwise."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

KIT, MIRRORS = os.environ.get("CLUSTER_KIT"), os.environ.get("CLUSTER_MIRRORS")
"""A folder with the programs that make an empty cluster, and what one of them takes."""


def missing(crds):
    """Why nothing can be shown: no KUBECONFIG, no kubectl, no cluster, no such CRDs; None when all is there."""
    if not os.environ.get("KUBECONFIG"):
        return "KUBECONFIG is not set"
    if shutil.which("kubectl") is None:
        return "kubectl is not on this machine"
    found = subprocess.run(
        ["kubectl", "get", "crd", *crds, "-o", "name"], capture_output=True, text=True, check=False
    )
    return (
        None
        if found.returncode == 0
        else f"the cluster is not there or lacks controllers: {found.stderr.strip()}"
    )


def mark(items, folder: Path, crds, *, seconds):
    """Skip the tests of a folder politely without a cluster; bound the others.

    Where the kit makes a cluster, there is none yet when tests are collected.
    """
    ours = any(folder in item.path.parents for item in items)
    reason = missing(crds) if ours and not (KIT and MIRRORS) else None
    bound(items, folder, reason, seconds=seconds)


def bound(items, folder: Path, reason, *, seconds):
    """Bound the tests of a folder, or skip them for a reason."""
    for item in items:
        if folder in item.path.parents:
            item.add_marker(pytest.mark.timeout(seconds))
            if reason is not None:
                item.add_marker(pytest.mark.skip(reason=reason))
