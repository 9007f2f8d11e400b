"""The commands of docs/guides/notebook-to-production.md, typed one after the other in an empty folder; and those of
all pages that change nothing, typed against the loop that this leaves."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import shown
from support.loops import processes_of

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "notebook-to-production.md"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_every_command_works_in_this_order(tmp_path):
    blocks = re.findall(r"^```sh\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    # what the shell would leave running is stopped when a command fails
    first, *rest, last = blocks
    # for what other pages show: traffic to be read before five minutes are over, and a model card
    more = "  capture: {every: 5s}\\n  card: {owner: us, contact: us@example.org, intendedUse: tests, limits: none}"
    first += f"sed -i 's/^spec:$/spec:\\n{more}/' pipeline.yaml\n"
    blocks = [first, *rest, f"{sys.executable} {shown.__file__} tumours\n", last]
    stop = "trap 'driftloop down > /dev/null 2>&1 || true' ERR\n"
    script = (
        "set -eEuo pipefail\n"
        + stop
        + "".join(f"{block}echo '== end of block'\n" for block in blocks)
    )
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    env = {key: value for key, value in env.items() if not key.startswith(("DRIFTLOOP_", "AWS_"))}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    printed = done.stdout.split("== end of block\n")
    assert len(printed) == len(blocks) + 1
    assert re.search(r"^[3-9]\d commands were typed$", printed[-3], re.MULTILINE)
    assert "release  tumours: stable; production r" in printed[1]
    assert '"names":["benign","malignant"]' in printed[2]
    assert "train.parameters.trees: 200 -> 300" in printed[3]
    subjects = [
        re.sub(r"\br[0-9a-f]{8}\b", "R", line.partition(" ")[2])
        for line in printed[-2].splitlines()
    ]
    assert subjects == [
        "Add pipeline tumours",
        "Release R of tumours as the first release",
        "Change pipeline tumours",
        "Release R of tumours in shadow",
        "End the rollout of R of tumours: accepted",
        "Promote R of tumours",
        "Roll tumours back to R",
    ]
    told = re.findall(r"^[0-9a-f]{7} (.*)$", GUIDE.read_text(), re.MULTILINE)
    assert [re.sub(r"\br[0-9a-f]{8}\b", "R", line) for line in told] == subjects
    assert processes_of(tmp_path / "tumours" / ".driftloop") == []
