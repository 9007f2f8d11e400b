"""Steps of a workflow as plain data. `templates` turns them into Argo's objects, and alone knows
those.

A step holds both what Argo calls a template (image, arguments, inputs, outputs) and its task in
a graph (what it needs, when it runs, where its inputs come from).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from driftloop.contract import approvals
from driftloop.contract.accounts import NatsRole
from driftloop.contract.names import WORK_IN, WORK_OUT
from driftloop.contract.outcomes import OUTCOME_PARAMETER, ROLLOUT_PARAMETER
from driftloop.contract.trees import WORKFLOW_RUN
from driftloop.kube import core
from driftloop.plan import Plan
from driftloop.resources import parts
from driftloop.resources.workflows.retries import RetryRule, own_retries
from driftloop.spec.environment import NO_VARIABLES, Environment
from driftloop.spec.pods import NO_SETTINGS, PodSettings
from driftloop.spec.resources import GpuProfile, Resources

RUN = WORKFLOW_RUN
"""Folder of a run in the bucket."""
IN, OUT = WORK_IN, WORK_OUT
PARAMETERS = f"{OUT}/parameters"
"""Folder with one file for each output parameter."""
COMPONENT = "workflows"
GIT, CLAIM, FINISH, JUDGE, SOURCES = "git", "nats", "nats-broker", "judge", "sources"
"""Values of `REACHES_LABEL`, of pods that need more than storage: all but the last of them git, the others what they say, too.
A user's code reaches none of these."""

SMALL = Resources(cpu="50m", memory="256Mi")
"""What a step of ours has by default."""


@dataclass(frozen=True)
class InputParameter:
    """A text that a step is given."""

    name: str
    value: str


@dataclass(frozen=True)
class InputArtifact:
    """A file or folder that a step is given, from an output of another step or from a key of the
    bucket."""

    name: str
    path: str
    source: str | None = None
    """Reference to the output, by `artifact_of`."""
    key: str | None = None
    """Key in the bucket."""
    optional: bool = False


@dataclass(frozen=True)
class OutputParameter:
    """A text that a step leaves in a file of `PARAMETERS` with this name."""

    name: str


@dataclass(frozen=True)
class OutputArtifact:
    """A file or folder that a step leaves at a key of the bucket."""

    name: str
    key: str
    path: str
    optional: bool = False


@dataclass(frozen=True)
class ParameterEquals:
    """Condition on an output parameter of another step."""

    step: str
    parameter: str
    value: str


@dataclass(frozen=True)
class OutputCache:
    """An earlier output of the same key is taken again."""

    seconds: int
    """Age at most."""
    key: str


@dataclass(frozen=True, kw_only=True)
class GraphNode:
    """Common part of all nodes of a graph."""

    name: str
    needs: tuple[str, ...] = ()
    """Nodes that must have succeeded."""
    when: ParameterEquals | None = None


@dataclass(frozen=True, kw_only=True)
class WorkflowStep(GraphNode):
    """A pod with one container that does the work."""

    image: str
    command: tuple[str, ...]
    arguments: tuple[str, ...]
    variables: tuple[str, ...] = ()
    """Names of environment variables from the platform's settings."""
    environment: Environment = NO_VARIABLES
    """Variables of a person's own."""
    pod: PodSettings = NO_SETTINGS
    """Settings of its role, which stand over those of all pods."""
    inputs: tuple[InputParameter | InputArtifact, ...] = ()
    outputs: tuple[OutputParameter | OutputArtifact, ...] = ()
    resources: Resources
    gpu: GpuProfile | None = None
    deadline: int
    """Seconds."""
    retries: RetryRule
    cache: OutputCache | None = None
    reaches: str | None = None
    """Services that the pod may talk to besides storage: a value of the label `REACHES_LABEL`."""
    account: str | None = None
    """ServiceAccount of the pod; None: the one of a person's code, without any right."""
    token: bool = False
    """True if the step's own program talks to the API server, by the account's token."""
    sidecars: tuple[core.Container, ...] = ()
    """Containers beside the step's own, which end with it."""
    sidecars_gpu: GpuProfile | None = None
    """Kind of GPU that they claim: the pod goes where it is."""
    folders: tuple[core.VolumeMount, ...] = ()
    """Further empty folders, which sidecars may share."""
    sidecars_volumes: tuple[core.Volume, ...] = ()
    """Volumes that sidecars mount, and the step does not."""
    items: tuple[Mapping[str, Any], ...] = ()
    """One pod for each; `{{item.KEY}}` is a value of it. Without any, one pod."""


@dataclass(frozen=True, kw_only=True)
class ObjectCreation(GraphNode):
    """Creates an object of the cluster, and fails when it exists."""

    manifest: Mapping[str, Any]
    creator: str
    """ServiceAccount by whose rights it is created."""
    inputs: tuple[InputParameter, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PersonHold(GraphNode):
    """A place at which the workflow waits until a person supplies `SUPPLIED`."""

    inputs: tuple[InputParameter, ...]


@dataclass(frozen=True, kw_only=True)
class StepGraph(GraphNode):
    """Nodes that run as soon as those that they need have succeeded."""

    nodes: tuple["WorkflowNode", ...]
    parallelism: int | None = None
    """Pods at the same time; None without a bound."""
    mutex: str | None = None
    """Lock that the graph holds while it runs; others of the same name wait."""


WorkflowNode = WorkflowStep | ObjectCreation | PersonHold | StepGraph


@dataclass(frozen=True)
class WorkflowParameter:
    """A parameter of a whole workflow; without a value, whoever starts it must give one."""

    name: str
    description: str
    value: str | None = None


@dataclass(frozen=True, kw_only=True)
class WorkflowOutline:
    """A whole workflow."""

    name: str
    nodes: tuple[WorkflowNode, ...]
    """All nodes at any depth, in the order in which they are written."""
    parameters: tuple[WorkflowParameter, ...]
    entrypoint: str
    """Node that is run."""
    on_exit: str | None
    """Node that is run at the end, whatever happened; None without one."""
    deadline: int
    """Seconds until the workflow is given up."""
    lineage: tuple[str, ...]
    """Parameters whose values become labels of the run."""


def artifact_of(step: str, name: str) -> str:
    """Return the reference to an output artifact of a step."""
    return f"{{{{tasks.{step}.outputs.artifacts.{name}}}}}"


def parameter_of(step: str, name: str) -> str:
    """Return the reference to an output parameter of a step."""
    return f"{{{{tasks.{step}.outputs.parameters.{name}}}}}"


def artifact_from(
    step: str, name: str, *, path: str | None = None, to: str | None = None
) -> InputArtifact:
    """Take an output artifact of a step, named `to` here and found at `path`."""
    to = to or name
    return InputArtifact(to, path or f"{IN}/{to}", source=artifact_of(step, name))


def artifact_to(
    name: str, key: str, *, path: str | None = None, optional: bool = False
) -> OutputArtifact:
    """Leave what is at `path` at a key of the bucket."""
    return OutputArtifact(name, key, path or f"{OUT}/{name}", optional)


def person_hold(
    plan: Plan, name: str, *, run: str, asks: str, needs: tuple[str, ...] = ()
) -> PersonHold:
    """Build the place at which a run waits for a person; `asks` is what an approval does."""
    return PersonHold(
        name=name,
        needs=needs,
        inputs=(
            InputParameter(approvals.RUN, run),
            InputParameter(approvals.ASKS, asks),
            InputParameter(approvals.APPROVERS, approvals.write_approvers(plan.approvers)),
        ),
    )


def own_step(
    plan: Plan,
    name: str,
    arguments: tuple[str, ...],
    *,
    needs: tuple[str, ...] = (),
    when: ParameterEquals | None = None,
    variables: tuple[str, ...] = (),
    inputs: tuple[InputParameter | InputArtifact, ...] = (),
    outputs: tuple[OutputParameter | OutputArtifact, ...] = (),
    resources: Resources = SMALL,
    deadline: int = 1800,
    retries: int = 0,
    reaches: str | None = None,
    token_of: str | None = None,
    sidecars: tuple[core.Container, ...] = (),
    sidecars_gpu: GpuProfile | None = None,
    folders: tuple[core.VolumeMount, ...] = (),
    sidecars_volumes: tuple[core.Volume, ...] = (),
    pod: PodSettings = NO_SETTINGS,
    environment: Environment = NO_VARIABLES,
) -> WorkflowStep:
    """Build a step that runs `driftloop step …` in the platform's image.

    `token_of` is the account of a step that talks to the API server. Sidecars run what a person
    has made, so the whole pod has no right.
    """
    command, *rest = arguments
    return WorkflowStep(
        name=name,
        needs=needs,
        when=when,
        image=plan.platform.driftloop,
        command=("driftloop", "step", command),
        arguments=tuple(rest),
        variables=variables,
        inputs=inputs,
        outputs=outputs,
        resources=resources,
        deadline=deadline,
        retries=own_retries(retries),
        reaches=reaches,
        account=token_of or (None if sidecars else plan.names.steps),
        token=token_of is not None,
        sidecars=sidecars,
        sidecars_gpu=sidecars_gpu,
        folders=folders,
        sidecars_volumes=sidecars_volumes,
        pod=pod,
        environment=environment,
    )


def finish_step(plan: Plan, name: str, run: str, arguments: tuple[str, ...]) -> WorkflowStep:
    """Build the step that tells how a workflow has ended."""
    return own_step(
        plan,
        name,
        (
            *(
                "finish",
                "--pipeline",
                plan.names.pipeline,
                "--namespace",
                plan.names.namespace,
                "--run",
                run,
            ),
            *("--status", "{{workflow.status}}", *arguments),
            *(("--tracking",) if plan.tracking is not None else ()),
            *("--out", PARAMETERS),
        ),
        outputs=(OutputParameter(OUTCOME_PARAMETER), OutputParameter(ROLLOUT_PARAMETER)),
        variables=(
            *parts.nats(NatsRole.STEP, NatsRole.READER),
            *parts.S3,
            *parts.GIT,
            *parts.KUBERNETES,
        ),
        retries=3,
        reaches=FINISH,
        token_of=plan.names.finish,
    )
