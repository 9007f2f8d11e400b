"""A SeldonDeployment written out: roles don't touch pods, weights and mirrors are right, graphs are refused by name."""

import json

import pytest
import yaml

from driftloop.contract.names import release_id
from driftloop.kube import seldon
from driftloop.plan import make_plan
from driftloop.release import record
from driftloop.release.record import Rehearsed, Release, Version
from driftloop.resources.serving import disruption_budget, plain
from driftloop.resources.serving.seldon import find_mirrored, seldon_deployment
from driftloop.spec import load_spec
from tests.spec.specs import MINIMAL

PLAN = make_plan(load_spec(MINIMAL, path="p.yaml"))


def version(run: str) -> Version:
    return Version(
        id=release_id(run),
        run=run,
        model=f"s3://driftloop/runs/{run}/release/model",
        model_digest="sha256:" + run[-1] * 64,
        data_digest="sha256:" + "b" * 64,
    )


ONE, TWO = version("digits-000000000001"), version("digits-000000000002")
STABLE = record.release_first(record.empty_release("digits", "digits"), ONE)
SHADOW = record.start_shadow(STABLE, TWO)
CANARY = record.set_canary(SHADOW, 10)
PROMOTED = record.promote_candidate(CANARY)


def deployed(release: Release) -> seldon.SeldonDeployment:
    found = seldon_deployment(PLAN, release)
    assert found is not None
    return found


def served(release: Release) -> plain.ServingObjects:
    candidate = find_mirrored(release)
    return plain.unroll_deployment(
        deployed(release), mirrored=None if candidate is None else candidate.id
    )


def test_nothing_is_served_before_the_first_release() -> None:
    assert seldon_deployment(PLAN, record.empty_release("digits", "digits")) is None


def test_a_versions_objects_are_the_same_in_every_role() -> None:
    found = [
        next(predictor for predictor in served(release).predictors if predictor.name == TWO.id)
        for release in (SHADOW, CANARY, record.set_canary(CANARY, 50), PROMOTED)
    ]
    assert all(predictor == found[0] for predictor in found)


@pytest.mark.parametrize(
    ("release", "weights", "mirror"),
    [
        (STABLE, {ONE.id: 100}, None),
        (SHADOW, {ONE.id: 100}, TWO.id),
        (CANARY, {ONE.id: 90, TWO.id: 10}, None),
        (PROMOTED, {TWO.id: 100}, None),
    ],
)
def test_weights_and_mirror_follow_the_release(
    release: Release, weights: dict[str, int], mirror: str | None
) -> None:
    (route,) = served(release).traffic.spec.http
    host = "digits-{}.digits.svc.cluster.local".format
    assert {r.destination.host: r.weight for r in route.route} == {
        host(id): n for id, n in weights.items()
    }
    assert (route.mirror.host if route.mirror else None) == (host(mirror) if mirror else None)
    assert route.match is not None
    assert route.match[0].uri is not None
    assert route.match[0].uri.prefix == "/seldon/digits/digits/"
    for predictor in deployed(release).spec.predictors:
        assert predictor.traffic == weights.get(predictor.name, 0)
        assert predictor.shadow is None


def test_the_previous_version_is_kept_without_traffic_when_asked() -> None:
    kept = make_plan(load_spec(MINIMAL + "  rollout: {keepPrevious: true}\n", path="p.yaml"))

    def predictors(release: Release) -> dict[str, int | None]:
        found = seldon_deployment(kept, release)
        assert found is not None
        return {predictor.name: predictor.traffic for predictor in found.spec.predictors}

    assert predictors(STABLE) == {ONE.id: 100}
    assert predictors(PROMOTED) == {TWO.id: 100, ONE.id: 0}
    assert predictors(record.restore_previous(PROMOTED)) == {ONE.id: 100}
    three = version("digits-000000000003")
    assert predictors(record.start_shadow(PROMOTED, three)) == {TWO.id: 100, three.id: 0}

    found = seldon_deployment(kept, PROMOTED)
    assert found is not None
    written = plain.unroll_deployment(found)
    assert {predictor.name for predictor in written.predictors} == {ONE.id, TWO.id}
    (route,) = written.traffic.spec.http
    assert [(to.destination.host.split(".")[0], to.weight) for to in route.route] == [
        (f"digits-{TWO.id}", 100)
    ]
    # what comes back is what was there: nothing restarts
    before = next(predictor for predictor in written.predictors if predictor.name == ONE.id)
    (after,) = served(record.restore_previous(PROMOTED)).predictors
    assert before == after


def test_a_pod_that_is_taken_away_drains_before_it_is_told_to_end() -> None:
    pod = served(STABLE).predictors[0].deployment.spec.template.spec
    waits = {}
    for container in pod.containers:
        assert container.lifecycle is not None
        waits[container.name] = container.lifecycle.pre_stop.sleep.seconds
    # gunicorn finishes what it has begun, Envoy ends at once: the logger outlives the model
    assert 0 < waits["model"] < waits["logger"]
    assert pod.termination_grace_period_seconds is not None
    assert pod.termination_grace_period_seconds > waits["logger"]


def test_an_autoscaler_owns_the_number_of_pods_of_its_version() -> None:
    text = MINIMAL.replace(
        "{model: Digits}", "{model: Digits, autoscale: {min: 2, max: 5, cpu: 80}}"
    )
    found = seldon_deployment(make_plan(load_spec(text, path="p.yaml")), CANARY)
    assert found is not None
    assert all(predictor.replicas is None for predictor in found.spec.predictors)
    written = plain.unroll_deployment(
        plain.parse_deployment(yaml.safe_load(json.dumps(found.dump_object())))
    )
    for predictor in written.predictors:
        scaled = predictor.autoscaler
        assert scaled is not None
        assert scaled in written.objects
        assert predictor.deployment.spec.replicas is None
        assert "replicas" not in predictor.deployment.dump_object()["spec"]
        assert scaled.spec.scale_target_ref.name == predictor.deployment.metadata.name
        assert (scaled.spec.min_replicas, scaled.spec.max_replicas) == (2, 5)
        assert (
            scaled.dump_object()["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"]
            == 80
        )
        # percent of nothing is nothing: without a request in each container, no pod is ever added
        for container in predictor.deployment.spec.template.spec.containers:
            assert container.resources is not None
            assert "cpu" in (container.resources.requests or {})


def test_without_an_autoscaler_the_number_is_written() -> None:
    (predictor,) = served(STABLE).predictors
    assert (predictor.autoscaler, predictor.deployment.spec.replicas) == (None, 1)


@pytest.mark.parametrize("backend", ["seldon", "plain"])
@pytest.mark.parametrize(
    ("serve", "budgets"),
    [
        ("replicas: 1", 0),
        ("replicas: 2", 2),
        ("autoscale: {max: 1}", 0),
        ("autoscale: {max: 2}", 2),
    ],
)
def test_a_drain_takes_one_pod_of_a_version_at_a_time(
    backend: str, serve: str, budgets: int
) -> None:
    text = MINIMAL.replace("{model: Digits}", f"{{model: Digits, backend: {backend}, {serve}}}")
    planned = make_plan(load_spec(text, path="p.yaml"))
    found = [
        one for version in (ONE, TWO) if (one := disruption_budget(planned, version)) is not None
    ]
    assert len(found) == budgets
    # the eviction API refuses a pod that two budgets select
    selectors = [tuple((one.spec.selector.match_labels or {}).items()) for one in found]
    assert len(set(selectors)) == budgets
    assert all(one.spec.max_unavailable == 1 for one in found), (
        "one pod may always go, also the only one"
    )


def test_yaml_of_a_seldon_deployment_is_read_back_to_the_same_objects() -> None:
    document = yaml.safe_load(json.dumps(deployed(CANARY).dump_object()))
    assert plain.unroll_deployment(plain.parse_deployment(document)) == served(CANARY)


def test_a_shadow_as_the_operator_knows_it_is_a_mirror_here_too() -> None:
    document = yaml.safe_load(json.dumps(deployed(SHADOW).dump_object()))
    candidate = document["spec"]["predictors"][1]
    candidate["shadow"], candidate["traffic"] = True, 30
    (route,) = plain.unroll_deployment(plain.parse_deployment(document)).traffic.spec.http
    assert route.mirror is not None
    assert route.mirror.host.startswith(f"digits-{TWO.id}.")
    assert route.mirror_percentage is not None
    assert route.mirror_percentage.value == 30


def test_the_model_is_fetched_and_its_digest_checked() -> None:
    pod = served(STABLE).predictors[0].deployment.spec.template.spec
    assert pod.init_containers is not None
    (fetch,) = pod.init_containers
    assert fetch.args == ("--uri", ONE.model, "--digest", ONE.model_digest, "--out", "/mnt/models")
    model, logger = pod.containers
    assert (model.name, logger.name) == ("model", "logger")
    (folder,) = (mount for mount in model.volume_mounts or () if mount.mount_path == "/mnt/models")
    assert folder.read_only
    assert (fetch.volume_mounts or ())[0].name == folder.name
    env = {variable.name: variable.value for variable in model.env or ()}
    assert json.loads(env["PREDICTIVE_UNIT_PARAMETERS"] or "") == [
        {"name": "model_uri", "type": "STRING", "value": "/mnt/models"}
    ]
    assert env["PREDICTIVE_UNIT_HTTP_SERVICE_PORT"] == "9000"
    assert env["GRPC_WORKERS"] == "0"
    assert env["PREDICTOR_ID"] == ONE.id


def test_a_tree_without_the_init_container_has_its_digest_compared_too() -> None:
    document = yaml.safe_load(json.dumps(deployed(STABLE).dump_object()))
    pod = document["spec"]["predictors"][0]["componentSpecs"][0]["spec"]
    del pod["initContainers"]
    pod["volumes"] = [each for each in pod["volumes"] if each["name"] == "model-tmp"]
    old, new = (
        each.predictors[0].deployment.spec.template.spec
        for each in (plain.unroll_deployment(plain.parse_deployment(document)), served(STABLE))
    )
    assert (old.init_containers, old.containers) == (new.init_containers, new.containers)
    assert {each.name for each in old.volumes or ()} == {each.name for each in new.volumes or ()}


def edited(**changes: object) -> seldon.SeldonDeployment:
    found = deployed(STABLE)
    predictor = found.spec.predictors[0]
    node = {
        key: value
        for key, value in changes.items()
        if key in seldon.PredictiveUnit.model_fields and key != "name"
    }
    rest = {key: value for key, value in changes.items() if key not in node}
    new = predictor.model_copy(update={"graph": predictor.graph.model_copy(update=node), **rest})
    return found.model_copy(update={"spec": found.spec.model_copy(update={"predictors": (new,)})})


@pytest.mark.parametrize(
    ("deployment", "said"),
    [
        (edited(implementation="SKLEARN_SERVER"), "uses the prepackaged server SKLEARN_SERVER"),
        (edited(children=(seldon.PredictiveUnit(name="x"),)), "has a graph of several nodes"),
        (edited(type="ROUTER"), "has a node of type ROUTER"),
        (edited(shadow=True), "0 live predictors and 1 shadows"),
        (edited(traffic=50), "traffic sums to 50, must be 100"),
        (edited(component_specs=()), "has 0 componentSpecs, must be 1"),
        (edited(logger=seldon.Logger(mode="request", url="http://b/")), "logs only requests"),
    ],
)
def test_what_only_the_operator_can_do_is_refused_by_name(
    deployment: seldon.SeldonDeployment, said: str
) -> None:
    with pytest.raises(plain.UnsupportedServing, match=said):
        plain.unroll_deployment(deployment)


def test_a_field_without_meaning_here_is_named() -> None:
    document = deployed(STABLE).dump_object()
    document["spec"]["predictors"][0]["explainer"] = {"type": "AnchorImages"}
    with pytest.raises(
        plain.UnsupportedServing, match=r"SeldonDeployment digits: spec.predictors.0.explainer"
    ):
        plain.parse_deployment(document)


def test_without_logger_the_model_has_the_port_to_itself() -> None:
    (predictor,) = plain.unroll_deployment(edited(logger=None)).predictors
    assert predictor.logger is None
    (model,) = predictor.deployment.spec.template.spec.containers
    env = {variable.name: variable.value for variable in model.env or ()}
    assert env["PREDICTIVE_UNIT_HTTP_SERVICE_PORT"] == "8000"


@pytest.mark.parametrize(
    ("rehearsed", "seconds", "patience"),
    [
        (None, 600, None),
        (Rehearsed(start=1.5, p99=0.01, rows=100), 120, 5),
        (Rehearsed(start=75.0, p99=8.0, rows=20), 450, 16),
    ],
)
def test_probes_leave_a_server_the_time_that_its_rehearsal_took(
    rehearsed: Rehearsed | None, seconds: int, patience: int | None
) -> None:
    slow = ONE.model_copy(update={"rehearsed": rehearsed})
    release = record.release_first(record.empty_release("digits", "digits"), slow)
    (predictor,) = served(release).predictors
    (operated,) = deployed(release).spec.predictors
    pods = (predictor.deployment.spec.template.spec, operated.component_specs[0].spec)
    for pod, port in zip(pods, (9000, "http"), strict=True):
        started, ready = pod.containers[0].startup_probe, pod.containers[0].readiness_probe
        assert started is not None
        assert started.http_get is not None
        assert started.http_get.port == port
        assert (started.period_seconds or 0) * (started.failure_threshold or 0) == seconds
        if patience is not None:
            assert ready is not None
            assert ready.timeout_seconds == patience
