"""Rules by which the scheduler chooses nodes for pods, in the words of the Kubernetes API."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from driftloop.spec.base import SpecModel, take_list
from driftloop.spec.values import LabelName, LabelValue, Word


def _one_of(*allowed: str) -> AfterValidator:
    def check(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"must be one of: {', '.join(f'`{name}`' for name in allowed)}")
        return text

    return AfterValidator(check)


NodeOperator = Annotated[str, _one_of("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")]
PodOperator = Annotated[str, _one_of("In", "NotIn", "Exists", "DoesNotExist")]
TolerationOperator = Annotated[str, _one_of("Equal", "Exists")]
TaintEffect = Annotated[str, _one_of("NoSchedule", "PreferNoSchedule", "NoExecute")]
Weight = Annotated[int, Field(ge=1, le=100)]
_FROM_LIST = BeforeValidator(take_list)


class Toleration(SpecModel):
    """A taint of nodes that does not keep pods away."""

    key: LabelName | None = None
    """Key of the taint; every key, with `operator: Exists`, when left out."""
    operator: TolerationOperator = "Equal"
    """`Equal`: of this `value`, or `Exists`: of any value."""
    value: LabelValue | None = None
    """Value of the taint."""
    effect: TaintEffect | None = None
    """`NoSchedule`, `PreferNoSchedule` or `NoExecute`; each of them when left out."""
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None
    """Time that a pod stays after a taint with `NoExecute` has come; for good when left out."""


class NodeRequirement(SpecModel):
    """A condition on a label of a node."""

    key: LabelName
    """The label."""
    operator: NodeOperator
    """`In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt` or `Lt`."""
    values: Annotated[tuple[LabelValue, ...], Field(max_length=100), _FROM_LIST] = ()
    """Values; none with `Exists` and `DoesNotExist`, one number with `Gt` and `Lt`."""


class NodeTerm(SpecModel):
    """Conditions on one node that hold together."""

    match_expressions: Annotated[tuple[NodeRequirement, ...], Field(max_length=50), _FROM_LIST] = ()
    """Conditions on its labels."""
    match_fields: Annotated[tuple[NodeRequirement, ...], Field(max_length=50), _FROM_LIST] = ()
    """Conditions on its fields: `metadata.name`."""


class NodeTerms(SpecModel):
    """Terms of which one has to hold."""

    node_selector_terms: Annotated[
        tuple[NodeTerm, ...], Field(min_length=1, max_length=50), _FROM_LIST
    ]
    """The terms."""


class WeighedNodeTerm(SpecModel):
    """A term that nodes should fulfil."""

    weight: Weight
    """1 to 100, added to the score of a node."""
    preference: NodeTerm
    """The term."""


class NodeAffinity(SpecModel):
    """Conditions on nodes."""

    required_during_scheduling_ignored_during_execution: NodeTerms | None = None
    """Without these a pod waits."""
    preferred_during_scheduling_ignored_during_execution: Annotated[
        tuple[WeighedNodeTerm, ...], Field(max_length=50), _FROM_LIST
    ] = ()
    """With these a node is chosen before others."""


class PodRequirement(SpecModel):
    """A condition on a label of pods or namespaces."""

    key: LabelName
    """The label."""
    operator: PodOperator
    """`In`, `NotIn`, `Exists` or `DoesNotExist`."""
    values: Annotated[tuple[LabelValue, ...], Field(max_length=100), _FROM_LIST] = ()
    """Values; none with `Exists` and `DoesNotExist`."""


class PodSelector(SpecModel):
    """Pods or namespaces by their labels."""

    match_labels: dict[LabelName, LabelValue] = Field(default_factory=dict)
    """Labels that they have."""
    match_expressions: Annotated[tuple[PodRequirement, ...], Field(max_length=50), _FROM_LIST] = ()
    """Conditions on their labels."""


class PodTerm(SpecModel):
    """Pods that a pod is near, or far from."""

    label_selector: PodSelector | None = None
    """The pods; none when left out."""
    topology_key: LabelName
    """Label of nodes that says what near is, such as kubernetes.io/hostname."""
    namespaces: Annotated[tuple[Word, ...], Field(max_length=50), _FROM_LIST] = ()
    """Namespaces of the pods; the pipeline's own when left out."""
    namespace_selector: PodSelector | None = None
    """Namespaces of the pods by label."""


class WeighedPodTerm(SpecModel):
    """A term that nodes should fulfil."""

    weight: Weight
    """1 to 100, added to the score of a node."""
    pod_affinity_term: PodTerm
    """The term."""


class PodAffinity(SpecModel):
    """Conditions on pods that run on a node, or where its topology key is the same."""

    required_during_scheduling_ignored_during_execution: Annotated[
        tuple[PodTerm, ...], Field(max_length=50), _FROM_LIST
    ] = ()
    """Without these a pod waits."""
    preferred_during_scheduling_ignored_during_execution: Annotated[
        tuple[WeighedPodTerm, ...], Field(max_length=50), _FROM_LIST
    ] = ()
    """With these a node is chosen before others."""


class Affinity(SpecModel):
    """Rules by which the scheduler chooses a node."""

    node_affinity: NodeAffinity | None = None
    """Labels of the node."""
    pod_affinity: PodAffinity | None = None
    """Pods to be near to."""
    pod_anti_affinity: PodAffinity | None = None
    """Pods to be far from."""
