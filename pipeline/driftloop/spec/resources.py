"""Resources of containers, and retries of steps."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from driftloop.spec.base import SpecModel
from driftloop.spec.values import (
    Cpu,
    ExtendedResource,
    LabelName,
    LabelValue,
    Memory,
    PositiveDuration,
    ProfileName,
)

LONGEST_WAIT = timedelta(hours=1)
"""Between two tries."""


class Resources(SpecModel):
    """Resources that a container requests."""

    cpu: Cpu = "500m"
    """Cores: "1", "0.5" or 500m."""
    memory: Memory = "512Mi"
    """Memory, request and limit: 512Mi, 2Gi."""
    gpu: Annotated[int, Field(ge=0, le=64)] = 0
    """Whole GPUs."""
    gpu_profile: ProfileName | None = None
    """Kind of GPU: a name under spec.gpus; `default` when left out."""

    @model_validator(mode="after")
    def _claims_what_it_selects(self) -> Self:
        if self.gpu_profile is not None and not self.gpu:
            raise ValueError(
                "must have `gpu: 1` or more beside `gpuProfile`: a profile only picks nodes, without a number no GPU "
                "is claimed and the pod sees none, or somebody else's"
            )
        return self


class GpuProfile(SpecModel):
    """Placement of pods with a GPU; the defaults are those of NVIDIA's GPU operator."""

    resource: ExtendedResource = "nvidia.com/gpu"
    """The extended resource that is claimed: nvidia.com/gpu, nvidia.com/mig-1g.10gb,
    amd.com/gpu."""
    node_selector: Annotated[dict[LabelName, LabelValue], Field(max_length=20)] = Field(
        default_factory=lambda: {"nvidia.com/gpu.present": "true"}
    )
    """Labels of the nodes that have it."""
    tolerations: Annotated[tuple[LabelName, ...], Field(max_length=20)] = ("nvidia.com/gpu",)
    """Keys of the taints that keep other pods away from those nodes."""
    runtime_class: ProfileName | None = "nvidia"
    """RuntimeClass of the pods; null where the nodes' container runtime needs none."""
    shared_memory: Memory | None = "1Gi"
    """Size of /dev/shm, which data loaders need; counts as the container's memory. null: the
    runtime's 64Mi."""


def _within_the_longest(wait: timedelta) -> timedelta:
    if wait > LONGEST_WAIT:
        raise ValueError("must be at most 1h: no wait between two tries is longer")
    return wait


class Retries(SpecModel):
    """Retries of a step that failed by itself; pods lost with their node are always tried again."""

    limit: Annotated[int, Field(ge=1, le=20)]
    """So many tries after the first; not when memory ran out, nor after a timeout that no
    checkpoint shortens."""
    wait: Annotated[PositiveDuration, AfterValidator(_within_the_longest)] = timedelta(seconds=30)
    """Time before the second try; it doubles with each, up to 1h."""
