"""Controller of Workflows: starts new ones, resumes interrupted ones, stops and deletes others."""

import asyncio
import logging
import shutil

from driftloop.local.argo.nodes import ENDED
from driftloop.local.argo.store import Change, GoneError, until_stored
from driftloop.local.argo_workflows.collector import Collector
from driftloop.local.argo_workflows.leaves import World
from driftloop.local.argo_workflows.run import Run

LOG = logging.getLogger("argo.workflows")

Key = tuple[str, str]


class Controller:
    """Controller of the Workflows of one state folder."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._collector = Collector(world.state, world.workflows)
        self._running: dict[Key, tuple[str, asyncio.Task[None]]] = {}
        self._runs: dict[Key, Run] = {}

    async def run(self) -> None:
        """Run until cancelled; then all steps are stopped, and their nodes stay as they are."""
        collecting = asyncio.create_task(self._collector.run(), name="collector")
        try:
            async for change in self._world.workflows.changes():
                self._collector.see(change)
                await self._see(change)
                if collecting.done():
                    collecting.result()
        finally:
            collecting.cancel()
            tasks = [task for _, task in self._running.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _see(self, change: Change) -> None:
        key = (change.namespace, change.name)
        uid, task = self._running.get(key, ("", None))
        if change.workflow is None:
            # an old message after a restart may be of a Workflow that was created again since
            if task is not None:
                current = await until_stored(lambda: self._world.workflows.get(*key))
                if current is None:
                    await self._stop(key, task, "deleted")
            return
        new_uid = change.workflow["metadata"]["uid"]
        if (change.workflow.get("status") or {}).get("phase") in ENDED:
            return
        if task is not None and not task.done():
            if uid == new_uid:
                self._runs[key].hear(change.workflow)
                if change.workflow["spec"].get("shutdown"):
                    self._runs[key].stop()
                return
            await self._stop(key, task, "created again")
        current = await until_stored(lambda: self._world.workflows.get(*key))
        if current is None or (current[0].get("status") or {}).get("phase") in ENDED:
            return
        run = Run(current[0], current[1], self._world)
        LOG.info("%s/%s: %s", *key, "resumed" if run.phase else "started")
        started = asyncio.create_task(self._execute(key, run), name=f"workflow {'/'.join(key)}")
        self._running[key], self._runs[key] = (new_uid, started), run

    async def _execute(self, key: Key, run: Run) -> None:
        try:
            gone = False
            try:
                await run.execute()
            except* GoneError:
                gone = True
            if gone:
                LOG.info("%s/%s: deleted while it ran", *key)
                return
        # a bug met by one Workflow must not end the others; the traceback goes to the log
        except Exception as error:
            LOG.exception("%s/%s: the runner failed", *key)
            try:
                await run.fail(f"the local runtime failed: {error!r}; see its log")
            except GoneError:
                return
        LOG.info("%s/%s: %s", *key, run.phase)
        shutil.rmtree(self._world.state.work / "steps" / ".".join(key), ignore_errors=True)
        self._forget(key)

    async def _stop(self, key: Key, task: "asyncio.Task[None]", reason: str) -> None:
        LOG.info("%s/%s: %s, its steps are stopped", *key, reason)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        shutil.rmtree(self._world.state.work / "steps" / ".".join(key), ignore_errors=True)
        self._running.pop(key, None)
        self._runs.pop(key, None)

    def _forget(self, key: Key) -> None:
        _, task = self._running.get(key, ("", None))
        if task is asyncio.current_task():
            del self._running[key]
            self._runs.pop(key, None)
