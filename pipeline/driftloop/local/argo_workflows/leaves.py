"""Leaves of a Workflow's tree of nodes: a pod, or the creation of another Workflow."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from driftloop.clients.s3 import StoreLocation
from driftloop.contract.names import CREATED_BY_ANNOTATION
from driftloop.local.argo.configuration import Configuration, Find, Repository, repository
from driftloop.local.argo.nodes import Node
from driftloop.local.argo.parts import NotUnderstoodError, read_part
from driftloop.local.argo.store import Workflows, until_stored
from driftloop.local.argo_workflows import pod, tags
from driftloop.local.argo_workflows.collector import logs_of
from driftloop.local.argo_workflows.locks import Mutexes
from driftloop.local.argo_workflows.model import Template, WorkflowSpec
from driftloop.local.ground.state import StateFolder
from driftloop.local.kubelet.devices import MachineDevices
from driftloop.text.load import load_mapping

TRANSFERS = 8
"""Steps that may move their artifacts at once."""


@dataclass(frozen=True)
class World:
    """State, stores and locks that all runs share."""

    state: StateFolder
    workflows: Workflows
    find: Find
    environment: Mapping[str, str]
    """Variables of every step's process besides its own."""
    mutexes: Mutexes = field(default_factory=Mutexes)
    devices: MachineDevices = field(default_factory=MachineDevices)
    transfers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(TRANSFERS))


class Leaves:
    """Runner of the leaves of one Workflow."""

    def __init__(
        self,
        world: World,
        *,
        namespace: str,
        workflow: str,
        uid: str,
        spec: WorkflowSpec,
    ) -> None:
        self._world = world
        self._namespace, self._workflow, self._uid = namespace, workflow, uid
        self._spec = spec

    def located(self, key: str) -> StoreLocation:
        """Return the place of an artifact."""
        return StoreLocation(self._repository.bucket, key)

    async def run(
        self,
        node: Node,
        template: Template,
        scope: tags.Scope,
        inputs: Mapping[str, StoreLocation],
        devices: Mapping[str, str],
        *,
        note_progress: Callable[[str], Awaitable[None]],
    ) -> Node:
        """Run a node and return it with its end; `devices` are the variables that name its GPUs, and
        `note_progress` hears how far its pod says that it is.

        LocalError when it can't be started.
        """
        if template.resource is not None:
            return await self._create(
                node, template.name, tags.fill_text(template.resource.manifest, scope)
            )
        return await self._pod(node, template, scope, inputs, devices, note_progress=note_progress)

    async def _pod(
        self,
        node: Node,
        template: Template,
        scope: tags.Scope,
        inputs: Mapping[str, StoreLocation],
        devices: Mapping[str, str],
        *,
        note_progress: Callable[[str], Awaitable[None]],
    ) -> Node:
        filled = read_part(
            Template, tags.fill(template.raw(), scope), label=f"template {template.name}"
        )
        if filled.container is None:
            raise NotUnderstoodError(f"template {template.name} is not a container")
        outputs = {
            artifact.name: self.located(artifact.s3.key) for artifact in filled.outputs.artifacts
        }
        step = pod.Step(
            namespace=self._namespace,
            workflow=self._workflow,
            node_id=node.id,
            template=filled,
            container=filled.container,
            volumes=tuple(filled.volumes),
            inputs=inputs,
            outputs=outputs,
            log=self._log(node),
        )
        outcome = await pod.run(
            step,
            state=self._world.state,
            configuration=self._configuration(),
            store=self._repository.store if outputs or inputs else None,
            transfers=self._world.transfers,
            environment={**self._world.environment, **devices},
            note_progress=note_progress,
        )
        return node.ended(outcome.phase, outcome.message, outcome.outputs)

    async def _create(self, node: Node, template: str, text: str) -> Node:
        """Create the Workflow of a resource template, unless this node did before a crash."""
        source = f"manifest of template {template}"
        manifest = load_mapping(text, source, error=NotUnderstoodError)
        maker = f"{self._uid}/{node.id}"
        metadata = manifest.setdefault("metadata", {})
        metadata["annotations"] = {
            **(metadata.get("annotations") or {}),
            CREATED_BY_ANNOTATION: maker,
        }
        namespace = metadata.get("namespace") or self._namespace
        workflows = self._world.workflows
        name, new = await until_stored(lambda: workflows.create(manifest, namespace=namespace))
        if not new:
            stored = await until_stored(lambda: workflows.get(namespace, name))
            annotations = (stored[0]["metadata"].get("annotations") or {}) if stored else {}
            if annotations.get(CREATED_BY_ANNOTATION) != maker:
                return node.ended("Failed", f'workflows.argoproj.io "{name}" already exists')
        return node.ended("Succeeded")

    def _configuration(self) -> Configuration:
        return Configuration.of(self._world.state, self._namespace, self._world.find)

    @cached_property
    def _repository(self) -> Repository:
        if self._spec.artifact_repository_ref is None:
            raise NotUnderstoodError("`artifactRepositoryRef` is missing")
        return repository(self._spec.artifact_repository_ref, self._configuration())

    def _log(self, node: Node) -> Path:
        inside = node.name.removeprefix(self._workflow).lstrip(".") or node.display_name
        name = re.sub(r"[^A-Za-z0-9_.=,-]+", "-", inside)[:120].strip("-")
        return logs_of(self._world.state, self._workflow) / f"{name}.log"
