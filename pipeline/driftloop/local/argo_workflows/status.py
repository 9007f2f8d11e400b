"""Status of a Workflow while it runs: its phase and nodes, stored with every change."""

import asyncio
import logging
from dataclasses import replace
from typing import Any

from driftloop.errors import StoreError
from driftloop.local.argo.nodes import Node, Outputs, Phase, Site, Type, node_id
from driftloop.local.argo.store import GoneError, Json, OvertakenError, Workflows, until_stored
from driftloop.local.argo.times import now
from driftloop.local.argo_workflows import lifecycle

LOG = logging.getLogger("argo.workflows")


class Status:
    """Status of one Workflow.

    Changes raise GoneError when the Workflow was deleted, and wait while NATS is away.
    """

    def __init__(self, workflow: Json, revision: int, workflows: Workflows) -> None:
        self.workflow = workflow
        status = workflow.get("status") or {}
        self.fields: Json = {key: value for key, value in status.items() if key != "nodes"}
        self.nodes = {id: Node.from_json(node) for id, node in (status.get("nodes") or {}).items()}
        self._revision = revision
        self._workflows = workflows
        self._saving = asyncio.Lock()
        self._suspended: dict[str, asyncio.Event] = {}
        self._written = 0
        self._stored = 0

    @property
    def name(self) -> str:
        """Name of the Workflow."""
        return str(self.workflow["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Namespace of the Workflow."""
        return str(self.workflow["metadata"]["namespace"])

    @property
    def phase(self) -> str:
        """Phase of the Workflow; "" before its first run."""
        return str(self.fields.get("phase", ""))

    @property
    def stopped(self) -> bool:
        """True when the Workflow's `shutdown` is set."""
        return bool((self.workflow.get("spec") or {}).get("shutdown"))

    def fulfilled(self, site: Site) -> Node | None:
        """Return the node at a site, if it is over."""
        stored = self.nodes.get(node_id(self.name, site.name))
        return stored if stored is not None and stored.fulfilled else None

    async def begin(
        self,
        site: Site,
        type: Type,
        template: str,
        inputs: dict[str, str] | None = None,
    ) -> Node:
        """Store the node at a site as running: the stored one, or a new one."""
        new = Node.at(site, workflow=self.name, type=type, template=template)
        stored = self.nodes.get(new.id)
        if stored:
            return await self.put(replace(stored, phase="Running", message=""))
        return await self.put(replace(new, inputs=inputs or {}))

    async def unstarted(self, site: Site, template: str, phase: Phase, message: str) -> Node:
        """Store the end of a node that never ran."""
        node = Node.at(site, workflow=self.name, type="Skipped", template=template)
        return await self.put(node.ended(phase, message))

    async def end_node(
        self,
        node: Node,
        phase: Phase,
        message: str = "",
        outputs: Outputs | None = None,
    ) -> Node:
        """Store the end of a node that ran."""
        return await self.put(self.nodes[node.id].ended(phase, message, outputs))

    async def wait_until_ended(self, node: Node) -> Node:
        """Wait until somebody else has ended a suspended node, and return it."""
        ended = self._suspended.setdefault(node.id, asyncio.Event())
        while not self.nodes[node.id].fulfilled:
            await ended.wait()
        return self.nodes[node.id]

    def take_ends(self, workflow: Json) -> None:
        """Take over how suspended nodes were ended by another program."""
        stored = (workflow.get("status") or {}).get("nodes") or {}
        for id, node in list(self.nodes.items()):
            if node.type != "Suspend" or node.fulfilled or id not in stored:
                continue
            theirs = Node.from_json(stored[id])
            if theirs.fulfilled:
                self.nodes[id] = replace(theirs, children=node.children)
                if id in self._suspended:
                    self._suspended[id].set()

    async def put(self, node: Node) -> Node:
        """Store a node; children it had before stay."""
        stored = self.nodes.get(node.id)
        if stored is not None and stored.children != node.children:
            children = dict.fromkeys((*stored.children, *node.children))
            node = replace(node, children=tuple(children))
        self.nodes[node.id] = node
        await self._save()
        return node

    def adopt(self, parent: str, child: str) -> None:
        """Make a node another's child; stored with the next change."""
        node = self.nodes.get(parent)
        if node is not None and child not in node.children:
            self.nodes[parent] = replace(node, children=(*node.children, child))

    def overdue(self, message: str) -> None:
        """Fail every node that is not over; stored with the next change."""
        for node in [node for node in self.nodes.values() if not node.fulfilled]:
            self.nodes[node.id] = node.ended("Failed", message)

    async def set(self, **fields: Any) -> None:
        """Store fields of the status; None removes one."""
        self.fields = {
            key: value for key, value in {**self.fields, **fields}.items() if value is not None
        }
        await self._save()

    async def end(self, phase: str, message: str) -> None:
        """Store the end of the Workflow."""
        self.workflow["metadata"].setdefault("labels", {}).update(
            {"workflows.argoproj.io/completed": "true", "workflows.argoproj.io/phase": phase}
        )
        await self.set(
            phase=phase,
            message=message or None,
            startedAt=self.fields.get("startedAt") or now(),
            finishedAt=now(),
            progress=lifecycle.progress(self.nodes.values()),
        )

    async def _save(self) -> None:
        """Store the Workflow as it is now; changes made during a write go together."""
        self._written += 1
        own = self._written
        async with self._saving:
            if self._stored >= own:
                return
            while True:
                current = self._written
                try:
                    document = self._document()
                    self._revision = await self._workflows.update(document, self._revision)
                except GoneError:
                    raise
                except OvertakenError:
                    await self._reload()
                except StoreError as error:
                    # it may have been stored or not: the next attempt tells
                    LOG.warning("%s/%s: %s; trying again", self.namespace, self.name, error.message)
                    await asyncio.sleep(0.5)
                    await self._reload()
                else:
                    self._stored = current
                    return

    async def _reload(self) -> None:
        """Take metadata and spec that other programs wrote; the status is ours, but for suspended nodes."""
        current = await until_stored(lambda: self._workflows.get(self.namespace, self.name))
        if current is None or current[0]["metadata"]["uid"] != self.workflow["metadata"]["uid"]:
            raise GoneError(f"workflow {self.name} was deleted")
        theirs, self._revision = current
        own, other = self.workflow["metadata"], theirs["metadata"]
        metadata = {**other, **own}
        if annotations := {**other.get("annotations", {}), **own.get("annotations", {})}:
            metadata["annotations"] = annotations
        self.workflow = {**theirs, "metadata": metadata}
        self.take_ends(theirs)

    def _document(self) -> Json:
        nodes = {id: node.to_json() for id, node in self.nodes.items()}
        return {**self.workflow, "status": {**self.fields, "nodes": nodes}}
