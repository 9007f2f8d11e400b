"""The run that releases a model which a person gives it: the loop without its training."""

from dataclasses import replace

from driftloop.plan import Plan
from driftloop.resources import parts
from driftloop.resources.workflows.steps import (
    OUT,
    RUN,
    InputParameter,
    ObjectCreation,
    OutputParameter,
    ParameterEquals,
    PersonHold,
    StepGraph,
    WorkflowNode,
    WorkflowStep,
    artifact_to,
    own_step,
    parameter_of,
)
from driftloop.spec.resources import Resources

_CAUSE = "{{workflow.parameters.cause}}"
_MEDIUM = Resources(cpu="100m", memory="512Mi")


def adopt_steps(
    plan: Plan, steps: tuple[WorkflowStep | ObjectCreation | PersonHold, ...], trial: InputParameter
) -> tuple[WorkflowNode, ...]:
    """Build the graph of a run that releases a given model, and its own step: all steps of the loop, with
    the model in the place of the trials and their choice. `trial` is the picked one as they take it. None where no
    model can be given."""
    if plan.tracking is None:
        return ()
    train = next(step for step in steps if step.name == "train")
    adopt = own_step(
        plan,
        "adopt",
        ("adopt", "--run", "{{workflow.name}}", "--cause", _CAUSE, "--out", OUT),
        needs=train.needs,
        variables=parts.S3,
        outputs=(
            artifact_to("model", f"{RUN}/trials/0/model"),
            artifact_to("metadata", f"{RUN}/trials/0/metadata.yaml", path=f"{OUT}/metadata.yaml"),
            OutputParameter(trial.name),
        ),
        resources=_MEDIUM,
        retries=2,
    )
    instead = replace(trial, value=parameter_of(adopt.name, trial.name))
    others = tuple(
        replace(
            step,
            needs=tuple(adopt.name if name == "pick" else name for name in step.needs),
            inputs=tuple(instead if item == trial else item for item in step.inputs),
        )
        if isinstance(step, WorkflowStep)
        else step
        for step in steps
        if step.name not in ("train", "pick")
    )
    graph = StepGraph(
        name="adopted",
        needs=("claim",),
        when=ParameterEquals("claim", "claimed", "model"),
        nodes=(adopt, *others),
        mutex=plan.names.train,
    )
    return graph, adopt
