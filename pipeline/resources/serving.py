"""The SeldonDeployment: one predictor a version, the weights and the shadow from release.yaml."""

from pipeline.kube import core, seldon
from pipeline.plan import Plan
from pipeline.plan.names import NODE, PLATFORM
from pipeline.release.record import Release, Version
from pipeline.resources import parts
from pipeline.spec.resources import Resources

MODEL_URI = "/mnt/models"
COMPONENT = "serving"
DIGEST = "driftloop.dev/model-digest"
"""Annotation of a predictor: what its model's files must add up to."""


def seldon_deployment(plan: Plan, release: Release) -> seldon.SeldonDeployment | None:
    """What serves the release; None before the first one.

    A predictor's pod is the same in every role, so moving from shadow to canary to production (and on to previous, if
    that is kept) restarts nothing.
    """
    standby = release.previous if plan.rollout.keep_previous and release.candidate is None else None
    versions = [version for version in (release.production, release.candidate, standby) if version is not None]
    if not versions:
        return None
    return seldon.SeldonDeployment(
        metadata=parts.meta(plan.names, plan.names.pipeline, COMPONENT),
        spec=seldon.SeldonSpec(
            protocol=plan.serve.protocol,
            predictors=tuple(_predictor(plan, release, version) for version in versions),
        ),
    )


def _predictor(plan: Plan, release: Release, version: Version) -> seldon.Predictor:
    shadow = release.phase == "shadow" and version is release.candidate
    return seldon.Predictor(
        name=version.id,
        replicas=plan.serve.replicas,
        traffic=None if shadow else release.weights.get(version.id, 0),
        shadow=True if shadow else None,
        # The executor's metrics take `predictor_version` from here, not from the labels.
        annotations={"version": version.id, DIGEST: version.model_digest},
        labels={"version": version.id, **parts.scraped(plan)},
        graph=seldon.Node(
            name=NODE,
            type="MODEL",
            model_uri=version.model,
            env_secret_ref_name=PLATFORM,
            parameters=(seldon.Parameter(name="model_uri", type="STRING", value=MODEL_URI),),
            logger=seldon.Logger(mode="all", url=plan.names.broker_url),
        ),
        component_specs=(seldon.ComponentSpec(spec=_pod(plan)),),
        # Unset, the executor asks for half a core in every predictor.
        svc_orch_spec=seldon.Orchestrator(resources=parts.small("50m", "64Mi", limit="256Mi")),
    )


def _pod(plan: Plan) -> core.PodSpec:
    return core.PodSpec(
        service_account_name=plan.names.model,
        automount_service_account_token=False,
        enable_service_links=False,
        security_context=parts.POD,
        containers=(
            core.Container(
                name=NODE,
                image=plan.serve_image,
                command=("seldon-core-microservice",),
                args=(plan.serve.model, "--service-type", "MODEL"),
                env=parts.plain_environment(GRPC_WORKERS="0", HOME="/tmp"),  # noqa: S108 - inside the container
                resources=user_resources(plan.serve.resources),
                security_context=parts.HARDENED,
            ),
        ),
        termination_grace_period_seconds=20,
    )


def user_resources(resources: Resources) -> core.Resources:
    """What the spec asks for: memory is also the limit, GPUs are whole."""
    gpus = {"nvidia.com/gpu": str(resources.gpu)} if resources.gpu else {}
    return core.Resources(
        requests={"cpu": resources.cpu, "memory": resources.memory, **gpus},
        limits={"memory": resources.memory, **gpus},
    )
