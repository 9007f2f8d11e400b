"""What Seldon's operator is given through a rollout: predictors that only change their traffic, and a mirror beside."""

import itertools
import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from driftloop.contract.names import release_id
from driftloop.kube import istio
from driftloop.plan import Plan, make_plan
from driftloop.release import record
from driftloop.release.record import Release, Version
from driftloop.resources.serving.seldon import mirror_service, seldon_deployment
from driftloop.spec import load_spec
from tests.golden.trees import NAMES, tree
from tests.spec.specs import MINIMAL

GRAPH = (
    "{model: Digits, graph: {type: combiner, name: vote, image: server, class: Vote, children: [{type: released}, "
    "{type: model, name: rules, image: server, class: Rules}]}}"
)
SERVES = (
    "{model: Digits}",
    "{model: Digits, replicas: 3}",
    "{model: Digits, autoscale: {min: 2, max: 5}}",
    "{server: sklearn}",
    "{server: triton, protocol: v2}",
    GRAPH,
)
MOVES = ("shadow", "10", "50", "promote", "reject", "rollback", "revert")


def planned(serve: str, rollout: str = "{}") -> Plan:
    text = MINIMAL.replace("{model: Digits}", serve) + f"  rollout: {rollout}\n"
    return make_plan(load_spec(text, path="p.yaml"))


def version(number: int) -> Version:
    run = f"digits-{number:012x}"
    return Version(
        id=release_id(run),
        run=run,
        model=f"s3://driftloop/runs/{run}/release/model",
        model_digest=f"sha256:{number:064x}",
        data_digest="sha256:" + "b" * 64,
    )


FIRST = record.release_first(record.empty_release("digits", "digits"), version(0))


def walk(moves: list[str]) -> list[Release]:
    """The releases that these moves go through; a move that the phase does not allow is left out."""
    seen = [FIRST]
    for number, move in enumerate(moves, start=1):
        now = seen[-1]
        rolled = now.phase in ("shadow", "canary")
        match move:
            case "shadow" if now.phase == "stable":
                seen.append(record.start_shadow(now, version(number)))
            case "10" | "50" if rolled:
                seen.append(record.set_canary(now, int(move)))
            case "promote" if rolled:
                seen.append(record.promote_candidate(now))
            case "reject" if rolled:
                seen.append(record.reject_candidate(now))
            case "rollback" if now.phase == "stable" and now.previous is not None:
                seen.append(record.restore_previous(now))
            case "revert":
                # by a person, in the middle of whatever goes on
                seen.append(next(old for old in reversed(seen) if old.phase == "stable"))
    return seen


def pods(plan: Plan, release: Release) -> dict[str, str]:
    """All that the operator makes a version's pods of, by release id: everything but the traffic."""
    found = seldon_deployment(plan, release)
    assert found is not None
    document = found.dump_object()
    assert "annotations" not in document["spec"], "the operator copies these into pods"
    return {
        predictor["name"]: json.dumps(
            [document["spec"]["protocol"], {k: v for k, v in predictor.items() if k != "traffic"}]
        )
        for predictor in document["spec"]["predictors"]
    }


@given(
    serve=st.sampled_from(SERVES),
    keep=st.booleans(),
    moves=st.lists(st.sampled_from(MOVES), max_size=12),
)
def test_no_move_of_a_release_changes_the_pods_of_a_version_that_stays(
    serve: str, keep: bool, moves: list[str]
) -> None:
    plan = planned(serve, f"{{keepPrevious: {str(keep).lower()}}}")
    for before, after in itertools.pairwise(walk(moves)):
        old, new = pods(plan, before), pods(plan, after)
        assert {id: new[id] for id in old.keys() & new.keys()} == {
            id: old[id] for id in old.keys() & new.keys()
        }


@pytest.mark.parametrize("serve", SERVES)
def test_the_candidate_keeps_its_pods_from_shadow_to_previous(serve: str) -> None:
    plan = planned(serve, "{keepPrevious: true}")
    walked = walk(["shadow", "10", "50", "promote"])[1:]
    following = record.start_shadow(walked[-1], version(9))
    walked += [following, record.promote_candidate(following)]
    assert len({pods(plan, release)[version(1).id] for release in walked}) == 1


@given(moves=st.lists(st.sampled_from(MOVES), max_size=12))
def test_the_operator_accepts_the_traffic_of_every_release(moves: list[str]) -> None:
    plan = planned("{model: Digits}", "{keepPrevious: true}")
    for release in walk(moves):
        found = seldon_deployment(plan, release)
        assert found is not None
        predictors = found.spec.predictors
        assert all(predictor.shadow is None for predictor in predictors)
        assert sum(predictor.traffic or 0 for predictor in predictors) == 100
        assert {p.name: p.traffic for p in predictors if p.traffic} == release.weights


@given(moves=st.lists(st.sampled_from(MOVES), max_size=12))
def test_requests_are_copied_in_shadow_only(moves: list[str]) -> None:
    plan = planned("{model: Digits}")
    for release in walk(moves):
        found = mirror_service(plan, release)
        assert (found is None) == (release.phase != "shadow")
        if found is None:
            continue
        assert release.production is not None
        assert release.candidate is not None
        (route,) = found.spec.http
        assert destinations(route) == [(f"digits-{release.production.id}", 8000, 100)]
        assert route.mirror is not None
        assert route.mirror.host.partition(".")[0] == f"digits-{release.candidate.id}"
        assert route.mirror_percentage is not None
        assert route.mirror_percentage.value == 100


def destinations(route: istio.HTTPRoute) -> list[tuple[str, int, int | None]]:
    return [
        (to.destination.host.partition(".")[0], to.destination.port.number, to.weight)
        for to in route.route
    ]


def test_the_gateway_takes_the_mirror_before_the_operators_route() -> None:
    found = mirror_service(planned("{model: Digits}"), walk(["shadow"])[-1])
    assert found is not None
    spec = found.spec
    # Istio puts what names the gateway's namespace before what is for all, as the operator's is
    assert (spec.gateways, spec.export_to) == (("istio-system/seldon-gateway",), ("istio-system",))
    assert found.metadata.name != "digits", "the operator would write its own over it"
    assert spec.http[0].match is not None
    assert spec.http[0].match[0].uri is not None
    assert spec.http[0].match[0].uri.prefix == "/seldon/digits/digits/"


def test_a_server_of_the_operators_is_copied_to_over_grpc_too() -> None:
    found = mirror_service(planned("{server: triton, protocol: v2}"), walk(["shadow"])[-1])
    assert found is not None
    _, grpc = found.spec.http
    assert grpc.rewrite is None
    assert grpc.match is not None
    assert {name: match.exact for name, match in (grpc.match[0].headers or {}).items()} == {
        "seldon": "digits",
        "namespace": "digits",
    }
    assert destinations(grpc) == [(f"digits-{version(0).id}", 5001, 100)]
    assert grpc.mirror is not None
    assert grpc.mirror.port.number == 5001


def test_a_tree_has_the_mirror_beside_its_seldon_deployment_in_shadow_only() -> None:
    mirrored = 0
    for name in NAMES:
        files = {path.rpartition("/")[2]: text for path, text in tree(name).items()
                 if path.startswith("deployments/")}  # fmt: skip
        expected = "model.seldondeployment.yaml" in files and (
            yaml.safe_load(files["release.yaml"])["spec"]["phase"] == "shadow"
        )
        listed = "- mirror.virtualservice.yaml" in files["kustomization.yaml"]
        assert listed == expected, name
        mirrored += listed
    assert mirrored > 1
