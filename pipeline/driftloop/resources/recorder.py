"""The service that records a pipeline's traffic, where the spec asks for it."""

import json
from collections.abc import Iterator

from driftloop.contract.accounts import NatsRole
from driftloop.contract.batches import BatchSettings
from driftloop.contract.captures import TrafficRole
from driftloop.contract.documents import to_json
from driftloop.contract.events import INFERENCE_REQUEST, INFERENCE_RESPONSE, LABELS_GIVEN
from driftloop.contract.names import SERVICE_PORT
from driftloop.contract.recorders import RecordedRelease, RecorderSettings
from driftloop.kube import apps, core, knative
from driftloop.plan import Plan
from driftloop.release.record import Release, Version
from driftloop.resources import parts
from driftloop.resources.broker import build_trigger
from driftloop.spec.capture import Capture

COMPONENT = "recorder"


def recorder_account(plan: Plan) -> core.ServiceAccount:
    """It never talks to the API server."""
    return parts.service_account(plan, plan.names.recorder, COMPONENT)


def recorder_deployment(plan: Plan, capture: Capture, release: Release) -> apps.Deployment:
    """Records the requests and answers of every release, each with what the release is at the time."""
    names = plan.names
    return parts.service_deployment(
        plan,
        names.recorder,
        COMPONENT,
        image=plan.platform.monitor,
        command="driftloop-recorder",
        args=(
            "serve",
            *("--port", str(SERVICE_PORT)),
            *("--namespace", names.namespace, "--pipeline", names.pipeline),
            *("--config", json.dumps(to_json(recorder_settings(plan, capture, release)))),
            *("--stream-bytes", str(plan.events.recorder_bytes)),
        ),
        env=parts.platform_environment(plan, *parts.S3, *parts.nats(NatsRole.RECORDER)),
        resources=parts.small_resources("50m", "96Mi", limit="512Mi"),
        overlaps=True,
    )


def recorder_settings(plan: Plan, capture: Capture, release: Release) -> RecorderSettings:
    """Return the recorder's settings, with what each release is now."""
    return RecorderSettings(
        share=capture.share,
        keep=None if capture.keep is None else capture.keep.total_seconds(),
        most=capture.most_bytes,
        every=capture.every.total_seconds(),
        drop=capture.drop,
        hash=capture.hash,
        releases=tuple(_list_releases(release)),
        batches=_batch_settings(plan),
    )


def _batch_settings(plan: Plan) -> BatchSettings | None:
    if plan.batches is None:
        return None
    return BatchSettings(
        uri=plan.data,
        target=plan.target,
        least=plan.batches.least,
        every=plan.batches.every.total_seconds(),
    )


def _list_releases(release: Release) -> Iterator[RecordedRelease]:
    asked: TrafficRole = "shadow" if release.phase == "shadow" else "candidate"
    roles: tuple[tuple[TrafficRole, Version | None], ...] = (
        ("production", release.production),
        (asked, release.candidate),
        ("previous", release.previous),
    )
    for role, version in roles:
        if version is not None:
            yield RecordedRelease(id=version.id, role=role, detectors=version.detectors)


def recorder_endpoint(plan: Plan) -> core.KubernetesService:
    """The Service that takes the recorder's events."""
    return parts.service_endpoint(plan, plan.names.recorder, COMPONENT)


def on_traffic(plan: Plan) -> Iterator[tuple[str, knative.Trigger]]:
    """Yield the Triggers of every request and every answer of every release, and of labels where they
    become training data."""
    names = plan.names
    types = {"requests": INFERENCE_REQUEST, "answers": INFERENCE_RESPONSE}
    if plan.batches is not None:
        types["labels"] = LABELS_GIVEN
    for name, type in types.items():
        trigger = names.recorded(name)
        yield name, build_trigger(plan, trigger, COMPONENT, names.recorder, type=type)
