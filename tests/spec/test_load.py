"""What the loader accepts, and what it says about everything else."""

import json
import time
from datetime import timedelta

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from driftloop.spec import InvalidSpec, load_spec, parse_spec, schema
from tests.spec.specs import MINIMAL, changed

SETTINGS = settings(max_examples=25, deadline=None)
DRAWN = '"train:train", search: {random: {trials: 1, between: {a: {%s}}}, best: {metric: m}}'


def problems(text: str) -> list[str]:
    with pytest.raises(InvalidSpec) as caught:
        load_spec(text, path="p.yaml")
    return caught.value.message.splitlines()


def hint(text: str) -> str | None:
    with pytest.raises(InvalidSpec) as caught:
        load_spec(text, path="p.yaml")
    return caught.value.hint


def test_everything_has_a_default_but_names_images_and_functions() -> None:
    spec = load_spec(MINIMAL, path="p.yaml").spec
    assert spec.serve.backend == "seldon"
    assert spec.train.image == "trainer"
    assert spec.data.heldout == 0.2
    assert spec.data.features == "x"
    assert spec.monitors == {}
    assert spec.rollout.canary.steps == (10, 50)
    assert spec.rollout.shadow.for_ == timedelta(minutes=10)
    assert (spec.retrain.consecutive, spec.retrain.cooldown, spec.retrain.budget) == (
        2,
        timedelta(minutes=30),
        4,
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("train: {run", "trian: {run", "p.yaml:9:3: spec.trian is not a known key, must be one of: `access`, `approveWithin`,"),
        ("kind: Pipeline", "kind: Pipe", "p.yaml:2:7: kind is `Pipe`, must be `Pipeline`"),
        ("{name: digits}", "{name: Digits}", "p.yaml:3:18: metadata.name is `Digits`, must be at most 34 lower-case"),
        ("{name: digits}", "{name: " + "d" * 35 + "}", "p.yaml:3:18: metadata.name is `ddddd"),
        (":1.0.0}\n    server", "}\n    server", "spec.images.trainer.ref is `ghcr.io/acme/digits-trainer`, must have"),
        (":1.0.0}\n    server", ":latest}\n    server", "must not have the tag `latest`"),
        ("{model: Digits}", "{model: Digits}\n  imagePullSecrets: [Acme_Registry]",
         "spec.imagePullSecrets[0] is `Acme_Registry`, must be the name of a Kubernetes object"),
        ("s3://digits/batches", "digits", "p.yaml:8:15: spec.data.uri is `digits`, must be a bucket and a folder"),
        ("train:train", "train", "spec.train.run is `train`, must be a module and a function"),
        ("train:train", "driftloop:train", "must not be in a module named `driftloop`"),
        ("{model: Digits}", "{model: Digits}\n  card: {owner: a, intendedUse: b, limits: c}",
         "spec.card.contact is missing, must be given"),
        ("{model: Digits}", "{model: Digits}\n  card: {owner: a, contact: ' ', intendedUse: b, limits: c}",
         "spec.card.contact is ` `, must not be empty"),
        ("{model: Digits}", "{model: Digits}\n  tracking: {}", "spec.tracking.mlflow is missing, must be given"),
        ("{model: Digits}", "{model: Digits}\n  tracking: {mlflow: mlflow.example.org}",
         "p.yaml:12:22: spec.tracking.mlflow is `mlflow.example.org`, must be the address of a server, such as"),
        ("{model: Digits}", "{model: Digits}\n  tracking: {mlflow: 'https://eve:secret@mlflow.example.org'}",
         "must be without user and password: git keeps what a spec says"),
        ("{model: Digits}", "{}", "p.yaml:11:3: spec.serve.model is missing, must be given"),
        ("{model: Digits}", "{model: Digits, replicas: '1'}", "spec.serve.replicas is `1`, must be a whole number"),
        ("{model: Digits}", "{model: Digits, replicas: 0}", "spec.serve.replicas is 0, must be at least 1"),
        ("{model: Digits}", "{model: Digits, replicas: true}", "spec.serve.replicas is true, must be a whole number"),
        ("{model: Digits}", "{model: Digits, backend: kserve}", "must be one of: `seldon`, `plain`"),
        ("{model: Digits}", "{model: Digits, autoscale: {max: 3}, replicas: 1}",
         "p.yaml:11:10: spec.serve is a mapping, must have either `replicas` or `autoscale`"),
        ("{model: Digits}", "{model: Digits, autoscale: {}}", "spec.serve.autoscale.max is missing, must be given"),
        ("{model: Digits}", "{model: Digits, autoscale: {min: 3, max: 2}}",
         "spec.serve.autoscale is a mapping, must have a `min` that is not above its `max`"),
        ("{model: Digits}", "{model: Digits, autoscale: {max: 3, cpu: 0}}",
         "spec.serve.autoscale.cpu is 0, must be at least 1"),
        ("{model: Digits}", "{server: sklern}", "p.yaml:11:19: spec.serve.server is `sklern`, must be one of: `pyth"),
        ("{model: Digits}", "{server: null}", "spec.serve.server is missing, must be one of: `python`, `sklearn`, "),
        ("{model: Digits}", "{server: sklearn, model: D}", "spec.serve.model is not a known key, must be one of: `a"),
        ("{model: Digits}", "{server: sklearn, protocol: tensorflow}", "must be one of: `seldon`, `v2`"),
        ("{model: Digits}", "{server: triton, protocol: seldon}", "spec.serve.protocol is `seldon`, must be `v2`"),
        ("{model: Digits}", "{server: tensorflow, protocol: v2}", "must be one of: `tensorflow`, `seldon`"),
        ("{model: Digits}", "{model: Digits, protocol: v2}", "spec.serve.protocol is `v2`, must be `seldon`"),
        ("{model: Digits}", "{model: D, graph: {type: rooter}}", "spec.serve.graph.type is `rooter`, must be one of: "),
        ("{model: Digits}", "{model: D, graph: {}}", "spec.serve.graph.type is missing, must be one of: `released`, "),
        ("{model: Digits}", "{model: D, graph: {type: model, name: a, image: b}}",
         "spec.serve.graph.class is missing, must be given"),
        ("{model: Digits}",
         "{model: D, graph: {type: router, name: a, image: b, class: C, children: [{type: released}]}}",
         "spec.serve.graph.children is a list, must be at least 2 long"),
        ("{model: Digits}", "{model: D, graph: {type: transformer, name: a, image: b, class: C, children: []}}",
         "spec.serve.graph.children is a list, must be at least 1 long"),
        ("{model: Digits}", "{server: sklearn, protocol: v2, method: predict}",
         "spec.serve is a mapping, must have `method` with `protocol: seldon` only"),
        ("{model: Digits}", "{model: 5}", "spec.serve.model is 5, must be text"),
        ("{model: Digits}", "[Digits]", "p.yaml:11:10: spec.serve is a list, must be a mapping"),
        ("{model: Digits}", "", "p.yaml:11:9: spec.serve is empty, must be a mapping"),
        ("  serve:", "  monitors: {drift: {detector: kss}}\n  serve:",
         "spec.monitors.drift.detector is `kss`, must be one of: `tabular`, `schema`, `mmd`, `ks`"),
        ("  serve:", "  monitors: {drift: {detector: 1}}\n  serve:",
         "spec.monitors.drift.detector is `1`, must be one of"),
        ("  serve:", "  monitors: {drift: {windw: 9}}\n  serve:", "spec.monitors.drift.windw is not a known key"),
        ("  serve:", "  monitors: {drift: {window: 9}}\n  serve:",
         "spec.monitors.drift.window is 9, must be at least 10"),
        ("  serve:", "  monitors: {drift: {alarmRate: .nan}}\n  serve:",
         "spec.monitors.drift.alarmRate is nan, must be"),
        ("  serve:", "  falseAlarms: 0/month\n  serve:",
         "p.yaml:11:16: spec.falseAlarms is `0/month`, must be a whole number from 1 by day, week, month or year, such as"),
        ("  serve:", "  falseAlarms: 3\n  serve:", "spec.falseAlarms is 3, must be text"),
        ("  serve:", "  traffic: 40\n  serve:", "spec.traffic is 40, must be text"),
        ("  serve:", "  traffic: 40/second\n  serve:",
         "spec.traffic is `40/second`, must be a number of rows above 0 by s, min, h or day, such as 40/s or 2000/day"),
        ("  serve:", "  traffic: 0.0/s\n  serve:", "spec.traffic is `0.0/s`, must be a number of rows above 0"),
        ("  serve:", "  monitors: {drift: {atLeast: {number: 2}}}\n  serve:",
         "spec.monitors.drift.atLeast.number is 2, must be at most 1"),
        ("  serve:", "  monitors: {drift: {atLeast: 0.1}}\n  serve:",
         "spec.monitors.drift.atLeast is 0.1, must be a mapping"),
        ("  serve:", "  monitors: {Fares: {}}\n  serve:",
         "spec.monitors.Fares is `Fares`, must be at most 18 lower-case letters and digits, beginning with a letter"),
        ("  serve:", "  monitors: {fare-range: {}}\n  serve:", "spec.monitors.fare-range is `fare-range`, must be at most 18"),
        ("  serve:", "  monitors: {judge: {}}\n  serve:",
         "p.yaml:11:21: spec.monitors.judge is `judge`, must be another name: a pipeline's own objects have this one"),
        ("  serve:", "  monitors: {r01234567: {}}\n  serve:", "spec.monitors.r01234567 is `r01234567`, must be another name"),
        ("  serve:", "  monitors: {drift: }\n  serve:", "spec.monitors.drift is empty, must be a mapping"),
        ("  serve:", "  monitors: {outlier: }\n  serve:", "spec.monitors.outlier is empty, must be a mapping"),
        ("  serve:", f"  monitors: {{{', '.join(f'm{n}: {{}}' for n in range(21))}}}\n  serve:",
         "spec.monitors is a mapping, must be at most 20 long"),
        ("  serve:", "  monitors: {drift: {then: nothing}}\n  serve:",
         "spec.monitors.drift.then is `nothing`, must be one of: `retrain`, `alert`, `halt`, `rollback`"),
        ("  serve:", "  monitors: {drift: {alarms: {least: 3, of: 2}}}\n  serve:",
         "spec.monitors.drift.alarms is a mapping, must have a `least` that is not above its `of`"),
        ("  serve:", "  monitors: {drift: {columns: 'a b'}}\n  serve:", "spec.monitors.drift.columns is `a b`, must be"),
        ("  serve:", "  retrain: {cooldown: 30}\n  serve:",
         "spec.retrain.cooldown is 30, must be a number with a unit"),
        ("  serve:", "  retrain: {budget: 4}\n  serve:", "spec.retrain.budget is 4, must be a number per day"),
        ("  serve:", "  retrain: {quietHours: {during: [nights]}}\n  serve:",
         "spec.retrain.quietHours.during[0] is `nights`, must be days, times or both, such as 22:00-06:00, mon-fri"),
        ("  serve:", "  retrain: {quietHours: {during: [sat-sun], timezone: europe/berlim}}\n  serve:",
         "timezone is `europe/berlim`, must be the name of a time zone, such as Europe/Berlin or UTC; did you mean "
         "`Europe/Berlin`?"),
        ("  serve:", "  retrain: {quietHours: {during: [mon-sat, sun]}}\n  serve:",
         "spec.retrain.quietHours is a mapping, must leave a minute of the week in which alarms may start a run"),
        ("  serve:", "  retrain: {quietHours: {during: []}}\n  serve:", "spec.retrain.quietHours.during is a list"),
        ("  serve:", "  rollout: {canary: {steps: [50, 10]}}\n  serve:", "must have `steps` that rise"),
        ("  serve:", "  rollout: {shadow: {for: 0s}}\n  serve:",
         "spec.rollout.shadow.for is `0s`, must be longer than 0s"),
        ("  serve:", "  rollout: {shadow: {for_: 5s}}\n  serve:", "spec.rollout.shadow.for_ is not a known key"),
        ('"train:train"', '"train:train", schedule: "61 3 * * 1"', "61 is not between 0 and 59"),
        ('"train:train"', '"train:train", schedule: "0 3 * * 7"', "7 is not between 0 and 6"),
        ('"train:train"', '"train:train", schedule: "0 3 foo * *"', "foo is not a number"),
        ('"train:train"', '"train:train", schedule: "0 3 * * mon-xyz"', "xyz is not a number or one of sun, mon, tue"),
        ('"train:train"', '"train:train", schedule: "mon 3 * * *"', "mon is not a number"),
        ('"train:train"', '"train:train", schedule: "5-1 3 * * *"', "5-1 ends before it begins"),
        ('"train:train"', '"train:train", schedule: "5x 3 * * *"', "5x is not a number"),
        ('"train:train"', '"train:train", schedule: "*/0 3 * * *"', "the step of */0 is 0"),
        ('"train:train"', '"train:train", schedule: "*-5 3 * * *"', "must be five cron fields, such as"),
        ('"train:train"', '"train:train", schedule: "0 3 31 2 *"',
         "must name days that there are: none of its months has a day 31"),
        ('"train:train"', '"train:train", schedule: "0 3 31 feb,apr *"', "has a day 31"),
        ('"train:train"', '"train:train", parameters: {a: "{{x}}"}',
         "spec.train.parameters.a is `{{x}}`, must not contain `{{`: Argo puts"),
        ('"train:train"', '"train:train", parameters: {a: "x$(HOME)"}',
         "must not contain `$(`: Kubernetes puts"),
        ('"train:train"', '"train:train", parameters: {a: "x$$"}',
         "must not contain `$$`"),
        ('"train:train"', '"train:train", parameters: {a: 9223372036854775808}',
         "must be a whole number of at most 64 bits"),
        ('"train:train"', '"train:train", search: {over: {a: [1, 2, 1]}, best: {metric: m}}',
         "must name each value of `a` once, found 1 twice"),
        ('"train:train"',
         DRAWN % 'low: 0, high: 1.0e+300, whole: true',
         "must have bounds between -9007199254740992 and"),
        ('"train:train"',
         DRAWN % 'low: -1.0e+308, high: 1.0e+308',
         "whose difference is a finite number"),
        ("batches}", "batches, steps: [{name: a, command: [echo, '{{x}}']}]}",
         "spec.data.steps[0].command[1] is `{{x}}`, must not contain `{{`: Argo puts"),
        ("  data:", "  gpus: {a: {resource: gpu}}\n  data:", "spec.gpus.a.resource is `gpu`, must be an extended"),
        ("  data:", "  gpus: {a: {resource: cpu}}\n  data:", "spec.gpus.a.resource is `cpu`, must be an extended"),
        ("  data:", "  gpus: {a: {resource: x.kubernetes.io/y}}\n  data:", "must be an extended resource"),
        ('"train:train"', '"train:train", parameters: {data: 1}', "must not be `data`: data, out and checkpoint"),
        ('"train:train"', '"train:train", parameters: {a: [1]}', "spec.train.parameters.a is a list, must be text"),
        ('"train:train"', '"train:train", resources: {gpuProfile: a100}', "must have `gpu: 1` or more beside"),
        ('"train:train"', '"train:train", retries: {limit: 1, wait: 2h}',
         "p.yaml:9:57: spec.train.retries.wait is `2h`, must be at most 1h"),
        ('"train:train"', '"train:train", retries: {limit: 0}', "spec.train.retries.limit is 0, must be at least 1"),
        ('"train:train"', '"train:train", cache: 0s', "spec.train.cache is `0s`, must be longer than 0s"),
        ('"train:train"', '"train:train", newData: hourly', "spec.train.newData is `hourly`, must be five cron fields"),
        ("  data:", "  gpus: {a: {resource: 'a b'}}\n  data:", "spec.gpus.a.resource is `a b`, must be a name as"),
        ('"evaluate:evaluate"', '"evaluate:evaluate", gates: [{metric: a}]', "must have at least one of `min`"),
        ("batches}", "batches, steps: [{name: a}]}", "spec.data.steps[0] is a mapping, must have either"),
    ],
)  # fmt: skip
def test_each_mistake_is_named_with_its_place(old: str, new: str, expected: str) -> None:
    found = problems(changed(old, new))
    assert any(expected in line for line in found), found
    assert all(line.startswith("p.yaml:") for line in found)


def test_a_list_is_not_too_short_because_something_in_it_is_wrong() -> None:
    children = "[{type: released}, {type: model, name: b, image: b, class: B, childrn: []}]"
    router = f"{{type: router, name: a, image: b, class: C, children: {children}}}"
    (only,) = problems(changed("{model: Digits}", f"{{model: D, graph: {router}}}"))
    assert "spec.serve.graph.children[1].childrn is not a known key" in only


@pytest.mark.parametrize(("value", "shown"), [("hello", "`hello`"), ("5", "5"), ("[a]", "a list")])
def test_what_should_be_a_mapping_is_not_said_to_lack_a_key(value: str, shown: str) -> None:
    (only,) = problems(changed("{model: Digits}", f"{{model: D, graph: {value}}}"))
    assert only == f"p.yaml:11:28: spec.serve.graph is {shown}, must be a mapping"
    transformer = f"{{type: transformer, name: a, image: b, class: C, children: [{value}]}}"
    (only,) = problems(changed("{model: Digits}", f"{{model: D, graph: {transformer}}}"))
    assert f"spec.serve.graph.children[0] is {shown}, must be a mapping" in only


def test_all_problems_are_listed_in_the_order_of_the_file() -> None:
    text = (
        changed("s3://digits/batches", "x")
        .replace("{model: Digits}", "{modell: D}")
        .replace("train:train", "t")
    )
    found = problems(text)
    lines = [int(line.split(":")[1]) for line in found]
    assert lines == sorted(lines)
    assert lines == [8, 9, 11, 11]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("train: {run", "trian: {run", "did you mean `train`?"),
        ("{model: Digits}", "{model: Digits, back_end: plain}", "did you mean `backend`?"),
        ("{model: Digits}", "{model: Digits, backend: pain}", "did you mean `plain`?"),
        ("{model: Digits}", "{server: sklern}", "did you mean `sklearn`?"),
        ("{model: Digits}", "{model: 5}", 'put it in quotes: "5"'),
        (
            "apiVersion: driftloop.dev/v1alpha1\n",
            "",
            "the file begins with `apiVersion: driftloop.dev/v1alpha1`",
        ),
    ],
)
def test_hints(old: str, new: str, expected: str) -> None:
    assert expected in (hint(changed(old, new)) or "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "p.yaml:1:1: the file is empty"),
        ("- 1", "the file is a list, must be a mapping"),
        ("a: 1\na: 2", "p.yaml:2:1: `a` appears twice, first in line 1"),
        ("a: [1, {b: 1, b: 2}]", "`b` appears twice"),
        ("a: [", "not YAML"),
        ("a: \tb: c", "not YAML"),
        ("a: 1\n---\nb: 2", "p.yaml:3:1: a second document begins, must be the only one"),
        ("1: x", "p.yaml:1:1: the key `1` is not text"),
        ("[a]: x", "a key is a list or a mapping, must be text"),
        (
            "a: !!python/object:os.system x",
            "the tag `tag:yaml.org,2002:python/object:os.system` is not allowed",
        ),
        ("a: !!binary aGk=", "is not allowed"),
        ("a: &x [*x]", "p.yaml:1:8: the alias `*x` refers to itself"),
        ("a: \x07", "not YAML: the character '\\x07' is not allowed"),
        (
            'a: "\\ud800"',
            "not YAML: while parsing a quoted scalar found invalid Unicode character escape",
        ),
        ("x" * (1024 * 1024 + 1), "must have at most 1048576"),
        ("[" * 50_000, "p.yaml:1:41: nested more than 40 levels deep"),
        ("a: " + "9" * 5000, "is not a number that can be read"),
    ],
)
def test_what_is_no_spec_at_all(text: str, expected: str) -> None:
    assert any(expected in line for line in problems(text)), problems(text)


def test_aliases_expand_to_a_bounded_number_of_values() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    started = time.monotonic()
    assert any(
        "more than 20000 values, aliases expanded" in line for line in problems("\n".join(lines))
    )
    assert time.monotonic() - started < 60


def test_an_alias_may_be_used_as_shorthand() -> None:
    text = changed('{run: "train:train"}', '&t {run: "train:train"}').replace(
        '{run: "evaluate:evaluate"}', "*t"
    )
    assert load_spec(text, path="p.yaml").spec.evaluate.run == "train:train"


def test_the_detector_of_a_monitor_depends_on_its_name() -> None:
    text = (
        MINIMAL
        + "  monitors: {drift: {}, fares: {columns: fare}, outlier: {}, rows: {detector: iforest}}\n"
    )
    monitors = load_spec(text, path="p.yaml").spec.monitors
    assert {name: detector.detector for name, detector in monitors.items()} == {
        "drift": "tabular", "fares": "tabular", "outlier": "iforest", "rows": "iforest",
    }  # fmt: skip


def test_the_key_on_needs_no_quotes() -> None:
    text = MINIMAL + "  monitors: {drift: {on: response}}\n  retrain: {on: [drift]}\n"
    spec = load_spec(text, path="p.yaml").spec
    assert spec.monitors["drift"].on == "response"
    assert spec.retrain.on == ("drift",)


@pytest.mark.parametrize("written", ["1e-3", "1E-3", "1.0e-3", "0.001", ".001"])
def test_a_learning_rate_is_a_number_however_it_is_written(written: str) -> None:
    text = changed('"train:train"', f'"train:train", parameters: {{learning_rate: {written}}}')
    assert load_spec(text, path="p.yaml").spec.train.parameters == {"learning_rate": 0.001}


def test_places_survive_for_later_checks() -> None:
    document = parse_spec(MINIMAL, path="p.yaml")
    assert str(document.source.problem(("spec", "serve", "model"), "x")) == "p.yaml:11:18: x"
    assert (
        str(document.source.problem(("spec", "serve", "model"), "x", key=True)) == "p.yaml:11:11: x"
    )
    assert str(document.source.problem(("spec", "serve", "image"), "x")) == "p.yaml:11:10: x"


durations = st.builds(
    lambda n, unit: f"{n}{unit}", st.integers(1, 999), st.sampled_from(["ms", "s", "m", "h"])
)


@SETTINGS
@given(
    st.lists(st.integers(1, 99), unique=True, max_size=8),
    durations,
    st.integers(1, 100),
    st.floats(0.0, 1.0),
)
def test_a_spec_survives_writing_and_reading(
    steps: list[int], every: str, replicas: int, share: float
) -> None:
    document = yaml.safe_load(MINIMAL)
    document["spec"]["serve"]["replicas"] = replicas
    document["spec"]["rollout"] = {
        "canary": {"steps": sorted(steps), "every": every, "errorRate": share}
    }
    once = load_spec(yaml.safe_dump(document), path="p.yaml")
    again = load_spec(
        json.dumps(once.model_dump(mode="json", by_alias=True, exclude_none=True)), path="p.yaml"
    )
    assert again == once
    assert once.spec.rollout.canary.steps == tuple(sorted(steps))


@SETTINGS
@given(st.data())
def test_any_key_in_any_place_is_refused_or_means_what_it_says(data: st.DataObject) -> None:
    document = yaml.safe_load(MINIMAL)
    places = [document, document["metadata"], document["spec"], *document["spec"].values()]
    place = data.draw(st.sampled_from(places))
    key = data.draw(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)
    )
    if key in place or key in {"namespace", "monitors", "retrain", "rollout"}:
        return
    place[key] = data.draw(st.sampled_from([None, 1, "x", [], {}]))
    text = yaml.safe_dump(document, allow_unicode=True)
    try:
        found = load_spec(text, path="p.yaml")
    except InvalidSpec as error:
        places = [(problem.line, problem.column) for problem in error.problems]
    else:
        assert key in json.dumps(found.model_dump(mode="json", by_alias=True), ensure_ascii=False)
        return
    assert places
    assert min(places) >= (1, 1)


@SETTINGS
@given(st.text(max_size=300))
def test_no_text_makes_the_loader_fall_over(text: str) -> None:
    with pytest.raises(InvalidSpec):
        load_spec(text, path="p.yaml")


@SETTINGS
@given(st.integers(0, len(MINIMAL) - 1), st.characters(codec="utf-8"))
def test_one_changed_character_is_accepted_or_reported(at: int, character: str) -> None:
    text = MINIMAL[:at] + character + MINIMAL[at + 1 :]
    try:
        found: object = load_spec(text, path="p.yaml")
    except InvalidSpec as error:
        found = error.problems
    assert found


def test_the_schema_documents_every_field() -> None:
    found = schema()
    for name, definition in [("Pipeline", found), *found["$defs"].items()]:
        assert definition.get("description"), name
        for field, described in definition["properties"].items():
            assert described.get("description") or "$ref" in described or "const" in described, (
                f"{name}.{field}"
            )
        assert definition["additionalProperties"] is False, name


def test_a_module_of_the_user_may_be_named_pipeline() -> None:
    pipeline = load_spec(changed("train:train", "pipeline:train"), path="p.yaml")
    assert pipeline.spec.train.run == "pipeline:train"


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        (
            "{model: Digits}",
            "{model: Digits}\n  slices: [a]",
            "there is `spec.monitors.NAME.slices`",
        ),
        ("{model: Digits}", "{model: Digits, keep: 30d}", "there is `spec.capture.keep`"),
        # what another form of the same mapping has is not elsewhere
        ("{model: Digits}", "{server: sklearn, model: D}", None),
        ("{model: Digits}", "{model: Digits, colour: red}", None),
    ],
)
def test_an_unknown_key_is_led_to_where_it_is_known(old: str, new: str, hint: str | None) -> None:
    with pytest.raises(InvalidSpec) as caught:
        load_spec(changed(old, new), path="p.yaml")
    (problem,) = caught.value.problems
    assert "is not a known key" in problem.message
    assert problem.hint == hint
