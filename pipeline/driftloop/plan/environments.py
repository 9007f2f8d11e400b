"""Where a spec gives a container of a person's code variables."""

from collections.abc import Iterator

from driftloop.spec import Pipeline
from driftloop.spec.detector import UserFunction
from driftloop.spec.environment import ConfigKey, Environment, Reference, SecretKey
from driftloop.spec.graph import Released, walk_nodes

Place = tuple[str | int, ...]


def list_environments(pipeline: Pipeline) -> Iterator[tuple[Place, Environment]]:
    """Yield the variables of each role, and where they stand."""
    spec = pipeline.spec
    for index, step in enumerate(spec.data.steps):
        yield ("spec", "data", "steps", index), step.environment
    yield ("spec", "train"), spec.train.environment
    yield ("spec", "evaluate"), spec.evaluate.environment
    yield ("spec", "serve"), spec.serve.environment
    for at, node in walk_nodes(spec.serve.graph) if spec.serve.graph is not None else ():
        if not isinstance(node, Released):
            yield ("spec", "serve", "graph", *at), node.environment
    for name, monitor in spec.monitors.items():
        if isinstance(monitor, UserFunction):
            yield ("spec", "monitors", name), monitor.environment


def list_references(pipeline: Pipeline) -> Iterator[tuple[Place, Reference]]:
    """Yield each Secret, ConfigMap and volume that containers take something of, and where it stands."""
    for place, environment in list_environments(pipeline):
        for at, reference in environment.walk_references():
            yield (*place, *at), reference
    for name, source in pipeline.spec.data.sources.items():
        for field, key in source.credentials.walk_keys():
            yield ("spec", "data", "sources", name, "credentials", field), key
        if isinstance(source.authority, SecretKey | ConfigKey):
            yield ("spec", "data", "sources", name, "authority"), source.authority
