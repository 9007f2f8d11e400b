"""The detectors that watch production's traffic, each with what was fitted when production was
trained."""

import hashlib
import json
from dataclasses import replace

from driftloop.contract.accounts import NatsRole
from driftloop.contract.documents import to_json
from driftloop.contract.events import INFERENCE_REQUEST, LABELS_GIVEN, RELEASE, inference_type
from driftloop.contract.handovers import write_digests
from driftloop.contract.names import DETECTOR_FOLDER, SERVICE_PORT, release_id
from driftloop.kube import apps, core, knative
from driftloop.plan import Monitor, Plan
from driftloop.release.record import Release, Version
from driftloop.resources import functions, parts, securing
from driftloop.resources.broker import build_trigger
from driftloop.spec.detector import AlibiDetect


def fitted_monitors(plan: Plan, version: Version) -> tuple[Monitor, ...]:
    """Return the monitors that have a detector of a version: those that the spec had when it was trained.
    The record of an older version does not say, and has them all."""
    fitted = version.detector_digests
    if version.detectors is None:
        return ()
    return tuple(monitor for monitor in plan.monitors if not fitted or monitor.name in fitted)


def digest_monitors(plan: Plan) -> dict[str, str]:
    """Return for each monitor the digest of everything that its fit depends on besides the data and the model."""
    return {
        monitor.name: "sha256:" + hashlib.sha256(_describe_fit(plan, monitor)).hexdigest()
        for monitor in plan.monitors
    }


def monitor_options(plan: Plan) -> tuple[str, ...]:
    """Return the option by which steps know the monitors of the spec."""
    return ("--monitors", write_digests(digest_monitors(plan))) if plan.monitors else ()


def _describe_fit(plan: Plan, monitor: Monitor) -> bytes:
    reads_rows = monitor.detector.on == "request" or monitor.reads_requests
    columns = plan.column_options if reads_rows else ()
    # what verdicts must not tell changes no fit
    settings = to_json(replace(monitor.settings, private=None))
    return json.dumps([settings, columns, monitor.function_image]).encode()


def detector_account(plan: Plan, monitor: Monitor) -> core.ServiceAccount:
    """It never talks to the API server."""
    name, own = plan.names.detector(monitor.name), monitor.detector.pod.service_account
    return parts.service_account(plan, name, monitor.name, own=own)


def detector_deployment(plan: Plan, monitor: Monitor, version: Version) -> apps.Deployment:
    """One detector service; a new production brings its own detectors along."""
    names = plan.names
    return parts.service_deployment(
        plan,
        names.detector(monitor.name),
        monitor.name,
        image=monitor.choose_image(plan.platform),
        command="driftloop-detector",
        args=(
            *(
                "serve",
                "--port",
                str(SERVICE_PORT),
                "--namespace",
                names.namespace,
                "--pipeline",
                names.pipeline,
            ),
            *(
                "--detector",
                monitor.name,
                "--release",
                version.id,
                "--config",
                monitor.detector_config,
            ),
            *(
                ("--fitted-for", release_id(version.fitted_by))
                if version.fitted_by is not None
                else ()
            ),
            *("--artifact", DETECTOR_FOLDER, "--broker", names.broker_url),
            *("--stream-bytes", str(plan.events.detector_bytes)),
            *functions.function_options(monitor),
        ),
        env=parts.platform_environment(plan, *parts.nats(NatsRole.DETECTOR)),
        init=(
            parts.fetch_container(
                plan,
                "fetch",
                image=plan.platform.driftloop,
                uri=f"{version.detectors}/{monitor.name}",
                path=DETECTOR_FOLDER,
                volume="detector",
                digest=version.detector_digests.get(monitor.name),
                signed=parts.signed_options(plan, version, monitor.name),
            ),
        ),
        mounts=(core.VolumeMount(name="detector", mount_path=DETECTOR_FOLDER),),
        beside=functions.build_containers(monitor),
        resources=_choose_resources(monitor),
        settings=monitor.detector.pod,
        own=functions.own_volumes(monitor),
        security=securing.secure_pod(monitor.detector.pod),
        overlaps=True,
    )


def _choose_resources(monitor: Monitor) -> core.ContainerResources:
    if isinstance(monitor.detector, AlibiDetect):
        # TensorFlow alone takes 800 MiB
        return parts.small_resources("200m", "1Gi", limit="3Gi")
    return parts.small_resources("100m", "400Mi", limit="1Gi")


def detector_endpoint(plan: Plan, monitor: Monitor) -> core.KubernetesService:
    """The Service that takes a detector's events."""
    return parts.service_endpoint(plan, plan.names.detector(monitor.name), monitor.name)


def on_traffic(plan: Plan, monitor: Monitor, release: Release) -> knative.Trigger:
    """Production's requests or answers; in a shadow the candidate's copies would count twice.

    At other times it lets any release's through, also in a canary, where each request is answered
    by one version: what the next production is asked before these objects have followed is kept
    for its own detector, and counted, instead of lost.
    """
    name = plan.names.detector(monitor.name)
    return _build_traffic(plan, name, monitor, release, inference_type(monitor.detector.on))


def on_requests(plan: Plan, monitor: Monitor, release: Release) -> knative.Trigger | None:
    """The requests to the answers of a monitor that needs both; None for all others."""
    if not monitor.reads_requests:
        return None
    name = plan.names.requests(monitor.name)
    return _build_traffic(plan, name, monitor, release, INFERENCE_REQUEST)


def _build_traffic(
    plan: Plan, name: str, monitor: Monitor, release: Release, kind: str
) -> knative.Trigger:
    to, production = plan.names.detector(monitor.name), release.production
    if release.phase != "shadow" or production is None:
        return build_trigger(plan, name, monitor.name, to, type=kind)
    return build_trigger(plan, name, monitor.name, to, type=kind, **{RELEASE: production.id})


def on_labels(plan: Plan, monitor: Monitor) -> knative.Trigger | None:
    """All labels; they do not say whose answers they are of. None for a monitor that reads none."""
    if monitor.detector.on != "label":
        return None
    name = plan.names.detector(monitor.name)
    return build_trigger(
        plan, plan.names.labels(monitor.name), monitor.name, name, type=LABELS_GIVEN
    )
