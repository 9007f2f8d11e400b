"""Labelled batches in the folder that a pipeline trains on: put some there, list what is there."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from driftloop.clients.s3 import ObjectStore, StoreLocation, StoreObject, parse_location
from driftloop.cluster.reader import ApiReader
from driftloop.contract.columns import SUFFIXES, TARGET, ColumnUses, read_uses
from driftloop.contract.handovers import DetectorSettings
from driftloop.contract.names import Names
from driftloop.errors import LocalError, PipelineError, StoreError
from driftloop.local.argo.objects import Objects
from driftloop.local.ground.state import StateFolder
from driftloop.operations.ground.cluster_store import open_cluster_store
from driftloop.operations.ground.environment import read_environment
from driftloop.operations.project.columns import check_columns
from driftloop.operations.runs.run_workflows import read_options

Json = Mapping[str, Any]


@dataclass(frozen=True)
class DataFolder:
    """The folder of a pipeline's batches in its object store."""

    store: ObjectStore
    location: StoreLocation
    features: str | None = None
    """Columns that its files must have; None when any will do."""
    target: str = TARGET
    """Column with the right answers."""
    uses: ColumnUses = field(default_factory=dict)
    """What a person says that columns are."""
    monitors: tuple[DetectorSettings, ...] = ()
    """Monitors that are fitted on them as they come."""
    has_sources: bool = False
    """Runs read files of sources, too."""


@contextlib.contextmanager
def open_local_folder(state: StateFolder, name: str) -> Iterator[DataFolder]:
    """Open the data folder of a pipeline that runs from a state folder."""
    environment = read_environment(state)
    objects = Objects.read(state.objects)
    templates = [item for item in objects.of("WorkflowTemplate") if _is_training(item, name)]
    if not templates:
        raise LocalError(
            f"pipeline `{name}` does not run in {state.root}",
            hint="`driftloop up SPEC` runs it; it may take a moment after a commit",
        )
    yield open_folder(ObjectStore.from_environment(environment), templates[0])


@contextlib.contextmanager
def open_cluster_folder(
    reader: ApiReader,
    name: str,
    *,
    namespace: str,
    kubeconfig: Path | None = None,
    context: str | None = None,
) -> Iterator[DataFolder]:
    """Open the data folder of a pipeline in a cluster, with the rights of the person: `get` on
    the namespace's settings, and to forward a port where the store is inside the cluster."""
    template = reader.get(
        f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/workflowtemplates/"
        f"{Names(name, namespace).train}"
    )
    if template is None:
        raise PipelineError(
            f"pipeline `{name}` does not exist in namespace `{namespace}` of {reader.address}",
            hint="`driftloop status --cluster` lists the pipelines",
        )
    with open_cluster_store(reader, namespace, kubeconfig=kubeconfig, context=context) as store:
        yield open_folder(store, template)


def put_files(folder: DataFolder, files: Iterable[Path], *, replace: bool = False) -> list[str]:
    """Send files into the folder; the names they have there.

    StoreError before anything is sent for a file that no run would read, and for a name that is
    there already, unless `replace`; StepError for one that lacks columns of the spec.
    """
    named = {file.name: file for file in files}
    for name, file in named.items():
        if not file.is_file():
            raise StoreError(
                f"`{file}` is not a plain file", hint="name files that can be read to their end"
            )
        if file.suffix not in SUFFIXES:
            raise StoreError(
                f"`{file}` is not a file of rows", hint=f"must be one of: {', '.join(SUFFIXES)}"
            )
        if not replace and folder.store.has_object(folder.location / name):
            raise StoreError(
                f"{folder.location / name} exists",
                hint="a run may have read it: give the file another name, or pass --replace",
            )
    if folder.features is not None:
        check_columns(
            named.items(),
            folder.features,
            target=folder.target,
            uses=folder.uses,
            monitors=folder.monitors,
        )
    folder.store.create_bucket(folder.location.bucket)
    for name, file in named.items():
        folder.store.put_file(file, folder.location / name)
    return list(named)


def list_files(folder: DataFolder) -> list[StoreObject]:
    """Return the objects in the folder, in the order of their keys."""
    return folder.store.list_folder(folder.location)


def open_folder(store: ObjectStore, template: Json) -> DataFolder:
    """Return the folder that a training WorkflowTemplate takes its snapshot of."""
    steps = [read_options(step) for step in template["spec"]["templates"]]
    settings = (
        DetectorSettings.parse(step["--detector"])
        for step in steps
        if {"fit", "--detector"} <= step.keys()
    )
    fits = tuple(fit for fit in settings if fit.on == "request")
    for options in steps:
        if "snapshot" in options and "--uri" in options:
            location = parse_location(options["--uri"])
            target = options.get("--target", TARGET)
            uses = read_uses(options.get("--columns", "{}"))
            return DataFolder(
                store,
                location,
                options.get("--features"),
                target,
                uses,
                fits,
                "--sources" in options,
            )
    raise PipelineError(
        f"WorkflowTemplate {template['metadata']['name']} takes no snapshot of a folder",
        hint="`driftloop commit` the spec again: another version rendered it",
    )


def _is_training(item: Json, name: str) -> bool:
    metadata = item["metadata"]
    names = Names(name, str(metadata.get("namespace", "")))
    return bool(item["kind"] == "WorkflowTemplate" and metadata["name"] == names.train)
