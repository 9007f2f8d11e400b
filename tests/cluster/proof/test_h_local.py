"""9: the same story from the same pipeline with the local runtime, and what differs."""

import asyncio
import contextlib
import json
import os
import re
import subprocess
from pathlib import Path

from cluster.proof.test_d_rollout import revert
from cluster.world import EXAMPLE, ROOT, P
from uv import find_uv_bin

from driftloop.demo.platform import DemoPlatform, is_answered
from driftloop.demo.traffic import DigitRow, TrafficGenerator
from driftloop.errors import LocalError
from driftloop.local.ground.state import StateFolder

TREES = ("workflows", "deployments", "monitors", "cluster")


def test_9_the_local_runtime_makes_the_same_commits(it):
    state = StateFolder.open_folder(it.folder / "local")
    if not state.repository.exists():
        labelled(it.folder / "labelled", ("clean", "shuffled", "rotated"))
        # as in point 8: what was taken back was made of the batches that are there
        labelled(it.folder / "more", ("rotated",), "--size", "200")
        asyncio.run(story(it, state))
    local = told("--git-dir", str(state.repository))
    cluster = told("--git-dir", str(it.bare))
    (it.folder / "comparison.txt").write_text(side_by_side(cluster, local))
    for line in side_by_side(cluster, local).splitlines():
        it.say(f"  {line}")
    assert [line for line, _ in cluster] == [line for line, _ in local]
    same, differ = compared(it, cluster, local, state)
    it.say(f"files of the pipeline, commit by commit: {same} equal, {len(differ)} differ")
    for path in sorted(differ):
        it.say(f"  {path}: {differ[path]}")


def labelled(folder, kinds, *options):
    for kind in kinds:
        command = [
            find_uv_bin(),
            "run",
            "-q",
            EXAMPLE / "batches.py",
            "labelled",
            "--kind",
            kind,
            "--to",
            folder,
            *options,
        ]
        subprocess.run(command, check=True, capture_output=True)


async def story(it, state):
    """What points 1 to 8 did to git, with the commands that a person would use."""
    platform = DemoPlatform(state, P, P)
    envs = Path(os.environ.get("CLUSTER_TEST_ENVS", ROOT / ".driftloop" / "envs"))
    envs.mkdir(parents=True, exist_ok=True)
    here = it.folder / "labelled"
    rows = {
        kind: tuple(DigitRow(tuple(x), y) for x, y in it.rows(kind))
        for kind in ("clean", "rotated")
    }
    bucket = "s3://digits/batches"

    async def run(cause):
        name = json.loads(
            await platform.run_command(
                "trigger", P, "--state", str(state.root), "--cause", cause, "--output", "json"
            )
        )["run"]
        phase = await platform.wait_until(
            lambda: platform.read_outcome(name), f"{name} to end", within=600
        )
        it.say(f"  local: {name} {phase}")

    async def idle():
        return (await platform.read_decision()).phase == "idle"

    def applied():
        with contextlib.suppress(LocalError):
            return platform.applied_commit()
        return None

    async with platform.run_up(it.spec(), lambda line: None, envs=envs):
        await platform.wait_until(applied, "the first commit", within=900)
        it.say("  local: the pipeline is applied")
        platform.upload_files(sorted(here.glob("clean-*")), bucket)
        await run("first")
        first = platform.read_release().production.id
        await platform.wait_until(applied, "the release to be applied", within=120)
        body = {"data": {"ndarray": [rows["clean"][0].pixels]}}
        await platform.wait_until(
            lambda: is_answered(platform.predictions, body), "a prediction", within=120
        )
        await platform.wait_until(idle, "the cooldown to end", within=120)
        platform.upload_files(sorted(here.glob("shuffled-*")), bucket)
        await run("shuffled labels")
        taken_away(platform, "shuffled")
        await platform.wait_until(idle, "the cooldown to end", within=120)
        platform.upload_files(sorted(here.glob("rotated-*")), bucket)

        def promoted():
            release = platform.read_release()
            return release.phase == "stable" and release.production.id != first

        async def drift(prefix):
            async with TrafficGenerator.open_traffic(
                platform.predictions, rows, rate=20, prefix=prefix
            ) as traffic:
                traffic.switch_rows("rotated")
                await platform.wait_until(promoted, "the drift to end in a promotion", within=900)
                traffic.pause_sending()
            await platform.wait_until(applied, "the promotion to be applied", within=120)
            it.say(f"  local: promoted {platform.read_release().production.id}")

        await drift("local")
        revert(it, platform.read_tip(), bare=state.repository)
        await platform.wait_until(applied, "the revert to be applied", within=120)
        assert platform.read_release().production.id == first
        await platform.wait_until(idle, "the cooldown to end", within=120)
        platform.upload_files(sorted((it.folder / "more").glob("rotated-*")), bucket)
        await drift("again")
        await platform.run_command("remove", P, "--state", str(state.root))
        it.say("  local: removed")


def taken_away(platform, kind):
    from driftloop.clients.s3 import ObjectStore, StoreLocation, parse_location

    store, folder = (
        ObjectStore.from_environment(platform.read_store()),
        parse_location("s3://digits/batches"),
    )
    for found in store.list_folder(folder):
        if found.key.rpartition("/")[2].startswith(f"{kind}-"):
            store.delete_object(StoreLocation(folder.bucket, found.key))


def told(*where):
    """The commits about the pipeline, oldest first: (phase and subject without what differs by nature, sha)."""
    form = "--format=%H%x09%(trailers:key=Driftloop-Phase,valueonly,separator=)%x09%s"
    command = ["git", *where, "log", "--reverse", form, "main", "--", *TREES[:3]]
    log = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names, found = {}, []
    for line in log.splitlines():
        sha, phase, subject = line.split("\t")

        def numbered(match):
            return names.setdefault(match[0], f"release-{len(names) + 1}")

        found.append((f"{phase or '-':7} {re.sub(r'r[0-9a-f]{8}', numbered, subject)}", sha))
    return found


def side_by_side(cluster, local):
    lines = [f"{'cluster':64} local"]
    for number in range(max(len(cluster), len(local))):
        left, right = (side[number][0] if number < len(side) else "" for side in (cluster, local))
        lines.append(f"{left:64} {'(the same)' if left == right else right}")
    return "\n".join(lines)


def compared(it, cluster, local, state):
    """How many of the pipeline's files are byte for byte the same in each commit, and why the others aren't."""
    same, differ = 0, {}
    for (_, ours), (_, theirs) in zip(cluster, local, strict=True):
        sides = [files(it.bare, ours), files(state.repository, theirs)]
        for path in sides[0].keys() | sides[1].keys():
            if sides[0].get(path) == sides[1].get(path):
                same += 1
            else:
                differ[path] = why(path, *(path in side for side in sides))
    return same, differ


def why(path, on_cluster, here):
    if not (on_cluster and here):
        return "only on the cluster" if on_cluster else "only locally"
    trained = path.endswith(
        ("release.yaml", "<release>.deployment.yaml", "model.seldondeployment.yaml")
    )
    return "digests and metrics of another training" if trained else "another driftloop rendered it"


def files(repository, commit):
    """path -> text with release ids and runs numbered, of the pipeline's trees."""
    git = ["git", "--git-dir", str(repository)]
    listed = subprocess.run(
        [*git, "ls-tree", "-r", "--name-only", commit, "--", *TREES],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    ours = [
        path
        for path in listed.splitlines()
        if f"/{P}/" in path or path.endswith(f"pipelines/{P}.yaml")
    ]
    found = {}
    for path in ours:
        text = subprocess.run(
            [*git, "show", f"{commit}:{path}"], capture_output=True, text=True, check=True
        ).stdout
        found[re.sub(r"r[0-9a-f]{8}", "<release>", path)] = re.sub(
            r"r[0-9a-f]{8}|(?<=digits-)[0-9a-f]{12}", "<>", text
        )
    return found
