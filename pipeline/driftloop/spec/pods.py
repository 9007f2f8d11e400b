"""What pods get besides their containers: where they run, and what they are marked with."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from driftloop.contract.marks import find_mark_owner
from driftloop.spec.affinity import Affinity, Toleration
from driftloop.spec.base import SpecModel, take_list
from driftloop.spec.security import NO_SECURITY, SecuritySettings
from driftloop.spec.values import LabelName, LabelValue, SecretName, Word


def _mark(text: str) -> str:
    if (why := find_mark_owner(text)) is not None:
        raise ValueError(f"must be another name: {why}")
    return text


MarkName = Annotated[LabelName, AfterValidator(_mark)]
"""Name of a label or annotation that is not driftloop's, or of what it stands on."""
Annotations = Annotated[dict[MarkName, Word], Field(max_length=50)]


class AccountSettings(SpecModel):
    """What a ServiceAccount is marked with."""

    annotations: Annotations = Field(default_factory=dict)
    """Annotations by which a cloud gives pods an identity: `eks.amazonaws.com/role-arn`,
    `iam.gke.io/gcp-service-account`, `azure.workload.identity/client-id`."""


class PodSettings(SpecModel):
    """Placement and marks of a role's pods. What is given here is put over `spec.pods`: maps key by key, all else as a
    whole."""

    labels: Annotated[dict[MarkName, LabelValue], Field(max_length=50)] = Field(
        default_factory=dict
    )
    """Labels of the pods, besides driftloop's own."""
    annotations: Annotations = Field(default_factory=dict)
    """Annotations of the pods."""
    node_selector: Annotated[dict[LabelName, LabelValue], Field(max_length=20)] = Field(
        default_factory=dict
    )
    """Labels of the nodes that they run on."""
    tolerations: Annotated[
        tuple[Toleration, ...],
        Field(max_length=20),
        BeforeValidator(take_list, json_schema_input_type=tuple[Toleration, ...]),
    ] = ()
    """Taints of nodes that do not keep them away."""
    affinity: Affinity | None = None
    """Rules by which the scheduler chooses a node."""
    priority_class_name: SecretName | None = None
    """PriorityClass: who goes first when room is short."""

    def over(self, base: "PodSettings") -> "PodSettings":
        """Return these settings over others: maps key by key, all else as a whole."""
        return PodSettings(
            labels={**base.labels, **self.labels},
            annotations={**base.annotations, **self.annotations},
            node_selector={**base.node_selector, **self.node_selector},
            tolerations=self.tolerations or base.tolerations,
            affinity=self.affinity or base.affinity,
            priority_class_name=self.priority_class_name or base.priority_class_name,
        )


class AccountedPodSettings(PodSettings):
    """Placement and marks of a role's pods and of their ServiceAccount. What is given here is put over `spec.pods`:
    maps key by key, all else as a whole."""

    service_account: AccountSettings = AccountSettings()
    """Their ServiceAccount."""


class SecuredPodSettings(PodSettings):
    """Placement, marks and rights of a role's pods. What is given here is put over `spec.pods`: maps key by key, all else
    as a whole."""

    security: SecuritySettings = NO_SECURITY
    """Users, groups and rights of the role's pods."""


class OwnPodSettings(SecuredPodSettings, AccountedPodSettings):
    """Placement, marks and rights of a role's pods, and their ServiceAccount. What is given here is put over
    `spec.pods`: maps key by key, all else as a whole."""


def find_security(settings: PodSettings) -> SecuritySettings:
    """Return what settings of pods say of users and rights; of all pods of a pipeline nothing."""
    return settings.security if isinstance(settings, SecuredPodSettings) else NO_SECURITY


NO_SETTINGS = PodSettings()
NO_SECURED_SETTINGS = SecuredPodSettings()
NO_ACCOUNT_SETTINGS = AccountSettings()
