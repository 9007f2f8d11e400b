"""Diagnosis of a cluster. Each check is a function `TextReader -> Findings`, listed in CHECKS.
Nothing is written."""

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, assert_never

from cryptography import x509

from driftloop.cluster import argocd, network, secrets
from driftloop.cluster.credentials import OWN
from driftloop.cluster.dropped import dropped_events
from driftloop.cluster.findings import DoctorFinding, Findings, Level
from driftloop.cluster.pods import altered, crashes, placements, starts
from driftloop.cluster.reader import (
    ForbiddenError,
    Reader,
    TextReader,
    find_condition,
    items,
    name_item,
)
from driftloop.cluster.store import jetstream
from driftloop.cluster.trust import signatures
from driftloop.contract import platform as contract
from driftloop.contract.names import (
    FLUX_BASE,
    FLUX_CANCELS_CHECKS,
    FLUX_CONFIGS,
    FLUX_NAMESPACE,
    OWN_SELECTOR,
    PLATFORM,
)
from driftloop.errors import PipelineError
from driftloop.platform import PlatformFile, default_platform
from driftloop.platform.argocd import ArgoCd
from driftloop.platform.model import Flux
from driftloop.text.load import load_mapping

DEFAULT = default_platform("dev")
"""A cluster without a platform file."""
OLDEST = (1, 34)
"""Knative 1.22 and Flux 2.9 refuse older ones."""


# component, a CRD of it that we use, who needs it
_CRDS = (
    ("Istio", "virtualservices.networking.istio.io", f"see Kustomization {FLUX_BASE}"),
    ("Argo Workflows", "workflowtemplates.argoproj.io", "see Kustomization argo-workflows"),
    ("Argo Events", "sensors.argoproj.io", "see Kustomization argo-events"),
    ("Knative Eventing", "triggers.eventing.knative.dev", "see Kustomization knative-eventing"),
    (
        "JetStream channels",
        "natsjetstreamchannels.messaging.knative.dev",
        "see Kustomization knative-eventing",
    ),
)
SOON = timedelta(days=30)
"""Time before the end of a webhook's certificate that is told."""
_OPTIONAL = (
    (
        "Seldon Core",
        "seldondeployments.machinelearning.seldon.io",
        "needed with `serve.backend: seldon` only",
    ),
    (
        "Prometheus Operator",
        "podmonitors.monitoring.coreos.com",
        "part of profile standard; the analysis works without it",
    ),
    ("cert-manager", "certificates.cert-manager.io", "creates the certificates of NATS and Seldon"),
)


def version(reader: Reader) -> Findings:
    """The server's version."""
    version = reader.get("/version") or {}
    number = (int(version.get("major", 0)), int(str(version.get("minor", "0")).rstrip("+")))
    text = f"Kubernetes {version.get('gitVersion', 'of unknown version')}"
    if number >= OLDEST:
        yield DoctorFinding(Level.OK, text)
    else:
        yield DoctorFinding(
            Level.WRONG,
            f"{text} is too old",
            f"the platform needs {OLDEST[0]}.{OLDEST[1]} or newer",
        )


def crds(reader: Reader, ground: PlatformFile = DEFAULT) -> Findings:
    """The kinds that pipelines consist of, those that Secrets are kept in, and those of what applies them."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    needed = (_find_follower(ground), *secrets.list_crds(ground.spec.secrets), *_CRDS)
    for required, table in ((True, needed), (False, _OPTIONAL)):
        for component, name, note in table:
            if reader.get(f"{path}/{name}") is not None:
                yield DoctorFinding(Level.OK, f"{component} is installed")
            elif required:
                yield DoctorFinding(
                    Level.WRONG,
                    f"{component} is not installed (no CRD {name})",
                    _tell_install(ground, note),
                )
            else:
                yield DoctorFinding(Level.NOTE, f"{component} is not installed", note)


def _find_follower(ground: PlatformFile) -> tuple[str, str, str]:
    match ground.spec.follower:
        case Flux():
            kind = "kustomizations.kustomize.toolkit.fluxcd.io"
            return ("Flux", kind, "`flux bootstrap` installs it")
        case ArgoCd():
            return ("Argo CD", "applications.argoproj.io", "install it, with its CRDs")
        case other:
            assert_never(other)


def _tell_install(ground: PlatformFile, note: str) -> str:
    """Return how a component is installed: by which Kustomization of the platform, where Flux applies it."""
    match ground.spec.follower:
        case Flux():
            return note
        case ArgoCd():
            return "install it as you install others: the platform's files are for Flux"
        case other:
            assert_never(other)


def follower(reader: Reader, ground: PlatformFile = DEFAULT) -> Findings:
    """What applies the repository."""
    match ground.spec.follower:
        case Flux():
            yield from flux(reader)
        case ArgoCd() as own:
            yield from argocd.examine_applications(reader, ground, own)
        case other:
            assert_never(other)


def flux(reader: Reader) -> Findings:
    """Sources, Kustomizations and HelmReleases that are not ready, in their own words."""
    for group, plural in (
        ("source.toolkit.fluxcd.io/v1", "gitrepositories"),
        ("source.toolkit.fluxcd.io/v1", "helmcharts"),
        ("kustomize.toolkit.fluxcd.io/v1", "kustomizations"),
        ("helm.toolkit.fluxcd.io/v2", "helmreleases"),
    ):
        yield from _ready(
            reader,
            f"/apis/{group}/{plural}",
            fix="the message has the reason; `flux reconcile` tries again",
        )
    yield from _find_lasting_checks(reader)


def _find_lasting_checks(reader: Reader) -> Findings:
    """Find Kustomizations whose revert waits for the health check of the commit that it reverts."""
    controller = reader.get(
        f"/apis/apps/v1/namespaces/{FLUX_NAMESPACE}/deployments/kustomize-controller"
    )
    if controller is None:
        return
    containers = controller["spec"]["template"]["spec"]["containers"]
    arguments = [each for container in containers for each in container.get("args", ())]
    if not any(FLUX_CANCELS_CHECKS in each for each in arguments):
        yield DoctorFinding(
            Level.NOTE,
            "a revert of a commit whose pods do not start waits until their health check has timed out, "
            "ten minutes",
            f"give kustomize-controller the argument `--feature-gates={FLUX_CANCELS_CHECKS}`, as "
            "cluster/dev/flux-system/kustomization.yaml does",
        )


def events(reader: Reader) -> Findings:
    """Brokers and Triggers; EventBus, EventSource and Sensor."""
    knative = "`kubectl describe` shows more; a broker waits for its channel, a channel for NATS (nats-url, config-nats)"
    yield from _ready(reader, "/apis/eventing.knative.dev/v1/brokers", fix=knative)
    yield from _ready(reader, "/apis/eventing.knative.dev/v1/triggers", fix=knative)
    bus = "Argo's event bus requires TLS: NATS needs its certificate (Certificate nats in nats-io)"
    for plural in ("eventbus", "eventsources", "sensors"):
        yield from _ready(reader, f"/apis/argoproj.io/v1alpha1/{plural}", fix=bus, every=True)


def flux_objects(reader: Reader, ground: PlatformFile) -> Findings:
    """The source and the Kustomizations that a platform file names."""
    own = ground.spec.follower
    if not isinstance(own, Flux) or not ground.layout.is_declared:
        return
    source = own.source_ref
    home = source.namespace or own.namespace
    named: list[tuple[str, str, str, str, str]] = [
        ("source.toolkit.fluxcd.io/v1", "gitrepositories", source.kind, home, source.name)
    ]
    named += [
        (
            "kustomize.toolkit.fluxcd.io/v1",
            "kustomizations",
            "Kustomization",
            each.namespace or own.namespace,
            each.name,
        )
        for each in own.depends_on
    ]
    for group, plural, kind, namespace, name in named:
        if reader.get(f"/apis/{group}/namespaces/{namespace}/{plural}/{name}") is None:
            yield DoctorFinding(
                Level.WRONG,
                f"{kind} {namespace}/{name} does not exist, {ground.path} names it",
                "pipelines wait for it for ever: correct the name, or create it",
            )
        else:
            yield DoctorFinding(Level.OK, f"{kind} {namespace}/{name} exists")


def platform(reader: Reader, ground: PlatformFile = DEFAULT) -> Findings:
    """ConfigMap and Secrets of the platform's settings in every pipeline namespace, key by key."""
    is_keyless = ground.spec.object_store.credentials == "workload-identity"
    unused = (contract.ACCESS_KEY.key, contract.SECRET_KEY.key) if is_keyless else ()
    homes = items(reader, f"/api/v1/namespaces?{OWN_SELECTOR}") or []
    if not homes:
        yield DoctorFinding(
            Level.NOTE, "no pipeline yet", "`driftloop commit SPEC --repository URL`"
        )
    for home in homes:
        namespace = home["metadata"]["name"]
        for kind, plural, name, keys in (
            ("ConfigMap", "configmaps", PLATFORM, contract.NEEDED_CONFIG_KEYS),
            *(("Secret", "secrets", *secret) for secret in contract.NEEDED_SECRET_KEYS.items()),
        ):
            settings = reader.get(f"/api/v1/namespaces/{namespace}/{plural}/{name}")
            wanted = [key for key in keys if key not in unused]
            fix = f"`driftloop secrets init --namespace {namespace} …`, and commit what it writes"
            if kind == "Secret":
                fix = secrets.tell_fix(ground, namespace, name, wanted)
            if settings is None:
                yield DoctorFinding(Level.WRONG, f"{namespace} has no {kind} {name}", fix)
                continue
            held = settings.get("data") or {}
            missing = [key for key in wanted if key not in held]
            if missing:
                yield DoctorFinding(
                    Level.WRONG,
                    f"{kind} {name} in {namespace} has no {', '.join(missing)}",
                    fix,
                )
            else:
                yield DoctorFinding(Level.OK, f"{kind} {name} in {namespace} is complete")
            if kind == "ConfigMap" and contract.ARTIFACT_REPOSITORY.key not in missing:
                yield from _repository(
                    namespace, settings["data"][contract.ARTIFACT_REPOSITORY.key]
                )
            if kind == "ConfigMap" and not missing:
                yield from _shut(reader, namespace, settings["data"])


def gateway(reader: Reader, ground: PlatformFile = DEFAULT) -> Findings:
    """The way in, and the filters of the platform there: a request's id, its bound, 401 for who brings no login."""
    base = "/apis/networking.istio.io"
    own = ground.spec.gateway
    filters = f"{base}/v1alpha3/namespaces/{own.pods.namespace}/envoyfilters"
    for path, name in (
        (
            f"{base}/v1/namespaces/{own.namespace}/gateways/{own.name}",
            f"Gateway {own.ref}",
        ),
        (
            f"{filters}/request-id",
            f"EnvoyFilter {own.pods.namespace}/request-id",
        ),
        (
            f"{filters}/request-limits",
            f"EnvoyFilter {own.pods.namespace}/request-limits",
        ),
        (
            f"{filters}/login",
            f"EnvoyFilter {own.pods.namespace}/login",
        ),
    ):
        if reader.get(path) is None:
            yield DoctorFinding(
                Level.WRONG, f"{name} does not exist", f"see Kustomization {FLUX_CONFIGS}"
            )
        else:
            yield DoctorFinding(Level.OK, f"{name} exists")


def deployments(reader: Reader) -> Findings:
    """Deployments that want more replicas than they have, and an operator that brings an executor which stops at once."""
    for deployment in items(reader, "/apis/apps/v1/deployments") or []:
        yield from _find_hasty_executor(deployment)
        replicas, available = (
            deployment["spec"].get("replicas", 1),
            deployment.get("status", {}).get("availableReplicas", 0),
        )
        if available < replicas:
            condition = find_condition(deployment, "Available") or {}
            fix = f"`kubectl -n {deployment['metadata']['namespace']} describe pods`: images, Secrets, free resources of nodes"
            problem = f"Deployment {name_item(deployment)} has {available} of {replicas} replicas: {condition.get('message', 'starting')}"
            yield DoctorFinding(Level.WRONG, problem, fix)


def _find_hasty_executor(deployment: dict[str, Any]) -> Findings:
    """Yield a note on an operator of Seldon whose executor stops listening before the gateway has another way."""
    containers = deployment["spec"].get("template", {}).get("spec", {}).get("containers") or []
    variables = [variable for container in containers for variable in container.get("env") or []]
    for variable in variables:
        image = variable.get("value") or ""
        if variable["name"] == EXECUTOR_VARIABLE and "seldon-core-executor" in image:
            yield DoctorFinding(
                Level.NOTE,
                f"Deployment {name_item(deployment)} gives models the executor {image}, which stops listening at once when a "
                "pod is taken away: now and then a request gets 503 then",
                "`executor.image` of its chart: driftloop's image `executor` (`driftloop build --role executor`)",
            )


def autoscalers(reader: Reader) -> Findings:
    """Autoscalers that can't tell how busy their pods are: the number of pods stays as it is."""
    for autoscaler in items(reader, "/apis/autoscaling/v2/horizontalpodautoscalers") or []:
        condition = find_condition(autoscaler, "ScalingActive")
        # with 0 replicas an autoscaler is switched off, which somebody did
        if (
            condition is not None
            and condition["status"] == "False"
            and condition.get("reason") != "ScalingDisabled"
        ):
            reason = condition.get("message", "no reason given")
            message = f"HorizontalPodAutoscaler {name_item(autoscaler)} does not scale: {reason}"
            yield DoctorFinding(
                Level.WRONG,
                message,
                "metrics-server must run; `kubectl top pods` shows its metrics",
            )


def webhooks(reader: Reader, now: datetime | None = None) -> Findings:
    """Admission webhooks whose certificate has ended or soon will: every apply of their kinds
    would fail."""
    now = now or datetime.now(UTC)
    base = "/apis/admissionregistration.k8s.io/v1"
    for plural in ("validatingwebhookconfigurations", "mutatingwebhookconfigurations"):
        for webhook in items(reader, f"{base}/{plural}") or []:
            bundles = {
                hook.get("clientConfig", {}).get("caBundle")
                for hook in webhook.get("webhooks") or []
            } - {
                None,
                "",
            }
            for bundle in bundles:
                times = _read_times(bundle)
                if times is None:
                    yield DoctorFinding(
                        Level.WRONG,
                        f"webhook {name_item(webhook)} has a certificate that can't be read",
                    )
                    continue
                until, lasts = times
                expires = until < now + timedelta(hours=12)
                # one that lasts a week, as Knative's do, is renewed by its owner a day before
                if expires or (until < now + SOON and lasts > SOON):
                    fix = "if its owner does not renew it (Knative and cert-manager do), upgrade or reinstall the owner"
                    yield DoctorFinding(
                        Level.WRONG if expires else Level.NOTE,
                        f"webhook {name_item(webhook)}'s certificate expires on {until:%Y-%m-%d}",
                        fix,
                    )


def gpus(reader: Reader) -> Findings:
    """Accelerators that pods can ask for."""
    for node in items(reader, "/api/v1/nodes") or []:
        count = node.get("status", {}).get("allocatable", {}).get("nvidia.com/gpu")
        if count:
            yield DoctorFinding(Level.OK, f"node {node['metadata']['name']} offers {count} GPU")


EXECUTOR_VARIABLE = "EXECUTOR_CONTAINER_IMAGE_AND_VERSION"
"""Of Seldon's operator."""
CHECKS: tuple[Callable[[TextReader], Findings], ...] = (
    version, signatures, events, dropped_events, jetstream, deployments,
    altered, crashes, placements, starts, autoscalers, webhooks, gpus,
)  # fmt: skip

GROUND_CHECKS: tuple[Callable[..., Findings], ...] = (
    crds, follower, secrets.find_unmade, secrets.find_keys_of_flux, secrets.find_named, secrets.users, platform, gateway,
    flux_objects,
)  # fmt: skip
"""Those that ask for what a platform file says."""


def examine(reader: TextReader, ground: PlatformFile = DEFAULT) -> Iterator[DoctorFinding]:
    """Every check in turn, of a cluster as its platform file has it; what may not be read is said, and the rest goes on."""
    named = (partial(check, ground=ground) for check in GROUND_CHECKS)
    first, *others = CHECKS
    checks: tuple[Callable[[TextReader], Findings], ...] = (first, *named, *others)
    for check in checks:
        try:
            yield from check(reader)
        except ForbiddenError as error:
            yield DoctorFinding(
                Level.NOTE,
                f"not allowed to read: {error.message}",
                "ask for the ClusterRole `view`",
            )


def _ready(reader: Reader, path: str, *, fix: str, every: bool = False) -> Findings:
    """Objects whose Ready condition (with `every`: any condition) is not true. Nothing when the
    kind is missing."""
    for item in items(reader, path) or []:
        kind = item.get("kind") or path.rsplit("/", 1)[1]
        if item.get("spec", {}).get("suspend"):
            yield DoctorFinding(Level.NOTE, f"{kind} {name_item(item)} is suspended")
            continue
        conditions = item.get("status", {}).get("conditions") or []
        bad = [c for c in conditions if c["status"] != "True" and (every or c["type"] == "Ready")]
        if not conditions:
            yield DoctorFinding(
                Level.WRONG, f"{kind} {name_item(item)}: no controller has reconciled it", fix
            )
        for condition in bad:
            text = (
                condition.get("message")
                or condition.get("reason")
                or f"{condition['type']} is not true"
            )
            yield DoctorFinding(Level.WRONG, f"{kind} {name_item(item)}: {text}", fix)


def _repository(namespace: str, text: str) -> Findings:
    try:
        endpoint = load_mapping(text, f"the artifact repository of {namespace}")["s3"]["endpoint"]
    except PipelineError as error:
        yield DoctorFinding(Level.WRONG, error.message)
        return
    except (KeyError, TypeError):
        yield DoctorFinding(
            Level.WRONG, f"the artifact repository of {namespace} is not of kind s3"
        )
        return
    if "://" in endpoint:
        what = f"the artifact repository of {namespace} has the endpoint `{endpoint}`"
        yield DoctorFinding(Level.WRONG, what, "Argo requires host:port, without a scheme")


def _shut(reader: Reader, namespace: str, settings: dict[str, str]) -> Findings:
    """Addresses that the namespace's own NetworkPolicies keep its pods from."""
    there = {
        policy["metadata"]["name"]
        for policy in items(
            reader, f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"
        )
        or []
    }
    if not any(name.endswith("-deny") for name in there):
        return
    addresses = {
        "s3": settings[contract.S3_ENDPOINT.key],
        "nats": settings[contract.NATS.key],
        "git": settings[contract.GIT_URL.key],
        "kubernetes": settings[contract.KUBERNETES_URL.key],
    }
    for name in network.policies(namespace, addresses, OWN):
        if name not in there:
            url = addresses[name.removeprefix(f"{PLATFORM}-").partition("-")[0]]
            fix = (
                f"`driftloop secrets init --namespace {namespace} --force` writes it; "
                "pass the current keys and token, or it makes new ones"
            )
            yield DoctorFinding(
                Level.WRONG,
                f"pods of {namespace} can't reach {url}: NetworkPolicy {name} does not exist",
                fix,
            )


def _read_times(bundle: str) -> tuple[datetime, timedelta] | None:
    """Return when the first certificate of a bundle ends, and how long it lasts in all; None when they can't be read."""
    try:
        certificates = x509.load_pem_x509_certificates(base64.b64decode(bundle))
    except ValueError:
        return None
    first = min(certificates, key=lambda certificate: certificate.not_valid_after_utc)
    return first.not_valid_after_utc, first.not_valid_after_utc - first.not_valid_before_utc
