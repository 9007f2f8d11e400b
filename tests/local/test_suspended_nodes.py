"""A suspended node is ended by another program, while its runner writes the same Workflow: in any order of both."""

import asyncio
import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.local.argo.nodes import Site
from driftloop.local.argo.store import Json, OvertakenError
from driftloop.local.argo_workflows.status import Status

ENDS = ("Succeeded", "Failed", "Skipped")


class Bucket:
    """One Workflow, written by compare-and-set as JetStream does it; each write lets others go first."""

    def __init__(self) -> None:
        self.workflow: Json = {
            "metadata": {"name": "run", "namespace": "digits", "uid": "1"},
            "spec": {},
        }
        self.revision = 1

    async def get(self, namespace: str, name: str) -> tuple[Json, int]:
        await asyncio.sleep(0)
        return copy.deepcopy(self.workflow), self.revision

    async def update(self, workflow: Json, revision: int) -> int:
        await asyncio.sleep(0)
        if revision != self.revision:
            raise OvertakenError("written by another program")
        self.workflow, self.revision = copy.deepcopy(workflow), revision + 1
        return self.revision


def nodes(bucket: Bucket) -> dict[str, Any]:
    return {node["name"]: node for node in bucket.workflow["status"]["nodes"].values()}


@settings(deadline=None, max_examples=300)
@given(
    waits=st.integers(0, 8),
    writes=st.lists(st.integers(0, 3), max_size=6),
    heard=st.booleans(),
    phase=st.sampled_from(ENDS),
    restarts=st.booleans(),
)
def test_what_a_person_says_is_never_lost_and_never_changes(
    waits: int, writes: list[int], heard: bool, phase: str, restarts: bool
) -> None:
    """The end comes after `waits` turns of the loop, while other nodes begin and end; the runner hears of it,
    or meets it in its next write, or starts again and finds it."""

    async def play() -> None:
        bucket = Bucket()
        status = Status(copy.deepcopy(bucket.workflow), bucket.revision, bucket)  # type: ignore[arg-type]
        held = await status.begin(Site("run.ask", "ask"), "Suspend", "ask")

        async def end() -> None:
            for _ in range(waits):
                await asyncio.sleep(0)
            while True:
                workflow, revision = await bucket.get("digits", "run")
                node = workflow["status"]["nodes"][held.id]
                node |= {"phase": phase, "message": "fine", "finishedAt": "2026-01-02T03:04:05Z"}
                node["outputs"] = {"parameters": [{"name": "who", "value": "ann"}]}
                try:
                    await bucket.update(workflow, revision)
                except OvertakenError:
                    continue
                return

        async def work() -> None:
            for number, turns in enumerate(writes):
                node = await status.begin(Site(f"run.{number}", f"{number}"), "Pod", "pod")
                for _ in range(turns):
                    await asyncio.sleep(0)
                await status.end_node(node, "Succeeded")

        waiting = asyncio.create_task(status.wait_until_ended(held))
        await asyncio.gather(end(), work())
        if heard:
            status.take_ends(copy.deepcopy(bucket.workflow))
        elif restarts:
            waiting.cancel()
            status = Status(copy.deepcopy(bucket.workflow), bucket.revision, bucket)  # type: ignore[arg-type]
            assert status.fulfilled(held.site) is not None
            waiting = asyncio.create_task(status.wait_until_ended(held))
        else:
            await status.begin(Site("run.last", "last"), "Pod", "pod")
        ended = await asyncio.wait_for(waiting, 5)
        await status.end("Succeeded", "")
        assert (ended.phase, ended.outputs.parameters) == (phase, {"who": "ann"})
        stored = nodes(bucket)["run.ask"]
        assert (stored["phase"], stored["message"]) == (phase, "fine")
        assert stored["startedAt"] == held.started
        assert all(nodes(bucket)[f"run.{n}"]["phase"] == "Succeeded" for n in range(len(writes)))

    asyncio.run(play())
