"""Nodes around a released model when it answers: a tree of nodes, each one Python class. A new
type of node joins the union; the type checker names what is missing."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, Tag

from driftloop.spec.base import SpecModel, tagged
from driftloop.spec.environment import GivenEnvironment, Variables, VariableSources
from driftloop.spec.resources import Resources
from driftloop.spec.values import ImageName, ModelClass, NodeName, S3Uri
from driftloop.spec.volumes import Volumes


class Released(SpecModel):
    """The released model: production's in production's pods, the candidate's in the candidate's."""

    type: Literal["released"]
    """Type of the node."""


class _Class(SpecModel, GivenEnvironment):
    name: NodeName
    """Name of the node and its container, unique in the graph."""
    image: ImageName
    """Name of an image under spec.images."""
    class_: Annotated[ModelClass, Field(alias="class")]
    """The class: `Scale` in Scale.py."""
    uri: S3Uri | None = None
    """Folder of fixed files, which the class finds at its keyword argument `model_uri`."""
    resources: Resources = Resources(cpu="100m", memory="256Mi")
    """Resources of the node's container."""
    env: Variables = Field(default_factory=dict)
    """Environment variables of the node's container: a text, `{secret: NAME, key: KEY}` or `{config: NAME, key: KEY}`."""
    env_from: VariableSources = ()
    volumes: Volumes = ()


class FixedModel(_Class):
    """A model that no run replaces: `predict`."""

    type: Literal["model"]
    """Type of the node."""


class Transformer(_Class):
    """Changes what is asked before the node below sees it: `transform_input`."""

    type: Literal["transformer"]
    """Type of the node."""
    children: Annotated[tuple["Node", ...], Field(min_length=1, max_length=1)]
    """The node that is asked."""


class OutputTransformer(_Class):
    """Changes what the node below has answered: `transform_output`."""

    type: Literal["output-transformer"]
    """Type of the node."""
    children: Annotated[tuple["Node", ...], Field(min_length=1, max_length=1)]
    """The node that is asked."""


class Combiner(_Class):
    """Asks all nodes below and makes one answer of theirs: `aggregate`."""

    type: Literal["combiner"]
    """Type of the node."""
    children: Annotated[tuple["Node", ...], Field(min_length=2, max_length=9)]
    """The nodes that are asked."""


class Router(_Class):
    """Asks one of the nodes below, and says which: `route`."""

    type: Literal["router"]
    """Type of the node."""
    children: Annotated[tuple["Node", ...], Field(min_length=2, max_length=9)]
    """The nodes it chooses from, counted from 0."""


Own = FixedModel | Transformer | OutputTransformer | Combiner | Router
"""A node that is a class of the user's."""

Node = Annotated[
    Annotated[Released, Tag("released")]
    | Annotated[FixedModel, Tag("model")]
    | Annotated[Transformer, Tag("transformer")]
    | Annotated[OutputTransformer, Tag("output-transformer")]
    | Annotated[Combiner, Tag("combiner")]
    | Annotated[Router, Tag("router")],
    tagged("type"),
]
"""Any node."""

# the union is complete only now
for _model in (Transformer, OutputTransformer, Combiner, Router):
    _model.model_rebuild()

Place = tuple[str | int, ...]


def below(node: Node) -> tuple[Node, ...]:
    """The nodes that a node calls."""
    return () if isinstance(node, Released | FixedModel) else node.children


def walk_nodes(root: Node, at: Place = ()) -> Iterator[tuple[Place, Node]]:
    """Every node and where it stands, parents first."""
    yield at, root
    for index, child in enumerate(below(root)):
        yield from walk_nodes(child, (*at, "children", index))


def own_nodes(root: Node | None) -> tuple[Own, ...]:
    """The classes of a graph, parents first."""
    return (
        ()
        if root is None
        else tuple(node for _, node in walk_nodes(root) if not isinstance(node, Released))
    )


def own_names(root: Node | None) -> tuple[str, ...]:
    """The names of a graph's classes, parents first."""
    return tuple(node.name for node in own_nodes(root))
