"""validate on manifests, explain, schema: arguments in; findings, exit status and words out."""

import json
import os
import sys
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path
from xml.etree import ElementTree

import pytest

from driftloop.check import RULES
from driftloop.cli.lazy import run_group
from driftloop.cli.root import root
from driftloop.contract.trees import release_path
from tests.check.trees import tree
from tests.golden.trees import write_tree
from tests.spec.specs import MINIMAL

Driftloop = Callable[..., tuple[int, str, str]]

SENSOR = """\
apiVersion: argoproj.io/v1alpha1
kind: Sensor
metadata: {name: retrain, namespace: fraud}
spec:
  dependencies: [{name: asked, eventSourceName: retrain, eventName: retrain}]
  triggers:
  - template:
      name: train
      k8s:
        operation: create
        source:
          resource:
            apiVersion: argoproj.io/v1alpha1
            kind: Workflow
            metadata: {generateName: train-}
            spec:
              workflowTemplateRef: {name: train}
"""
TEMPLATE = """\
apiVersion: argoproj.io/v1alpha1
kind: WorkflowTemplate
metadata: {name: train, namespace: fraud}
spec:
  entrypoint: main
  arguments: {parameters: [{name: cause}]}
  templates: [{name: main, container: {image: busybox, command: ['true']}}]
"""


@pytest.fixture
def driftloop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Driftloop:
    """Run a command in this process, in a folder of its own: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["driftloop", *map(str, args)])
        with pytest.raises(SystemExit) as caught:
            run_group(root)
        said = capsys.readouterr()
        return int(caught.value.code or 0), said.out, said.err

    return call


def write(files: dict[str, str], folder: Path) -> None:
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_a_folder_of_manifests(driftloop: Driftloop, tmp_path: Path) -> None:
    write(
        {
            "app/sensor.yaml": SENSOR,
            "app/templates/train.yaml": TEMPLATE,
            "app/.hidden/x.yaml": "{",
        },
        tmp_path,
    )
    code, stdout, stderr = driftloop("validate", "app")
    assert code == 1
    assert stdout == (
        "app/sensor.yaml:17:43 DL204 error: Workflow fraud/train- in Sensor fraud/retrain: "
        "the template requires parameter `cause`, which gets no value\n"
        "    why: Argo refuses every such run: the trigger, the schedule or the step that creates it fails, "
        "and nobody is there to type the parameter in.\n"
        "    fix: hand it over in `spec.arguments.parameters`, or fill it from the event with `parameters`\n"
        "\n"
        "app/templates/train.yaml:7:47 DL607 warning: WorkflowTemplate fraud/train: image `busybox` has no tag\n"
        "    why: The code that runs depends on the time of the pull: two replicas differ, a rollback "
        "does not bring the old code back, and git no longer says what runs.\n"
        "    fix: name a version or a digest: `image: ghcr.io/acme/server:1.0.0`\n"
    )
    assert "2 objects in 2 files: 1 error, 1 warning" in stderr
    code, stdout, _ = driftloop("validate", "app", "--output", "json")
    said = json.loads(stdout)
    assert (code, said["valid"], said["files"], said["objects"]) == (1, False, 2, 2)
    first = said["findings"][0]
    assert (first["path"], first["line"], first["column"], first["code"]) == (
        "app/sensor.yaml",
        17,
        43,
        "DL204",
    )
    assert {"severity", "subject", "what", "why", "fix"} <= first.keys()


def test_files_alone_are_not_blamed_for_the_rest_and_warnings_are_no_error(
    driftloop: Driftloop, tmp_path: Path
) -> None:
    write({"sensor.yaml": SENSOR, "train.yaml": TEMPLATE}, tmp_path)
    assert driftloop("validate", "sensor.yaml")[:2] == (0, "")
    code, stdout, _ = driftloop("validate", "train.yaml")
    assert (code, "DL607 warning" in stdout) == (0, True)
    assert "DL204" in driftloop("validate", "train.yaml", "sensor.yaml")[1]
    code, stdout, _ = driftloop("validate", "sensor.yaml", "--complete")
    assert code == 1
    assert {"DL201", "DL203", "DL208", "DL613"} == {
        word for word in stdout.split() if word.startswith("DL")
    }


def test_manifests_may_be_json_and_other_json_is_left_alone(
    driftloop: Driftloop, tmp_path: Path
) -> None:
    object_ = '{"apiVersion": "v1", "kind": "List", "items": [\n {"apiVersion": "v1", "kind": "ConfigMap", "data": {"n": 3},'
    write(
        {"a.json": object_ + ' "metadata": {"name": "a"}}]}', "tsconfig.json": "{ // other\n}"},
        tmp_path / "in",
    )
    for path in ("in", "in/a.json"):
        code, out, said = driftloop("validate", path)
        assert code == 1
        assert "in/a.json:2:58 DL104 error: ConfigMap a: " in out
        assert said.splitlines()[-1] == "1 object in 1 file: 1 error, 0 warnings"


CERTIFICATE = """\
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: web, namespace: fraud}
"""


def test_a_stream_is_a_set_of_files_of_its_own(
    driftloop: Driftloop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def type_in(text: str) -> None:
        monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(text.encode())))

    type_in(f"{SENSOR}---\n{TEMPLATE}---\n{CERTIFICATE}")
    code, stdout, stderr = driftloop("validate", "-", "--ignore", "dl607")
    assert (code, stdout.split()[:2]) == (1, ["stdin:17:43", "DL204"])
    assert "no rule knows: cert-manager.io/v1 Certificate (1)" in stderr
    assert "3 objects in 1 file: 1 error, 0 warnings, 1 ignored" in stderr
    type_in("")
    assert driftloop("validate", "-")[0] == 2
    type_in("a: [")
    code, stdout, _ = driftloop("validate", "-")
    assert (code, stdout.startswith("stdin:2:1 DL001")) == (1, True)


def test_findings_are_left_out_by_comments_codes_and_settings(
    driftloop: Driftloop, tmp_path: Path
) -> None:
    commented = TEMPLATE.replace("'true']}}]", "'true']}}]  # driftloop: ignore[DL607]")
    write({"app/train.yaml": commented, "app/other/b.yaml": TEMPLATE}, tmp_path)
    assert driftloop("validate", "app/train.yaml")[1] == ""
    assert driftloop("validate", "app")[1].count("DL607") == 1
    (tmp_path / ".driftloop.yaml").write_text(
        'validate:\n  ignore: [{code: DL607, in: ["app/other/**"]}]\n'
    )
    assert driftloop("validate", "app")[:2] == (0, "")
    (tmp_path / ".driftloop.yaml").write_text('validate: {exclude: ["app/oth*"], complete: true}\n')
    assert "1 object in 1 file" in driftloop("validate", "app")[2]
    for text, said in (
        (
            "validate: {ignor: []}",
            "1:12: validate.ignor is not a known key, did you mean `ignore`?",
        ),
        ("validate: {ignore: [DL60]}", "1:21: `DL60` is not a finding's code, did you mean `DL"),
        ("validate: {complete: 3}", "1:22: `3` must be true or false"),
        ("validate: {exclude: x}", "must be a list"),
        ("validate: [", ".driftloop.yaml:2:1: while parsing"),
    ):
        (tmp_path / ".driftloop.yaml").write_text(text + "\n")
        code, _, stderr = driftloop("validate", "app")
        assert (code, said in stderr) == (1, True), stderr
    (tmp_path / ".driftloop.yaml").unlink()
    code, _, stderr = driftloop("validate", "app", "--ignore", "DL60")
    assert (code, "--ignore: `DL60` is not a finding's code" in stderr) == (2, True)


def test_programs_get_one_form_of_everything(driftloop: Driftloop, tmp_path: Path) -> None:
    write({"app/sensor.yaml": SENSOR, "app/train.yaml": TEMPLATE}, tmp_path)
    write({"bad.yaml": MINIMAL.replace("serve: {model", "serve: {modell")}, tmp_path)
    code, out, _ = driftloop("validate", "app", "--output", "github")
    first, second = out.splitlines()
    assert (code, first.split("::")[1]) == (
        1,
        "error file=app/sensor.yaml,line=17,col=43,title=DL204",
    )
    assert second.startswith("::warning file=app/train.yaml,line=7,col=47,title=DL607::")
    assert "%0Afix: " in first
    run = json.loads(driftloop("validate", "app", "bad.yaml", "--output", "sarif")[1])["runs"][0]
    codes = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert {"DL204", "DL607", "spec"} == set(codes)
    for result in run["results"]:
        assert codes[result["ruleIndex"]] == result["ruleId"]
        place = result["locations"][0]["physicalLocation"]
        assert (tmp_path / place["artifactLocation"]["uri"]).is_file()
        assert place["region"]["startLine"] >= 1
    for paths, failures in ((["app"], 1), (["bad.yaml"], 2), (["app/train.yaml"], 0)):
        suite = ElementTree.fromstring(driftloop("validate", *paths, "-o", "junit")[1])[0]
        assert (int(suite.attrib["failures"]), len(suite.findall("*/failure"))) == (
            failures,
            failures,
        )
        assert len(suite) == int(suite.attrib["tests"])


def test_nothing_to_check_is_a_usage_error(driftloop: Driftloop, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, _, stderr = driftloop("validate", "empty")
    assert (code, "no YAML file in empty" in stderr) == (2, True)
    assert driftloop("validate")[0] == 2
    assert driftloop("validate", "empty", "--schemas", "none")[0] == 2


def test_a_rendered_tree_below_a_repository(driftloop: Driftloop, tmp_path: Path) -> None:
    """Paths of Flux count from the repository, wherever the command is called and whatever part is given."""
    (tmp_path / ".git").mkdir()
    write(tree("minimal"), tmp_path)
    assert driftloop("validate", ".")[:2] == (0, "")
    assert driftloop("validate", "cluster", "monitors/minimal")[:2] == (0, "")
    file = tmp_path / "cluster/dev/pipelines/minimal.yaml"
    file.write_text(file.read_text().replace("path: ./monitors/minimal", "path: ./monitors/minmal"))
    code, stdout, _ = driftloop("validate", ".")
    assert (code, stdout.split()[:2]) == (1, ["cluster/dev/pipelines/minimal.yaml:67:9", "DL701"])
    spec = tmp_path / "workflows/minimal/pipeline.yaml"
    spec.write_text(
        spec.read_text().replace(
            "apiVersion: driftloop.dev/v1alpha1", "apiVersion: driftloop.dev/v1alpha1\nkid: 1"
        )
    )
    assert (
        "workflows/minimal/pipeline.yaml:2:1: kid is not a known key"
        in driftloop("validate", "workflows")[1]
    )
    os.chdir(tmp_path / "cluster")
    assert driftloop("validate", "dev", "../monitors")[1].startswith(
        "dev/pipelines/minimal.yaml:67:9 DL701"
    )
    assert driftloop("validate", "dev")[0] == 0, "the folder is not among what is given"


def test_schemas_make_it_strict(driftloop: Driftloop, tmp_path: Path) -> None:
    port = {"type": "object", "required": ["port"], "properties": {"port": {"type": "integer"}}}
    service = {
        "type": "object",
        "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Service"}],
        "properties": {
            **{name: {"type": "string"} for name in ("apiVersion", "kind")},
            "metadata": {"type": "object"},
            "spec": {"type": "object", "properties": {"ports": {"type": "array", "items": {"$ref": "#/schemas/Port"}}}},
        },
    }  # fmt: skip
    served = {"components": {"schemas": {"Service": service, "Port": port}}}
    indexed = {"roots": {"v1/Service": "Service"}, "schemas": served["components"]["schemas"]}
    write({"raw/v1.json": json.dumps(served)}, tmp_path)
    write(
        {
            "indexed/index.json": json.dumps({"v1/Service": "v1.json"}),
            "indexed/v1.json": json.dumps(indexed),
        },
        tmp_path,
    )
    text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  prots: []\n  ports:\n  - port: '80'\n  - {}\n"
    write({"app/a.yaml": text, "app/b.yaml": TEMPLATE.replace("busybox", "busybox:1.37")}, tmp_path)
    for schemas in ("raw", "indexed"):
        code, stdout, stderr = driftloop("validate", "app", "--schemas", schemas)
        assert code == 1
        places = [line.split()[:2] for line in stdout.splitlines() if line.startswith("app/")]
        assert places == [
            ["app/a.yaml:5:3", "DL901"],
            ["app/a.yaml:7:11", "DL902"],
            ["app/a.yaml:8:5", "DL903"],
        ]
        assert "did you mean `ports`?" in stdout
        assert "note: no schema for argoproj.io/v1alpha1 WorkflowTemplate" in stderr
    (tmp_path / "raw/v1.json").write_text("{")
    code, _, stderr = driftloop("validate", "app", "--schemas", "raw")
    assert (code, "is not JSON" in stderr) == (1, True)


def test_a_spec_s_own_tree_is_checked_and_specs_go_with_folders(
    driftloop: Driftloop, tmp_path: Path
) -> None:
    write({"pipeline.yaml": MINIMAL, "app/train.yaml": TEMPLATE}, tmp_path)
    said = json.loads(driftloop("validate", "pipeline.yaml", "--output", "json")[1])
    assert said.pop("specs").keys() == {"pipeline.yaml"}
    assert (said["valid"], said["problems"], said["findings"], said["unread"]) == (True, [], [], {})
    assert said.keys() == json.loads(driftloop("validate", "app", "-o", "json")[1]).keys() - {
        "specs"
    }
    code, stdout, stderr = driftloop("validate", "pipeline.yaml", "app")
    assert code == 0
    assert "1 spec, 1 object in 1 file: 0 errors, 1 warning" in stderr
    (tmp_path / "pipeline.yaml").write_text(MINIMAL.replace("serve: {model", "serve: {modell"))
    code, stdout, _ = driftloop("validate", "pipeline.yaml", "app")
    assert code == 1
    assert "pipeline.yaml:11:3: spec.serve.model is missing" in stdout


def test_it_says_by_what_answers_are_compared_for_each_spec(
    driftloop: Driftloop, tmp_path: Path
) -> None:
    unjudged = MINIMAL + "  rehearse: off\n"
    never = MINIMAL + "  rollout: {shadow: {agreement: null}}\n"
    write({"a.yaml": MINIMAL, "b.yaml": unjudged, "app/c.yaml": never}, tmp_path)
    write({"wrong.yaml": MINIMAL.replace("serve: {model", "serve: {modell")}, tmp_path)
    judged = "agreement from the share `accuracy` of both models on recent rows; of numbers, from"
    code, _, stderr = driftloop("validate", "a.yaml", "b.yaml", "app")
    assert (code, f"a.yaml: {judged}" in stderr) == (0, True)
    assert "b.yaml: agreement from the share" in stderr
    assert "without a rehearsal, answers that are numbers are not compared" in stderr
    assert "app/c.yaml: agreement not judged (`rollout.shadow.agreement: null`)" in stderr
    _, stdout, stderr = driftloop("validate", "a.yaml")
    assert (stdout, judged.split(" ", 1)[1] in stderr) == ("", True)
    for paths, valid in (
        (["a.yaml"], {"a.yaml"}),
        (["a.yaml", "wrong.yaml", "app"], {"a.yaml", "app/c.yaml"}),
    ):
        _, stdout, _ = driftloop("validate", *paths, "--output", "json")
        specs = json.loads(stdout)["specs"]
        assert specs.keys() == valid
        assert specs["a.yaml"]["agreement"].startswith("from the share `accuracy`")


def test_hostile_files_are_findings(driftloop: Driftloop, tmp_path: Path) -> None:
    write({"app/a.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"}, tmp_path)
    (tmp_path / "app/large.yaml").write_bytes(b"a: b\n" * 2_500_000)
    (tmp_path / "app/binary.yaml").write_bytes(bytes(range(256)))
    (tmp_path / "app/dangling.yaml").symlink_to("nowhere")
    code, stdout, _ = driftloop("validate", "app")
    assert code == 1
    assert {word for word in stdout.split() if word.startswith("DL")} == {"DL002", "DL003"}


def test_explain(driftloop: Driftloop) -> None:
    code, stdout, _ = driftloop("explain", "dl401")
    assert code == 0
    assert stdout.startswith(
        "DL401  The traffic of a SeldonDeployment does not sum to 100  (error)\n\nwhy: "
    )
    assert [line[:5] for line in driftloop("explain")[1].splitlines()] == [
        rule.code for rule in RULES
    ]
    code, _, stderr = driftloop("explain", "DL999")
    assert (code, "finding `DL999` is not defined" in stderr) == (1, True)
    assert json.loads(driftloop("explain", "DL002", "--output", "json")[1])["example"] is None


def test_schema_is_the_one_of_the_docs(driftloop: Driftloop) -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "pipeline.schema.json"
    assert driftloop("schema")[1] == page.read_text()


def test_a_release_without_the_signature_that_its_spec_demands_is_found(
    driftloop: Driftloop, tmp_path: Path
) -> None:
    write_tree("signed", tmp_path / "cluster")
    assert driftloop("validate", "cluster")[0] == 0
    file = tmp_path / "cluster" / release_path("signed")
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if "signature:" not in line))
    code, out, err = driftloop("validate", "cluster")
    assert code == 1
    assert f"{file}:1:1: release r01b52309 of signed/signed is not trusted: it has no" in out + err
