import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cluster.authority import pair

from driftloop.cluster import doctor, secrets, trust
from driftloop.cluster.findings import Level
from driftloop.cluster.pods import describe_waiting
from driftloop.cluster.reader import ClusterError, ForbiddenError
from driftloop.contract.integrity import describe_distrust, describe_mismatch
from driftloop.contract.names import OWN_SELECTOR
from driftloop.contract.platform import CONFIG_KEYS, SECRET_KEYS
from driftloop.platform import parse_platform
from driftloop.release.minisign import SigningKey, make_signing_key
from driftloop.release.statement import SignedPart, state_version
from tests.pipelines import version

DIGESTS = ("sha256:" + "a" * 64, "sha256:" + "b" * 64)


class Answers:
    """A cluster that holds these paths and nothing else; a path may also be forbidden."""

    def __init__(self, paths, forbidden=()):
        self.paths, self.forbidden, self.asked = paths, forbidden, []

    def get(self, path):
        self.asked.append(path)
        if any(path.startswith(one) for one in self.forbidden):
            raise ForbiddenError(f"{path}: Forbidden")
        return self.paths.get(path)

    text = get


def condition(kind, status, message="because"):
    return {"type": kind, "status": status, "message": message}


def object_(name, *conditions, namespace="digits", **spec):
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
        "status": {"conditions": [*conditions]},
    }


def texts(findings, level=Level.WRONG):
    return [f.what for f in findings if f.level is level]


def test_an_empty_cluster_lacks_everything_and_nothing_breaks():
    findings = list(
        doctor.examine(
            Answers({"/version": {"major": "1", "minor": "35", "gitVersion": "v1.35.4"}})
        )
    )
    wrong = texts(findings)
    for component in (
        "Flux",
        "Sealed Secrets",
        "Argo Workflows",
        "Argo Events",
        "Knative Eventing",
        "Istio",
    ):
        assert any(text.startswith(f"{component} is not installed") for text in wrong)
    assert all(f.fix for f in findings if f.level is Level.WRONG)


@pytest.mark.parametrize(
    ("minor", "level"), [("34", Level.OK), ("33", Level.WRONG), ("35+", Level.OK)]
)
def test_the_server_s_version(minor, level):
    (finding,) = doctor.version(Answers({"/version": {"major": "1", "minor": minor}}))
    assert finding.level is level


@pytest.mark.parametrize("gates", [None, "A=true,CancelHealthCheckOnNewRevision=true"])
def test_a_revert_that_waits_for_a_health_check_is_told(gates):
    arguments = ["--log-level=info", *([f"--feature-gates={gates}"] if gates else [])]
    spec = {"template": {"spec": {"containers": [{"name": "manager", "args": arguments}]}}}
    path = "/apis/apps/v1/namespaces/flux-system/deployments/kustomize-controller"
    notes = texts(doctor.flux(Answers({path: {"spec": spec}})), Level.NOTE)
    assert len(notes) == (gates is None)
    assert all("health check" in note for note in notes)


def test_flux_speaks_for_itself():
    path = "/apis/kustomize.toolkit.fluxcd.io/v1/kustomizations"
    ill = object_(
        "infra-configs", condition("Ready", "False", "no matches for kind"), namespace="flux-system"
    )
    well = object_("infra-base", condition("Ready", "True"))
    off = object_("digits-workflows", condition("Ready", "False"), suspend=True)
    unseen = object_("digits-monitors")
    findings = list(doctor.flux(Answers({path: {"items": [ill, well, off, unseen]}})))
    wrong = texts(findings)
    assert wrong[0].endswith("flux-system/infra-configs: no matches for kind")
    assert wrong[1].endswith("digits/digits-monitors: no controller has reconciled it")
    assert texts(findings, Level.NOTE)[0].endswith("digits/digits-workflows is suspended")
    assert len(findings) == 3


def test_a_sealed_secret_that_stays_shut():
    shut = object_(
        "driftloop-platform", condition("Synced", "False", "no key could decrypt secret (token)")
    )
    (finding,) = secrets.find_unmade(
        Answers({"/apis/bitnami.com/v1alpha1/sealedsecrets": {"items": [shut]}}), doctor.DEFAULT
    )
    assert "no key could decrypt" in finding.what
    assert "driftloop seal" in finding.fix


def platform(config, secret):
    base = "/api/v1/namespaces/digits"
    return Answers(
        {
            "/api/v1/namespaces?labelSelector=app.kubernetes.io/managed-by%3Ddriftloop": {
                "items": [{"metadata": {"name": "digits"}}]
            },
            **(
                {f"{base}/configmaps/driftloop-platform": {"data": config}}
                if config is not None
                else {}
            ),
            **(
                {
                    f"{base}/secrets/{name}": {
                        "data": {key: secret[key] for key in keys if key in secret}
                    }
                    for name, keys in SECRET_KEYS.items()
                }
                if secret is not None
                else {}
            ),
        }
    )


def complete():
    keys = dict.fromkeys(CONFIG_KEYS, "x")
    return {**keys, "artifact-repository": "s3: {endpoint: host:8333}"}, {
        key: "eA==" for keys in SECRET_KEYS.values() for key in keys
    }


def test_the_platform_s_settings_key_by_key():
    config, secret = complete()
    assert texts(doctor.platform(platform(config, secret))) == []
    assert texts(doctor.platform(platform(None, secret))) == [
        "digits has no ConfigMap driftloop-platform"
    ]
    del secret["webhook-token"]
    assert texts(doctor.platform(platform(config, secret))) == [
        "Secret driftloop-platform in digits has no webhook-token"
    ]
    config, secret = complete()
    del config["signing-keys"], secret["signing-key"]
    assert texts(doctor.platform(platform(config, secret))) == [], "only who signs needs them"
    del secret["git-password"]
    assert texts(doctor.platform(platform(config, secret))) == [
        "Secret driftloop-git in digits has no git-password"
    ]


def test_users_of_nats_namespace_by_namespace():
    config, secret = complete()
    cluster = platform(config, secret)
    assert texts(secrets.users(cluster, doctor.DEFAULT)) == [], "the platform's NATS is not here"
    cluster.paths["/api/v1/namespaces/nats-io"] = {"metadata": {"name": "nats-io"}}
    assert texts(secrets.users(cluster, doctor.DEFAULT)) == [
        "NATS waits for the Secret nats-users in nats-io: it has no users"
    ]
    users = "/api/v1/namespaces/nats-io/secrets/nats-users"
    cluster.paths[users] = {"data": {"users.conf": "eA==", "other.conf": "eA=="}}
    assert texts(secrets.users(cluster, doctor.DEFAULT)) == [
        "digits has no users in NATS, which refuses its pods"
    ]
    cluster.paths[users]["data"]["digits.conf"] = "eA=="
    assert texts(secrets.users(cluster, doctor.DEFAULT)) == []


def test_a_namespace_that_is_shut_to_its_own_platform():
    """Settings written by an older `secrets init`, then the default-deny policies of a newer render."""
    config, secret = complete()
    config |= {
        "s3-endpoint": "http://seaweedfs-s3.storage.svc.cluster.local:8333",
        "git-url": "http://10.0.0.9:3000/c.git",
    }
    config |= {
        "nats-url": "nats://nats.nats-io.svc.cluster.local:4222",
        "kubernetes-url": "https://kubernetes.default.svc",
    }
    cluster = platform(config, secret)
    path = "/apis/networking.k8s.io/v1/namespaces/digits/networkpolicies"
    assert texts(doctor.platform(cluster)) == []
    cluster.paths[path] = {"items": [{"metadata": {"name": "digits-deny"}}]}
    policies = ("driftloop-platform-git", "driftloop-platform-git-1")
    assert texts(doctor.platform(cluster)) == [
        f"pods of digits can't reach http://10.0.0.9:3000/c.git: NetworkPolicy {name} does not exist"
        for name in policies
    ]
    cluster.paths[path]["items"] += [{"metadata": {"name": name}} for name in policies]
    assert texts(doctor.platform(cluster)) == []


def test_an_endpoint_with_a_scheme_is_what_argo_can_t_use():
    config, secret = complete()
    config["artifact-repository"] = "s3: {endpoint: 'http://host:8333'}"
    (text,) = texts(doctor.platform(platform(config, secret)))
    assert "http://host:8333" in text


@pytest.mark.parametrize(
    ("days", "passed", "levels"),
    [
        (400, 0, []),
        (400, 380, [Level.NOTE]),
        (400, 399.8, [Level.WRONG]),
        # Knative's, which it renews a day before its end
        (7, 0, []),
        (7, 5.9, []),
        (7, 6.8, [Level.WRONG]),
    ],
)
def test_a_webhook_s_certificate(days, passed, levels):
    bundle = base64.b64encode(pair(days=days, age=0)[0]).decode()
    hook = {
        "metadata": {"name": "seldon"},
        "webhooks": [{"clientConfig": {"caBundle": bundle}}] * 2,
    }
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    now = datetime.now(UTC) + timedelta(days=passed)
    found = doctor.webhooks(Answers({path: {"items": [hook]}}), now)
    assert [finding.level for finding in found] == levels


def test_a_deployment_that_does_not_come_up():
    ill = object_(
        "digits-judge",
        condition("Available", "False", "does not have minimum availability"),
        replicas=1,
    )
    (finding,) = doctor.deployments(Answers({"/apis/apps/v1/deployments": {"items": [ill]}}))
    assert finding.what.startswith("Deployment digits/digits-judge has 0 of 1")


@pytest.mark.parametrize(
    ("image", "told"),
    [
        ("docker.io/seldonio/seldon-core-executor:1.17.1", True),
        ("registry.acme.test/mirror/seldonio/seldon-core-executor:1.17.1", True),
        ("ghcr.io/driftloop/executor:0.1.0", False),
    ],
)
def test_an_executor_that_stops_at_once(image, told):
    env = [{"name": "EXECUTOR_CONTAINER_IMAGE_AND_VERSION", "value": image}, {"name": "OTHER"}]
    pod = {"spec": {"containers": [{"name": "manager", "env": env}]}}
    manager = object_("seldon-controller-manager", namespace="seldon-system", template=pod)
    others = object_("digits-decision", template={"spec": {"containers": [{"name": "decision"}]}})
    answers = Answers({"/apis/apps/v1/deployments": {"items": [others, manager]}})
    found = texts(doctor.deployments(answers), Level.NOTE)
    assert [
        f"seldon-system/seldon-controller-manager gives models the executor {image}" in each
        for each in found
    ] == [True] * told


def test_an_autoscaler_that_can_not_measure():
    path = "/apis/autoscaling/v2/horizontalpodautoscalers"
    off = condition("ScalingActive", "False", "scaling is disabled since the replica count is zero")
    blind = condition("ScalingActive", "False", "unable to get metrics for resource cpu")
    found = [
        object_(name, one)
        for name, one in (("a", blind), ("b", off), ("c", condition("ScalingActive", "True")))
    ]
    found[1]["status"]["conditions"][0]["reason"] = "ScalingDisabled"
    (text,) = texts(doctor.autoscalers(Answers({path: {"items": found}})))
    assert text.startswith("HorizontalPodAutoscaler digits/a does not scale: unable to get metrics")


def test_a_pod_that_crashes_is_quoted():
    container = {
        "name": "drift",
        "restartCount": 7,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 1}},
    }
    pod = {
        "metadata": {"name": "digits-drift-x", "namespace": "digits"},
        "spec": {"containers": []},
        "status": {"containerStatuses": [container]},
    }
    log = (
        "/api/v1/namespaces/digits/pods/digits-drift-x/log"
        "?container=drift&previous=true&tailLines=6"
    )
    words = "error: stream X: insufficient storage\n\nhint: JetStream's store has no room\n"
    cluster = Answers({"/api/v1/pods": {"items": [pod]}, log: words})
    (finding,) = doctor.crashes(cluster)
    assert finding.what == (
        "container drift of Pod digits/digits-drift-x crashed 7 times (exit code 1): error: stream "
        "X: insufficient storage | hint: JetStream's store has no room"
    )
    assert "kubectl -n digits logs digits-drift-x -c drift --previous" in finding.fix
    container["state"] = {"running": {}}
    assert list(doctor.crashes(cluster)) == []


REFUSED = (
    'failed to pull and unpack image "registry.acme.test/digits-server:1.0.0": unexpected status from HEAD request: '
    "401 Unauthorized"
)
NO_SECRET = 'secret "acme" not found'


@pytest.mark.parametrize("kind", ["initContainerStatuses", "containerStatuses"])
@pytest.mark.parametrize(
    ("reason", "message", "what", "fix"),
    [
        ("ErrImagePull", REFUSED, f"does not get registry.acme.test/digits-server:1.0.0: {REFUSED}", "imagePullSecrets"),
        ("InvalidImageName", "", "does not get registry.acme.test/digits-server:1.0.0: InvalidImageName", "push the image"),
        ("CreateContainerConfigError", NO_SECRET, f"can't be started: {NO_SECRET}", "describe pod digits-r1-x"),
    ],
)  # fmt: skip
def test_a_container_that_the_kubelet_can_not_start_is_named(kind, reason, message, what, fix):
    container = {
        "name": "model",
        "image": "registry.acme.test/digits-server:1.0.0",
        "state": {"waiting": {"reason": reason, **({"message": message} if message else {})}},
    }
    pod = {
        "metadata": {"name": "digits-r1-x", "namespace": "digits"},
        "spec": {"containers": []},
        "status": {kind: [container]},
    }
    (finding,) = doctor.starts(Answers({"/api/v1/pods": {"items": [pod]}}))
    assert finding.what == f"container model of Pod digits/digits-r1-x {what}"
    assert fix in finding.fix
    assert describe_waiting([pod], "digits-r1-") == (finding.what,), "the rollout's step says so"
    assert describe_waiting([pod], "digits-r2-") == ()
    container["state"] = {"waiting": {"reason": "ContainerCreating"}}
    assert list(doctor.starts(Answers({"/api/v1/pods": {"items": [pod]}}))) == []


@pytest.mark.parametrize("kind", ["initContainerStatuses", "containerStatuses"])
def test_a_pod_that_refuses_its_files_says_so_once(kind):
    place = "s3://driftloop/runs/a/release/model"
    words = (
        f"error: {describe_mismatch(place, DIGESTS[0], DIGESTS[1])}\n\nhint: somebody changed it"
    )
    container = {
        "name": "model-model-initializer",
        "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 1, "message": words}},
    }
    pod = {
        "metadata": {"name": "digits-r1-x", "namespace": "digits"},
        "spec": {"containers": []},
        "status": {kind: [container]},
    }
    cluster = Answers({"/api/v1/pods": {"items": [pod]}})
    (finding,) = doctor.altered(cluster)
    assert finding.what == (
        f"Pod digits/digits-r1-x refuses its files: {place} has digest {DIGESTS[0]}, "
        f"expected {DIGESTS[1]}"
    )
    assert "driftloop rollback" in finding.fix
    assert list(doctor.crashes(cluster)) == [], "not told twice"
    (line,) = describe_waiting([pod], "digits-r1-")
    assert (
        line
        == f"Pod digits-r1-x refuses its files: {place} has digest {DIGESTS[0]}, expected {DIGESTS[1]}"
    )
    assert describe_waiting([pod], "digits-r2-") == ()
    container["state"] = {"terminated": {"exitCode": 0}}
    assert list(doctor.altered(cluster)) == [], "the objects were put back"


KEY = SigningKey(bytes(range(8)), bytes(range(32)))


def signing_cluster(*arguments, keys=KEY.public.text, secret=True):
    """A namespace whose pipelines sign, with one detector that is started by these arguments."""
    base, apis = "/api/v1/namespaces/digits", "namespaces/digits"
    fetch = {"command": ["driftloop", "step", "fetch"], "args": [*arguments, "--out", "/work/in"]}
    pod = {"spec": {"initContainers": [fetch], "containers": []}}
    variable = {"valueFrom": {"secretKeyRef": {"name": "driftloop-signing", "key": "signing-key"}}}
    return Answers(
        {
            f"/api/v1/namespaces?{OWN_SELECTOR}": {"items": [{"metadata": {"name": "digits"}}]},
            f"/apis/argoproj.io/v1alpha1/{apis}/workflowtemplates": {
                "items": [{"spec": {"templates": [{"container": {"env": [variable]}}]}}]
            },
            f"/apis/apps/v1/{apis}/deployments": {
                "items": [{"metadata": {"name": "digits-drift"}, "spec": {"template": pod}}]
            },
            f"{base}/configmaps/driftloop-platform": {"data": {"signing-keys": keys}},
            **({f"{base}/secrets/driftloop-signing": {"data": {}}} if secret else {}),
        }
    )


def signed_arguments(**other):
    made = version("digits-a", detector_digests={"drift": DIGESTS[0]})
    text = state_version("digits", "digits", made).text
    part = SignedPart("digits", "digits", made.id, "drift").text
    options = {"statement": text, "signature": KEY.sign(text), "part": part} | other
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def test_what_is_served_is_held_against_its_signature():
    (fine,) = trust.signatures(signing_cluster(*signed_arguments()))
    assert (fine.level, fine.what) == (
        Level.OK,
        "Deployment digits/digits-drift serves what is signed",
    )
    forged = signing_cluster(*signed_arguments(signature=KEY.sign("another release")))
    (wrong,) = trust.signatures(forged)
    assert "is not trusted: the signature by key 0706050403020100 does not fit" in wrong.what
    (note,) = trust.signatures(signing_cluster("--uri", "s3://b/x"))
    assert note.level is Level.NOTE
    assert "starts without a check of its release's signature" in note.what
    other = make_signing_key().public.text
    (wrong,) = trust.signatures(signing_cluster(*signed_arguments(), keys=other))
    assert "key 0706050403020100 signed it, which is not trusted here" in wrong.what


def test_keys_that_signing_needs_are_named():
    said = texts(trust.signatures(signing_cluster(*signed_arguments(), keys="", secret=False)))
    assert said == [
        "digits has no Secret driftloop-signing: a run can't commit its release",
        "`signing-keys` of ConfigMap driftloop-platform in digits has no key: no pod of a signed release starts",
    ]
    (wrong,) = trust.signatures(signing_cluster(keys="RW"))
    assert "'RW' is not a minisign public key" in wrong.what
    unsigned = signing_cluster(secret=False)
    unsigned.paths["/apis/argoproj.io/v1alpha1/namespaces/digits/workflowtemplates"] = None
    assert list(trust.signatures(unsigned)) == [], "no pipeline of the namespace signs"


def test_a_release_that_is_not_trusted_is_told_as_the_pod_says_it():
    words = f"error: {describe_distrust('r1a2b3c4d', 'digits/digits', 'it has no signature')}\n\nhint: x"
    container = {"name": "fetch", "state": {"terminated": {"exitCode": 1, "message": words}}}
    pod = {
        "metadata": {"name": "digits-drift-x", "namespace": "digits"},
        "spec": {"containers": []},
        "status": {"initContainerStatuses": [container]},
    }
    (finding,) = doctor.altered(Answers({"/api/v1/pods": {"items": [pod]}}))
    assert finding.what == (
        "Pod digits/digits-drift-x refuses its files: "
        "release r1a2b3c4d of digits/digits is not trusted: it has no signature"
    )


@pytest.mark.parametrize(
    ("reserved", "level"), [(512, Level.OK), (1700, Level.WRONG), (2048, Level.WRONG)]
)
def test_the_room_that_is_left_in_jetstream(reserved, level):
    pods = "/api/v1/namespaces/nats-io/pods"
    answer = {
        "storage": 3 * 2**20,
        "reserved_storage": reserved * 2**20,
        "config": {"max_storage": 2**31},
    }
    cluster = Answers(
        {
            pods: {"items": [{"metadata": {"name": "nats-0"}}]},
            f"{pods}/nats-0:8222/proxy/jsz": json.dumps(answer),
        }
    )
    (finding,) = doctor.jetstream(cluster)
    assert finding.level is level
    assert finding.what.startswith(
        f"JetStream of nats-0 has {2048 - reserved}Mi of 2048Mi left to reserve (3Mi used)"
    )


FILTERS = "/api/v1/namespaces/knative-eventing/pods"
TOLD = "kn_eventing_dispatch_duration_seconds"


def dispatched(*rows, trigger="digits-drift.ml"):
    """What a filter of Knative 1.21 showed on a cluster: events by type, status and number."""
    lines = [f"# TYPE {TOLD} histogram"]
    for kind, status, count in rows:
        labels = ",".join(
            (
                f'cloudevents_type="{kind}",http_response_status_code="{status}"',
                'kn_broker_name="default",kn_broker_namespace="ml"',
                f'messaging_destination_name="trigger:{trigger}",messaging_system="knative"',
            )
        )
        lines.append(f'{TOLD}_bucket{{{labels},le="+Inf"}} {count}')
        lines.append(f"{TOLD}_sum{{{labels}}} 0.0047")
        lines.append(f"{TOLD}_count{{{labels}}} {count}")
    return "\n".join((*lines, ""))


def filters(*names, **answers):
    listed = {"items": [{"metadata": {"name": name}} for name in names]}
    selector = "?labelSelector=eventing.knative.dev%2FbrokerRole%3Dfilter"
    shown = {f"{FILTERS}/{name}:9092/proxy/metrics": text for name, text in answers.items()}
    return Answers({f"{FILTERS}{selector}": listed, **shown})


def test_events_that_knative_dropped_are_counted_by_trigger_and_answer():
    tried_again = (("t", "429", 3), ("t", "408", 1), ("t", "500", 9))
    one = dispatched(("t", "404", 6), ("u", "404", 1), *tried_again, ("t", "202", 812))
    other = dispatched(("t", "403", 2), ("t", "301", 1), trigger="a.b-c.ml")
    found = list(doctor.dropped_events(filters("a", "b", "c", a=one, b=one, c=other)))
    assert {finding.level for finding in found} == {Level.WRONG}
    assert [finding.what.partition(", or")[0] for finding in found] == [
        "Knative has dropped 1 event of Trigger ml/a.b-c: its subscriber answered 301",
        "Knative has dropped 2 events of Trigger ml/a.b-c: its subscriber answered 403",
        "Knative has dropped 14 events of Trigger ml/digits-drift: its subscriber answered 404",
    ]


def test_where_nothing_was_dropped_or_there_is_no_knative_nothing_is_wrong():
    taken = dispatched(("t", "202", 9), ("t", "503", 2))
    (finding,) = doctor.dropped_events(filters("a", a=taken))
    assert finding.level is Level.OK
    assert list(doctor.dropped_events(Answers({}))) == []


def test_a_filter_without_metrics_is_named_with_what_opens_them():
    class Closed(Answers):
        def text(self, path):
            raise ClusterError("the API server answered 503: connection refused")

    closed = Closed(filters("mt-broker-filter-x").paths)
    (finding,) = doctor.dropped_events(closed)
    assert finding.level is Level.NOTE
    assert "mt-broker-filter-x shows no metrics: the API server answered 503" in finding.what
    assert "config-observability" in finding.fix


def test_what_may_not_be_read_is_said_and_the_rest_goes_on():
    answers = Answers(
        {"/version": {"major": "1", "minor": "35"}}, forbidden=["/api/v1/nodes", "/apis/apps"]
    )
    findings = list(doctor.examine(answers))
    notes = [text for text in texts(findings, Level.NOTE) if text.startswith("not allowed to read")]
    assert len(notes) == 3


def test_an_api_that_breaks_is_an_error_not_a_finding():
    class Broken:
        def get(self, path):
            raise ClusterError(f"{path} answered 500")

    with pytest.raises(ClusterError, match="500"):
        list(doctor.examine(Broken()))


def test_now_is_the_moment_of_asking():
    bundle = base64.b64encode(pair(days=365)[0]).decode()
    hook = {"metadata": {"name": "seldon"}, "webhooks": [{"clientConfig": {"caBundle": bundle}}]}
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    later = datetime.now(UTC) + timedelta(days=366)
    (finding,) = doctor.webhooks(Answers({path: {"items": [hook]}}), later)
    assert finding.level is Level.WRONG


def test_a_platform_file_says_what_is_looked_for():
    text = (
        "apiVersion: driftloop.dev/v1alpha1\nkind: Platform\nmetadata: {name: prod}\nspec:\n"
        "  path: clusters/prod\n  flux: {sourceRef: {name: fleet}, dependsOn: [{name: mesh}]}\n"
        "  objectStore: {endpoint: https://s3.acme.example, credentials: workload-identity}\n"
        "  gateway: {name: public, namespace: gateways, pods: {namespace: ingress}}\n"
    )
    ground = parse_platform(text, path="driftloop/prod/platform.yaml")
    assert texts(doctor.gateway(Answers({}), ground)) == [
        "Gateway gateways/public does not exist",
        "EnvoyFilter ingress/request-id does not exist",
        "EnvoyFilter ingress/request-limits does not exist",
        "EnvoyFilter ingress/login does not exist",
    ]
    assert texts(doctor.flux_objects(Answers({}), ground)) == [
        "GitRepository flux-system/fleet does not exist, driftloop/prod/platform.yaml names it",
        "Kustomization flux-system/mesh does not exist, driftloop/prod/platform.yaml names it",
    ]
    config = dict.fromkeys(CONFIG_KEYS, "{s3: {endpoint: s3.acme.example}}")
    secret = {key: "" for keys in SECRET_KEYS.values() for key in keys}
    without = {key: value for key, value in secret.items() if key not in ("accesskey", "secretkey")}
    assert texts(doctor.platform(platform(config, without), ground)) == []
    (said,) = texts(doctor.platform(platform(config, without)))
    assert "has no accesskey, secretkey" in said


def ground_with(kind):
    text = (
        "apiVersion: driftloop.dev/v1alpha1\nkind: Platform\nmetadata: {name: prod}\n"
        f"spec: {{path: clusters/prod, secrets: {kind}}}\n"
    )
    return parse_platform(text, path="driftloop/prod/platform.yaml")


VAULT = "{type: external-secrets, store: {name: vault}}"


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        ("{type: sealed-secrets}", ["Sealed Secrets is not installed"]),
        (VAULT, ["External Secrets is not installed", "ClusterSecretStore vault does not exist"]),
        ("{type: sops}", ["Secret flux-system/sops-age does not exist"]),
        ("{type: others}", []),
    ],
)
def test_only_who_makes_secrets_here_is_asked_for(kind, missing):
    said = texts(doctor.examine(Answers({}), ground_with(kind)))
    others = ("Sealed Secrets", "External Secrets", "SecretStore", "sops-age")
    assert [
        each.partition(" (no CRD")[0] for each in said if any(word in each for word in others)
    ] == missing


def test_an_external_secret_without_values():
    base = "/apis/external-secrets.io/v1"
    made = object_("driftloop-git", condition("Ready", "False", "could not get secret data"))
    store = object_("vault", condition("Ready", "True"))
    cluster = Answers(
        {
            f"{base}/externalsecrets": {"items": [made]},
            f"{base}/clustersecretstores/vault": store,
        }
    )
    (wrong,) = texts(secrets.find_unmade(cluster, ground_with(VAULT)))
    assert wrong == "ExternalSecret digits/driftloop-git has no Secret: could not get secret data"


def test_what_others_must_make_is_said_key_by_key():
    config = dict.fromkeys(CONFIG_KEYS, "{s3: {endpoint: x}}")
    secret = {key: "" for keys in SECRET_KEYS.values() for key in keys}
    del secret["webhook-token"]
    (wrong,) = (
        each
        for each in doctor.platform(platform(config, secret), ground_with("{type: others}"))
        if each.level is Level.WRONG
    )
    assert wrong.what == "Secret driftloop-platform in digits has no webhook-token"
    assert wrong.fix.startswith(
        "others make it (driftloop/prod/platform.yaml): Secret driftloop-platform in digits with accesskey,"
    )


def test_secrets_that_a_platform_file_names_are_asked_for():
    text = (
        "apiVersion: driftloop.dev/v1alpha1\nkind: Platform\nmetadata: {name: prod}\nspec:\n"
        "  path: clusters/prod\n  images: {pullSecrets: [acme]}\n  notifications:\n    receivers:\n"
        "      - {type: slack, name: ops, secret: slack}\n"
    )
    ground = parse_platform(text, path="driftloop/prod/platform.yaml")
    home = {f"/api/v1/namespaces?{OWN_SELECTOR}": {"items": [object_("digits")]}}
    pull = {"/api/v1/namespaces/digits/secrets/acme": {"data": {"username": "eA=="}}}
    found = list(secrets.find_named(Answers(home | pull), ground))
    assert texts(found) == [
        "Secret digits/acme has no .dockerconfigjson",
        "Secret flux-system/slack does not exist",
        "Secret digits/slack does not exist",
    ]
    assert list(secrets.find_named(Answers({}), ground)) == []


def test_a_secret_without_a_key_to_decrypt_with():
    path = "/api/v1/namespaces/flux-system/secrets/sops-age"
    for held, level in (("identity.agekey", Level.OK), ("password", Level.WRONG)):
        found = Answers({path: {"data": {held: ""}}})
        (finding,) = secrets.find_keys_of_flux(found, ground_with("{type: sops}"))
        assert finding.level is level
