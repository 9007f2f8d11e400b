"""The way in which every test of the whole loop sets a cluster up: an empty one, and the guide followed on it.

CLUSTER_KIT is a folder with `up`, `down` and `upstream` (an empty cluster on this machine, and what
the platform's tree fetches from outside served inside it), CLUSTER_MIRRORS what `upstream` takes.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

from cluster.guide import GUIDE, Terminal, read_blocks
from cluster.live import KIT, MIRRORS
from cluster.world import BACKEND, ROOT, SPEC
from uv import find_uv_bin

MISSING = None if KIT and MIRRORS else "CLUSTER_KIT and CLUSTER_MIRRORS are not set"
PLATFORM = range(2, 7)
"""Steps of the guide to a platform that is ready."""


MEMORY = """\
  capture: {every: 20s}
  labels: {batches: {least: 100, every: 1m}}
  retention: {}
"""
"""What the guide's pipeline remembers in tests."""
MONITORS = "    quality: {on: label, window: 100, then: rollback}\n"


def watch_more(text):
    """The guide's spec with a memory, and a monitor of labels that goes back. It takes the place of another
    one: two cores have no room for three beside a run."""
    found, several = re.subn(r"(?m)^    outlier:.*\n", MONITORS, text)
    assert several == 1
    return found + MEMORY


def wipe_cluster(it):
    """Make the cluster of the kit anew, with an empty repository beside it."""
    _run_kit("down", "--reset")
    _run_kit("up")
    _run_kit("upstream", MIRRORS)
    it.git("init", "-q", "--bare", "-b", "main", it.bare, cwd=it.folder)


def reach_cluster():
    """Find the kit's cluster and programs, which another process may have made."""
    state = Path(os.environ.get("CLUSTER_STATE", "/var/tmp/cluster"))
    programs = os.environ.get("CLUSTER_BIN", "/var/tmp/cluster-bin")
    os.environ["KUBECONFIG"] = str(state / "admin.conf")
    os.environ["PATH"] = f"{programs}:{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"


def follow_guide(it, steps, *, before=lambda block: None, after=lambda block: None):
    """Run the blocks of these steps in one terminal, from a checkout of this project."""
    shell, cwd = _open_terminal(it)
    for block in read_blocks(GUIDE.read_text()):
        if block.step in steps:
            before(block)
            shell.run(adapt(block.commands), cwd=cwd)
            cwd = None
            after(block)


def _run_kit(program, *arguments):
    done = subprocess.run(
        [f"{KIT}/{program}", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{program}: {done.stdout[-2000:]}{done.stderr[-2000:]}"


def _open_terminal(it):
    """A person's machine: a checkout of this project, its programs, and credentials for git."""
    home = it.folder / "home"
    checkout = home / "driftloop"
    checkout.mkdir(parents=True)
    for part in ("cluster", "examples"):
        shutil.copytree(ROOT / part, checkout / part)
    shutil.copy(ROOT / ".sourceignore", checkout)
    spec = checkout / "examples" / "digits" / SPEC
    text = watch_more(spec.read_text())
    if BACKEND == "seldon":
        # the executor's first probe comes 20 s after its start: only a kept version is back before
        text, kept = re.subn(r"(?m)^  rollout:.*$", r"\g<0>\n    keepPrevious: true", text)
        assert kept == 1
        text += "  signatures: require\n"
    spec.write_text(text)
    return Terminal(home, make_environment(it, home)), checkout


def make_environment(it, home, *programs):
    """Variables of a person's shell: git's credentials, and folders of programs before this machine's own."""
    password = it.passwords["bot"]
    path = (*programs, Path(find_uv_bin()).parent, os.environ["PATH"])
    return {
        "HOME": str(home),
        "GIT_URL": it.url,
        "GIT_USERNAME": "bot",
        "GIT_PASSWORD": password,
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{it.url.replace('://', f'://bot:{password}@')}.insteadOf",
        "GIT_CONFIG_VALUE_0": it.url,
        **{f"GIT_{who}_NAME": "person" for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_EMAIL": "person@cluster.test" for who in ("AUTHOR", "COMMITTER")},
        "PATH": ":".join(map(str, path)),
    }


def adapt(commands):
    """Write what differs from the guide's cluster: git without TLS, and the back end that is tested."""
    if BACKEND == "seldon":
        commands = commands.replace("digits/plain.yaml", "digits/pipeline.yaml")
    return commands.replace("flux bootstrap git ", "flux bootstrap git --allow-insecure-http ")
