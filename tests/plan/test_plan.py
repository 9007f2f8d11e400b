"""References inside a spec, and what a plan says about a spec that fits together."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.contract.budgets import AlarmBudget
from driftloop.contract.handovers import AlarmCount, DetectorSettings, RetrainPolicy
from driftloop.contract.names import LONGEST_MONITOR, OWN_PARTS, is_own_part
from driftloop.errors import SpecError
from driftloop.operations.watching.budgets import describe_budgets
from driftloop.plan import Names, make_plan
from driftloop.plan.budget import WindowRate
from driftloop.resources.detector import digest_monitors
from driftloop.spec import InvalidSpec, load_spec, parse_spec
from tests.spec.specs import MINIMAL, changed

ROOT = Path(__file__).parents[2]


def problems(text: str) -> tuple[str, str | None]:
    with pytest.raises(InvalidSpec) as caught:
        make_plan(parse_spec(text, path="p.yaml"))
    return caught.value.message, caught.value.hint


def graph(children: str, kind: str = "combiner", serve: str = "model: Digits") -> str:
    return f"{{{serve}, graph: {{type: {kind}, name: a, image: server, class: A, children: [{children}]}}}}"


def graph_of(inner: str, depth: int) -> str:
    """Transformers around a node."""
    for n in range(depth):
        inner = f"{{type: transformer, name: t{n}, image: server, class: T, children: [{inner}]}}"
    return inner


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        ("{model: Digits}", "{model: Digits, image: sever}",
         "p.yaml:11:33: spec.serve.image is `sever`, must be one of the images under spec.images: `server`, `trainer`",
         "did you mean `server`?"),
        ("{model: Digits}", "{server: triton, image: x}", "spec.serve.image is `x`, must be one of the images", None),
        ("{model: Digits}", "{server: xgboost, backend: plain}",
         "p.yaml:11:37: spec.serve.backend is `plain`, must be `seldon` with `server: xgboost`: only Seldon's operator",
         "`server: python`"),
        ("{model: Digits}", "{model: Digits, graph: {type: released}}",
         "p.yaml:11:33: spec.serve.graph is the released model alone, must have a node above it", "leave `graph` out"),
        ("{model: Digits}", graph("{type: model, name: b, image: server, class: B}", "transformer"),
         "spec.serve.graph has 0 nodes of type `released`, must have exactly one", "`{type: released}`"),
        ("{model: Digits}", graph("{type: released}, {type: released}"), "has 2 nodes of type `released`", None),
        ("{model: Digits}", graph("{type: released}, {type: model, name: a, image: server, class: B}"),
         "spec.serve.graph.children[1].name is `a`, must not be that of spec.serve.graph", None),
        ("{model: Digits}", graph("{type: released}, {type: model, name: model, image: server, class: B}"),
         "spec.serve.graph.children[1].name is `model`, must be none of `model`, `tfserving`, "
         "`seldon-container-engine`, `pods`: those names are taken", None),
        ("{model: Digits}", graph("{type: released}, {type: model, name: pods, image: server, class: B}"),
         "spec.serve.graph.children[1].name is `pods`, must be none of", None),
        ("{model: Digits}", graph("{type: released}, {type: model, name: b, image: sever, class: B}"),
         "spec.serve.graph.children[1].image is `sever`, must be one of the images", "did you mean `server`?"),
        ("{model: Digits}", graph("{type: released}", "transformer", "model: Digits, backend: plain"),
         "spec.serve.backend is `plain`, must be `seldon` with a graph", "without `graph`"),
        ("{model: Digits}", graph("{type: released}", "transformer", "server: sklearn, protocol: v2"),
         "spec.serve.protocol is `v2`, must be `seldon` with a graph", None),
        ("{model: Digits}", graph("{type: released}", "transformer", "server: triton"),
         "p.yaml:11:19: spec.serve.server is `triton`, must speak `seldon` with a graph, as `python`, `sklearn`, "
         "`xgboost`, `mlflow`, `tensorflow` do: its nodes are Python classes, which speak nothing else", None),
        ("{model: Digits}", graph("{type: released}, {type: model, name: b, image: server, class: B, "
                                  "resources: {gpu: 1, gpuProfile: big}}"),
         "spec.serve.graph.children[1].resources.gpuProfile is `big`, must be one of the GPU profiles", None),
        ("{model: Digits}", graph("{type: released}, {type: model, name: b, image: server, class: B, "
                                  "resources: {gpu: 1, gpuProfile: big}}", serve="model: D, resources: {gpu: 1}"),
         "spec.serve.graph.children[1].resources asks for a GPU of profile `big`, must be of `default`", None),
        ("{model: Digits}", graph(graph_of("{type: released}", 5), "transformer"),
         "spec.serve.graph has 7 nodes, 7 deep, must have at most 10, 5 deep", "a container in every pod"),
        ("  serve:", "  rollout: {canary: {p99: 10s}}\n  serve:",
         "p.yaml:11:27: spec.rollout.canary.p99 is `10s`, must be shorter than 10s with `backend: seldon`",
         "or use `backend: plain`"),
        ("  serve:", "  approvers: [ann]\n  serve:",
         "p.yaml:11:3: spec.approvers must be left out where nothing waits for a person", "rollout: {promote: manual}"),
        ("  serve:", "  approveWithin: 2d\n  rollout: {promote: auto}\n  serve:",
         "p.yaml:11:3: spec.approveWithin must be left out where nothing waits for a person", None),
        ("    server:", "    api:", "p.yaml:11:10: spec.serve.image is `server`, must be one of the images", None),
        ("batches}", "batches, steps: [{name: a, run: 'e:a'}, {name: a, run: 'e:b'}]}",
         "spec.data.steps[1].name is `a`, must not be that of spec.data.steps[0]", None),
        ('"train:train"', '"train:train", parameters: {rate: 1}, search: {over: {rte: [1]}, best: {metric: a}}',
         "spec.train.search.over.rte is `rte`, must be one of the parameters under", "did you mean `rate`?"),
        ("  serve:", "  rehearse: off\n  monitors: {drift: {on: response}}\n  serve:",
         "p.yaml:12:26: spec.monitors.drift.on is `response`, must be `request` without a rehearsal: its reference is "
         "what the candidate's own server answers to held-out rows", "leave out `rehearse: off`, or watch the requests"),
        ("{model: Digits}", "{server: sklearn}\n  monitors: {outlier: {on: response}}",
         "spec.monitors.outlier.on is `response`, must be `request`", "`server: sklearn` can't be rehearsed, only a model"),
        ("  serve:", "  retrain: {on: [drift]}\n  serve:",
         "spec.retrain.on[0] is `drift`, must be one of the monitors under spec.monitors: none is declared",
         "declare it: `monitors: {drift: {}}`"),
        ("  serve:", "  monitors: {drift: {}}\n  retrain: {on: [drift, drift]}\n  serve:",
         "must appear once", None),
        ("  serve:", "  monitors: {fares: {}}\n  retrain: {on: [fare]}\n  serve:",
         "spec.retrain.on[0] is `fare`, must be one of the monitors under spec.monitors: `fares`", "did you mean `fares`?"),
        ("  serve:", "  monitors: {fares: {columns: 'fare,y'}}\n  serve:",
         "p.yaml:11:31: spec.monitors.fares.columns names `y`, must not: it is the target", None),
        ("batches}", "batches, features: 'fare,distance'}\n  monitors: {fares: {columns: 'Fare,x'}}",
         "spec.monitors.fares.columns names `Fare`, must be of `data.features`: `fare`, `distance`", "did you mean `fare`?"),
        ("  serve:", "  labels: {batches: {}}\n  serve:",
         "p.yaml:11:21: spec.labels.batches needs captured traffic, and `capture` records none", "add `capture: {}`"),
        ("  serve:", "  labels: {batches: {}}\n  capture: {drop: [name]}\n  serve:",
         "p.yaml:12:20: spec.capture.drop[0] is `name`, must not be a feature with `labels.batches`",
         "or say `data.columns: {name: ignore}`"),
        ("batches}", "batches, features: 'fare,zip'}\n  labels: {batches: {}}\n  capture: {drop: [name], hash: [zip]}",
         "spec.capture.hash[0] is `zip`, must not be a feature with `labels.batches`", "list the other columns"),
        ("batches}", "batches, columns: {y: ignore}}",
         "p.yaml:8:49: spec.data.columns.y is `ignore`, must not be there: `y` is the target", None),
        ("batches}", "batches, features: 'fare,zip', columns: {zip: ignore}}",
         "spec.data.columns.zip is `ignore`, must not: `data.features` names the column", None),
        ("batches}", "batches, features: 'fare,zip', columns: {Zip: category}}",
         "spec.data.columns.Zip is `category`, must be of `data.features`: `fare`, `zip`", "did you mean `zip`?"),
        ("batches}", "batches, columns: {note: ignore}}\n  monitors: {rows: {columns: 'note,fare'}}",
         "spec.monitors.rows.columns names `note`, must not: `data.columns` ignores it", None),
        ("  serve:", "  monitors: {rows: {detector: schema, on: response}}\n  serve:",
         "spec.monitors.rows.on is `response`, must be `request`: `schema` reads requests", "`tabular` watches answers"),
        ("  serve:", "  monitors: {drift: {on: response, columns: 'class,class'}}\n  serve:",
         "spec.monitors.drift.columns must name each column once", None),
        ("  serve:", "  monitors: {drift: {then: alert}}\n  retrain: {on: [drift]}\n  serve:",
         "p.yaml:11:28: spec.monitors.drift.then is `alert`, and `retrain.on` names it: must say the same",
         "take it out of `retrain.on`, or leave one of the two out"),
        ("  serve:", "  monitors: {drift: {}, fares: {then: retrain}}\n  retrain: {on: [drift]}\n  serve:",
         "spec.monitors.fares.then is `retrain`, and `retrain.on` does not name it: must say the same",
         "name it in `retrain.on`, or leave one of the two out"),
        ("  serve:", "  monitors: {drift: {}, fares: {alarms: {least: 1, of: 2}}}\n  serve:",
         "spec.monitors.fares.alarms has no effect: alarms of `fares` are told one by one", "add `then: retrain`, "),
        ("  serve:", "  monitors: {fares: {columns: 'fare,fare'}}\n  serve:",
         "spec.monitors.fares.columns must name each column once", None),
        ('"train:train"', '"train:train", resources: {gpu: 1, gpuProfile: a10}}\n  gpus: {a100: {}',
         "spec.train.resources.gpuProfile is `a10`, must be one of the GPU profiles under spec.gpus: `a100`, `default`",
         "did you mean `a100`?"),
        ("{name: digits}", "{name: argo}", "metadata.name is `argo`, must not be a namespace of the platform", "set"),
        ("{name: digits}", "{name: a, namespace: kube-system}", "metadata.namespace is `kube-system`", "set"),
    ],
)  # fmt: skip
def test_a_reference_that_leads_nowhere(old: str, new: str, message: str, hint: str | None) -> None:
    found, advice = problems(changed(old, new))
    assert message in found
    if hint is not None:
        assert hint in (advice or "")


def test_without_places_the_message_is_the_same() -> None:
    with pytest.raises(SpecError, match=r"spec.serve.image is `x`, must be one of"):
        make_plan(load_spec(changed("{model: Digits}", "{model: Digits, image: x}"), path="p.yaml"))


def test_two_images_may_not_share_a_ref_with_other_contexts() -> None:
    text = MINIMAL.replace("digits-trainer:1.0.0}", "digits:1.0.0, context: a}")
    message, _ = problems(text.replace("digits-server:1.0.0}", "digits:1.0.0, context: b}"))
    assert "must not be that of `trainer` with another context" in message


def test_a_search_is_spread_out_into_trials() -> None:
    over = "{learning_rate: [0.1, 0.2], optimizer: [adam, sgd]}"
    text = changed(
        '"train:train"',
        '"train:train", parameters: {epochs: 4, learning_rate: 0.3, optimizer: adam}, '
        f"search: {{over: {over}, best: {{metric: accuracy}}}}",
    )
    found = make_plan(parse_spec(text, path="p.yaml"))
    assert [trial.number for trial in found.trials] == [0, 1, 2, 3]
    assert [json.loads(trial.text) for trial in found.trials] == [
        {"epochs": 4, "learning_rate": rate, "optimizer": optimizer}
        for rate in (0.1, 0.2)
        for optimizer in ("adam", "sgd")
    ]


RANDOM = (
    "search: {over: {depth: [2, 4]}, random: {trials: 6, seed: 3, between: {rate: {low: 0.0001, high: 1, scale: log}, "
    "leaves: {low: 1, high: 3, whole: true}}}, best: {metric: accuracy}}"
)


def drawn(search: str = RANDOM) -> list[dict[str, float]]:
    text = changed(
        '"train:train"', f'"train:train", parameters: {{depth: 2, rate: 0.1, leaves: 1}}, {search}'
    )
    return [json.loads(trial.text) for trial in make_plan(parse_spec(text, path="p.yaml")).trials]


def test_random_trials_are_the_same_everywhere() -> None:
    # as Python 3.9, 3.12 and 3.13 draw them, too
    assert drawn() == [
        {"depth": 2, "rate": 0.01503, "leaves": 2},
        {"depth": 4, "rate": 0.03183, "leaves": 1},
        {"depth": 2, "rate": 0.2238, "leaves": 1},
        {"depth": 2, "rate": 0.9607, "leaves": 2},
        {"depth": 4, "rate": 0.008043, "leaves": 2},
        {"depth": 2, "rate": 0.03463, "leaves": 3},
    ]


@settings(deadline=None)
@given(seed=st.integers(0, 2**31), trials=st.integers(1, 100))
def test_random_trials_lie_where_they_may_and_differ(seed: int, trials: int) -> None:
    points = drawn(RANDOM.replace("trials: 6, seed: 3", f"trials: {trials}, seed: {seed}"))
    assert len(points) == len({json.dumps(point) for point in points}) == trials
    for point in points:
        assert point.keys() == {"depth", "rate", "leaves"}
        assert point["depth"] in (2, 4)
        assert 0.0001 <= point["rate"] <= 1
        assert point["leaves"] in (1, 2, 3)
        assert isinstance(point["leaves"], int)


def test_a_logarithmic_interval_has_as_many_small_values_as_large_ones() -> None:
    rates = [point["rate"] for point in drawn(RANDOM.replace("trials: 6", "trials: 100"))]
    assert 30 < sum(rate < 0.01 for rate in rates) < 70


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("trials: 6, seed: 3, between: {rate: {low: 0.0001, high: 1, scale: log}, leaves: {low: 1, high: 3, "
         "whole: true}}", "trials: 3",
         "spec.train.search.random.trials is 3, must be at most 2: there are no more different trials"),
        ("rate: {low", "rates: {low",
         "spec.train.search.random.between.rates is `rates`, must be one of the parameters"),
        ("high: 1,", "high: 0.0001,", "must have a `low` that is below its `high`"),
        ("low: 0.0001", "low: 0", "must have a `low` above 0 with `scale: log`"),
        ("low: 1, high: 3", "low: 1.5, high: 3", "must have whole bounds"),
        ("depth: [2, 4]", "rate: [2, 4]", "must name `rate` under `over` or under `random.between`, not under both"),
        ("over: {depth: [2, 4]}, random: {trials: 6, seed: 3, between: {rate: {low: 0.0001, high: 1, scale: log}, "
         "leaves: {low: 1, high: 3, whole: true}}}, ", "", "must name a parameter under `over`"),
        ("trials: 6", "trials: 101", "spec.train.search.random.trials is 101"),
    ],
)  # fmt: skip
def test_random_searches_that_make_no_sense(old: str, new: str, said: str) -> None:
    assert old in RANDOM
    with pytest.raises(InvalidSpec) as caught:
        drawn(RANDOM.replace(old, new))
    assert said in caught.value.message


def test_without_a_search_there_is_one_trial() -> None:
    (trial,) = make_plan(
        load_spec(changed('"train:train"', '"train:train", parameters: {a: 1}'), path="p.yaml")
    ).trials
    assert (trial.number, trial.text) == (0, '{"a": 1}')


def test_too_many_trials_are_refused() -> None:
    values = list(range(50))
    search = f"{{over: {{a: {values}, b: {values}}}, best: {{metric: m}}}}"
    text = changed('"train:train"', f'"train:train", parameters: {{a: 1, b: 1}}, search: {search}')
    assert "has 2500 combinations, must have at most 100" in problems(text)[0]


@pytest.mark.parametrize(
    ("monitors", "on", "expected"),
    [
        ("{}", None, ()),
        ("{drift: {}}", None, ("drift",)),
        ("{outlier: {}}", None, ()),
        ("{drift: {}, outlier: {}}", None, ("drift",)),
        ("{drift: {}, outlier: {}}", "[outlier]", ("outlier",)),
        ("{drift: {}}", "[]", ()),
        ("{drift: {}, fares: {}}", None, ("drift",)),
        ("{fares: {}, outlier: {}, rows: {detector: mahalanobis}}", None, ("fares",)),
        ("{fares: {}, speeds: {}}", None, ()),
        ("{fares: {}, speeds: {}}", "[speeds, fares]", ("speeds", "fares")),
        ("{drift: {}, fares: {then: retrain}}", None, ("drift", "fares")),
        ("{fares: {}, requests: {detector: schema}}", None, ("fares",)),
        ("{drift: {detector: schema}}", None, ()),
        ("{drift: {detector: schema, then: retrain}}", None, ("drift",)),
        ("{drift: {then: alert}, fares: {}}", None, ()),
        ("{drift: {then: halt}, outlier: {then: retrain}}", None, ("outlier",)),
    ],
)
def test_which_alarms_count(monitors: str, on: str | None, expected: tuple[str, ...]) -> None:
    retrain = f"  retrain: {{on: {on}}}\n" if on is not None else ""
    found = make_plan(load_spec(f"{MINIMAL}  monitors: {monitors}\n{retrain}", path="p.yaml"))
    assert found.retrain_on == expected
    assert json.loads(found.write_policy({}))["on"] == list(expected)


def test_what_alarms_of_each_monitor_do() -> None:
    text = MINIMAL + (
        "  monitors: {drift: {}, fares: {alarms: {least: 3, of: 5}, then: halt}, outlier: {}, rows: {then: alert, detector: iforest},"
        " speeds: {}, labels: {on: label, then: rollback}}\n"
    )
    plan = make_plan(load_spec(text, path="p.yaml"))
    assert {monitor.name: monitor.then for monitor in plan.monitors} == {
        "drift": "retrain", "fares": "halt", "outlier": None, "rows": "alert", "speeds": "alert",
        "labels": "rollback",
    }  # fmt: skip
    policy = RetrainPolicy.parse(plan.write_policy({}))
    assert (policy.on, policy.halt_on, policy.rollback_on) == (("drift",), ("fares",), ("labels",))
    assert policy.heeded == {"drift", "fares", "labels"}
    assert policy.count_of("fares") == AlarmCount(3, 5)
    assert policy.count_of("drift") == AlarmCount(2, 2)


def test_the_policy_and_the_detectors_are_what_the_services_read() -> None:
    text = MINIMAL + (
        "  monitors: {drift: {window: 300, alarmRate: 0.002}}\n"
        "  retrain: {consecutive: 3, cooldown: 90s, whileRunning: remember, budget: 2/day,"
        " quietHours: {during: [sat-sun, 22:00-06:00], timezone: Europe/Berlin},"
        " leastNewRows: 500}\n"
    )
    found = make_plan(load_spec(text, path="p.yaml"))
    policy = json.loads(found.write_policy({}))
    assert policy == {
        "consecutive": 3, "cooldown": 90.0, "whileRunning": "remember", "budget": 2, "on": ["drift"],
        "hold": 90.0, "haltAfter": 3,
        "quietHours": {"during": ["sat-sun", "22:00-06:00"], "timezone": "Europe/Berlin"},
        "leastNewRows": 500,
    }  # fmt: skip
    assert RetrainPolicy.parse(found.write_policy({})) == found.retrain_policy
    assert RetrainPolicy(
        consecutive=policy["consecutive"],
        cooldown=policy["cooldown"],
        while_running=policy["whileRunning"],
        budget=policy["budget"],
    )
    (monitor,) = found.monitors
    assert json.loads(monitor.detector_config) == {
        "kind": "tabular", "on": "request", "window": 300, "alarmRate": 0.002,
        "atLeastByType": {
            "number": 0.05, "text": 0.05, "category": 0.02, "boolean": 0.02, "missing": 0.01,
        },
        "seed": 0,
    }  # fmt: skip


def test_a_monitor_of_some_columns_says_so_to_its_service() -> None:
    text = (
        MINIMAL
        + "  monitors: {fares: {columns: 'fare,distance'}, rows: {detector: iforest, columns: fare}}\n"
    )
    plan = make_plan(load_spec(text, path="p.yaml"))
    fares, rows = plan.monitors
    assert json.loads(fares.detector_config)["columns"] == ["fare", "distance"]
    assert DetectorSettings.parse(fares.detector_config) == fares.settings
    # the text of other columns is nothing to one that names its own
    assert plan.takes_mixed
    assert rows.settings.columns == ("fare",)


def test_monitors_know_which_columns_are_private() -> None:
    text = MINIMAL + "  capture: {drop: [name], hash: [email]}\n  monitors: {drift: {}}\n"
    plan = make_plan(load_spec(text, path="p.yaml"))
    assert plan.monitors[0].settings.private == ("email", "name")
    open_plan = make_plan(load_spec(text.replace("drop: [name], hash: [email]", ""), path="p.yaml"))
    assert open_plan.monitors[0].settings.private is None
    # no fit depends on it, so nothing is to be fitted anew
    assert digest_monitors(plan) == digest_monitors(open_plan)
    sliced = text.replace("drift: {}", "drift: {}, good: {detector: quality, slices: email}")
    with pytest.raises(
        SpecError, match=r"monitors\.good\.slices names `email`, must not: `capture`"
    ):
        make_plan(load_spec(sliced, path="p.yaml"))


def test_no_monitor_is_called_as_an_object_of_the_pipeline() -> None:
    names = Names("p", "n")
    ends = {
        value.removeprefix("p-")
        for name in dir(Names)
        if isinstance(value := getattr(names, name), str)
    }
    trees = {
        names.kustomization_name(tree).removeprefix("p-")
        for tree in ("workflows", "deployments", "monitors")
    }
    own = {end for end in ends | trees if end.isalnum()} - {"p", "n"}
    assert own <= OWN_PARTS, own - OWN_PARTS
    components = set()
    for path in (ROOT / "pipeline/driftloop/resources").rglob("*.py"):
        components |= set(re.findall(r'^COMPONENT = "(\w+)"', path.read_text(), re.MULTILINE))
    assert len(components) > 8
    assert components <= OWN_PARTS, components - OWN_PARTS
    assert is_own_part("r0123abcd")
    assert not is_own_part("r0123")


def test_names_after_monitors_are_names_of_objects() -> None:
    names, longest = Names("d" * 34, "n"), "m" * LONGEST_MONITOR
    for name in (names.detector(longest), names.alarms(longest)):
        assert len(name) <= 63, name


def test_names_stay_within_their_bounds() -> None:
    names = Names("d" * 34, "n")
    for name in (
        names.train, names.release, names.cron, names.sensor, names.retrain, names.model, names.decision, names.judge,
        names.detector("outlier"), names.predictor("r01234567"), f"{names.predictor('r01234567')}-logger",
        names.kustomization_name("deployments"), f"{names.decision}-outlier", f"{names.release}-r01234567", f"{names.decision}-runs",
    ):  # fmt: skip
        assert len(name) <= 52, name


def test_the_namespace_is_the_name_unless_it_is_given() -> None:
    assert make_plan(load_spec(MINIMAL, path="p.yaml")).names == Names("digits", "digits")
    text = changed("{name: digits}", "{name: digits, namespace: team-a}")
    assert make_plan(load_spec(text, path="p.yaml")).names == Names("digits", "team-a")


def test_a_gpu_is_of_the_kind_that_is_named_or_of_the_default_one() -> None:
    named = changed(
        '"train:train"',
        '"train:train", resources: {gpu: 1, gpuProfile: big}}\n  gpus: {big: {resource: amd.com/gpu}',
    )
    found = make_plan(parse_spec(named, path="p.yaml"))
    kind = found.gpu_profile(found.train.resources)
    assert kind is not None
    assert kind.resource == "amd.com/gpu"
    assert found.gpu_profile(found.evaluate.resources) is None
    found = make_plan(
        parse_spec(changed('"train:train"', '"train:train", resources: {gpu: 1}'), path="p.yaml")
    )
    kind = found.gpu_profile(found.train.resources)
    assert kind is not None
    assert (kind.resource, kind.runtime_class, kind.tolerations) == (
        "nvidia.com/gpu",
        "nvidia",
        ("nvidia.com/gpu",),
    )
    own = changed(
        '"train:train"',
        '"train:train", resources: {gpu: 1}}\n  gpus: {default: {runtimeClass: null}',
    )
    found = make_plan(parse_spec(own, path="p.yaml"))
    kind = found.gpu_profile(found.train.resources)
    assert kind is not None
    assert kind.runtime_class is None


CACHED = changed(
    "batches}",
    "batches, heldout: 0.3, steps: [{name: a, run: 'e:a'}, {name: b, command: [x, y]}]}",
).replace('"train:train"', '"train:train", parameters: {depth: 3, rate: 0.1}')


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("e:a", "e:c", "ab0"),
        ("[x, y]", "[x, z]", "b0"),
        ("digits-trainer:1.0.0", "digits-trainer:1.0.1", "ab0"),
        ("heldout: 0.3", "heldout: 0.2", "0"),
        ("depth: 3", "depth: 4", "0"),
        ("train:train", "train:other", "0"),
        ("{depth: 3, rate: 0.1}", "{rate: 0.1, depth: 3}", ""),
        ("evaluate:evaluate", "evaluate:other", ""),
        ("{name: a,", "{name: first,", ""),
        ("batches,", "others,", ""),
    ],
)
def test_a_cached_output_is_known_by_all_that_it_depends_on_besides_the_data(
    old: str, new: str, changes: str
) -> None:
    def keys(text: str) -> dict[str, str]:
        found = make_plan(parse_spec(text, path="p.yaml"))
        return {"a": found.steps[0].key, "b": found.steps[1].key, "0": found.trial_keys[0]}

    before, after = keys(CACHED), keys(CACHED.replace(old, new))
    assert "".join(name for name in before if before[name] != after[name]) == changes
    assert len({*before.values()}) == 3


def test_the_monitors_share_the_false_alarms_of_a_pipeline() -> None:
    text = MINIMAL + (
        "  monitors:\n"
        "    drift: {}\n"
        "    fares: {then: halt, alarms: {least: 3, of: 5}}\n"
        "    rows: {detector: iforest}\n"
        "    own: {alarmRate: 0.002}\n"
        "    slow: {window: {rows: 500, atMost: 6h, least: 100}, then: alert}\n"
        "  falseAlarms: 4/month\n"
        "  traffic: 40/s\n"
    )
    plan = make_plan(load_spec(text, path="p.yaml"))
    rates = {monitor.name: monitor.rate for monitor in plan.monitors}
    assert rates["own"] == WindowRate(0.002)
    shared = {name: rate.budget for name, rate in rates.items() if rate.budget is not None}
    assert shared["drift"] == AlarmBudget(1.0, 40.0, assumed=False, least=2, of=2)
    assert shared["fares"] == AlarmBudget(1.0, 40.0, assumed=False, least=3, of=5)
    # what starts and halts nothing is told window by window
    assert shared["rows"] == shared["slow"] == AlarmBudget(1.0, 40.0, assumed=False)
    assert rates["drift"].rate == pytest.approx(518400**-0.5, rel=0.01)
    assert rates["rows"].rate == pytest.approx(1 / 518400, rel=0.01)
    assert rates["slow"].rate == pytest.approx(500 / 200 / 518400, rel=0.01)
    settings = DetectorSettings.parse(plan.monitors[0].detector_config)
    assert settings.budget == shared["drift"]


def test_a_detector_that_needs_less_of_the_false_alarms_gets_less() -> None:
    text = MINIMAL + (
        "  monitors:\n"
        "    drift: {}\n"
        "    requests: {detector: schema}\n"
        "    together: {detector: mmd, window: 500}\n"
    )
    budgets = [
        monitor.rate.budget for monitor in make_plan(load_spec(text, path="p.yaml")).monitors
    ]
    assert [budget.month for budget in budgets if budget is not None] == pytest.approx(
        [5 / 8, 1 / 8, 2 / 8]
    )


def test_without_a_word_it_is_one_a_month_at_one_row_a_second() -> None:
    plan = make_plan(load_spec(MINIMAL + "  monitors: {drift: {}}\n", path="p.yaml"))
    (monitor,) = plan.monitors
    assert monitor.rate.budget == AlarmBudget(1.0, 1.0, assumed=True, least=2, of=2)
    assert monitor.settings.alarm_rate == pytest.approx(12960**-0.5, rel=0.01)
    assert list(describe_budgets(plan)) == [
        "drift: 1 false alarms a month; 2 alarms in a row of 12960 windows a month counts, at 1/s "
        "(assumed, `traffic` is not set), so 0.00878 of the windows may alarm"
    ]
