"""Rules of Argo's own validation: the cases, and Argo's `argo lint` as their judge where a program `argolint` is installed."""
# ruff: noqa: E501 - tables read better in one line per entry

import shutil
import subprocess
from pathlib import Path

import pytest

from driftloop.check import check_files

HEAD = """\
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: weekly, namespace: team}
spec:
  entrypoint: main
  templates:
"""
USE = "  - {name: use, container: {image: 'acme/use:1', command: [use]}}\n"
RAW = "raw: {data: x}"
ASK = "  - {name: ask, inputs: {parameters: [{name: x, value: y}]}, container: {image: 'acme/use:1', command: [use]}}\n"
READ = "  - {name: read, inputs: {artifacts: [{name: x, path: /x}]}, container: {image: 'acme/use:1', command: [use]}}\n"


def steps(fields: str) -> str:
    return f"  - name: main\n    steps: [[{{{fields}}}]]\n{USE}"


def dag(fields: str) -> str:
    return f"  - name: main\n    dag: {{tasks: [{{{fields}}}]}}\n{USE}"


def main(fields: str) -> str:
    return f"  - name: main\n    {fields}\n"


def container(fields: str) -> str:
    return main(f"container: {{image: 'acme/use:1', command: [use]}}\n    {fields}")


CASES: tuple[tuple[str, str | None], ...] = (
    (steps("name: a, template: use"), None),
    (steps("name: a, template: use, withItems: [1], withParam: '[1]'"), "DL328"),
    (dag("name: a, template: use, withParam: '[1]', withSequence: {count: '2'}"), "DL328"),
    (dag("name: a, template: use, withItems: [], withParam: '[1]'"), None),
    (steps("name: a.b, template: use"), "DL329"),
    (dag("name: a_b, template: use"), "DL329"),
    (dag("name: -a, template: use"), "DL329"),
    (steps("name: 5-a, template: use"), None),
    (steps("template: use"), "DL329"),
    (steps(f"name: {'a' * 129}, template: use"), "DL329"),
    (steps("name: a, template: use.it").replace("name: use,", "name: use.it,"), "DL329"),
    *((main(f"resource: {{action: {action}, manifest: 'a: b'}}"), None) for action in ("get", "create", "apply", "delete", "replace", "patch")),
    *((main(f"resource: {{{action}manifest: 'a: b'}}"), "DL330") for action in ("", "action: '', ", "action: Create, ", "action: list, ")),
    (main("resource: {action: '{{inputs.parameters.do}}', manifest: 'a: b'}\n    inputs: {parameters: [{name: do, value: get}]}"), None),
    *((container(f"retryStrategy: {{limit: 2, retryPolicy: {policy}}}"), None) for policy in ("Always", "OnFailure", "OnError", "OnTransientError")),
    (container("retryStrategy: {limit: 2, retryPolicy: Never}"), "DL331"),
    (container("retryStrategy: {limit: 2, retryPolicy: onfailure}"), "DL331"),
    (container(f"inputs: {{artifacts: [{{name: a, path: /a, {RAW}}}, {{name: b, path: /a, {RAW}}}]}}"), "DL332"),
    (container(f"inputs: {{artifacts: [{{name: a, path: /a, {RAW}}}, {{name: b, path: /a/, {RAW}}}]}}"), None),
    (container(f"inputs: {{artifacts: [{{name: a, path: /a, {RAW}}}]}}\n    outputs: {{artifacts: [{{name: b, path: /a}}]}}"), None),
    (main(f"container: {{image: 'acme/use:1', volumeMounts: [{{name: v, mountPath: /a}}]}}\n    volumes: [{{name: v, emptyDir: {{}}}}]\n    inputs: {{artifacts: [{{name: a, path: /a, {RAW}}}]}}"), "DL332"),
    (container(f"inputs: {{artifacts: [{{name: a, {RAW}}}]}}"), "DL333"),
    (container(f"inputs: {{artifacts: [{{name: a, path: '', {RAW}}}]}}"), "DL333"),
    (container("outputs: {artifacts: [{name: a}]}"), "DL333"),
    (main("script: {image: 'acme/use:1', command: [sh], source: x}\n    outputs: {artifacts: [{name: a}]}"), "DL333"),
    (main(f"suspend: {{}}\n    inputs: {{artifacts: [{{name: a, {RAW}}}]}}"), None),
    (dag("name: a, template: use").replace("dag:", f"inputs: {{artifacts: [{{name: a, {RAW}}}]}}\n    dag:"), None),
    (dag("name: a, template: use").replace("dag:", f"inputs: {{artifacts: [{{name: a, path: /a, {RAW}}}]}}\n    dag:"), "DL333"),
    (steps("name: a"), "DL334"),
    (dag("name: a, template: ''"), "DL334"),
    (dag("name: a, inline: {container: {image: 'acme/use:1'}}"), None),
    (dag("name: a, template: use, hooks: {exit: {template: use}}"), None),
    (dag("name: '{{inputs.parameters.day}}-a', template: use").replace("dag:", "inputs: {parameters: [{name: day, value: '1'}]}\n    dag:"), None),
    (dag("name: a, template: use, depends: b.AnySucceeded}, {name: b, template: use"), "DL304"),
    (dag("name: a, template: use, depends: b.AnySucceeded}, {name: b, template: use, withItems: [1]"), None),
    (dag("name: 5-a, template: use, dependencies: [b]}, {name: b, template: use"), "DL321"),
    (main("script: {command: [sh], source: x}\n  templateDefaults: {script: {command: [sh]}}").replace("  templateDefaults", "    timeout: 10s\n  templateDefaults"), "DL324"),
    (container("inputs: {parameters: [{name: a.b, value: x}]}"), "DL335"),
    (container("inputs: {parameters: [{name: '', value: x}]}"), "DL335"),
    (container("inputs: {parameters: [{name: a_b-C, value: x}]}"), None),
    (container("outputs: {artifacts: [{name: '!a', path: /a}]}"), "DL335"),
    (dag("name: a, template: ask, arguments: {parameters: [{name: x}]}") + ASK, "DL336"),
    (dag("name: a, template: ask, arguments: {parameters: [{name: x, value: ''}]}") + ASK, None),
    (dag("name: a, template: read, arguments: {artifacts: [{name: x}]}") + READ, "DL336"),
    (dag("name: a, template: read, arguments: {artifacts: [{name: x, raw: {data: rows}}]}") + READ, None),
    (container("") + "  arguments: {parameters: [{name: x, value: a, enum: [b, c]}]}\n", "DL337"),
    (container("") + "  arguments: {parameters: [{name: x, value: a, enum: []}]}\n", "DL337"),
    (container("") + "  arguments: {parameters: [{name: x, value: a, enum: [a, c]}]}\n", None),
    (container("") + "  arguments: {parameters: [{name: x, enum: [a, c]}]}\n", None),
    (container("inputs: {parameters: [{name: x}]}"), "DL338"),
    (container("inputs: {parameters: [{name: x}]}") + "  arguments: {parameters: [{name: x, value: y}]}\n", None),
    (container("inputs: {artifacts: [{name: x, path: /x}]}"), "DL338"),
    (container("inputs: {artifacts: [{name: x, path: /x, optional: true}]}"), None),
    (container("parallelism: 2"), "DL339"),
    (container("activeDeadlineSeconds: -1"), "DL339"),
    (container("activeDeadlineSeconds: 60\n    timeout: 1m"), None),
    (container("timeout: '60'"), "DL339"),
    (dag("name: a, template: use").replace("dag:", "activeDeadlineSeconds: 60\n    dag:"), "DL339"),
    (dag("name: a, template: use").replace("dag:", "timeout: 60s\n    dag:"), "DL339"),
    (dag("name: a, template: use").replace("dag:", "parallelism: 2\n    dag:"), None),
    (steps("name: a, template: use, withSequence: {count: '2', end: '2'}"), "DL340"),
    (steps("name: a, template: use, withSequence: {start: '1', end: '2'}"), None),
    *((container(f"metrics: {{prometheus: [{{{fields}}}]}}"), code) for fields, code in (
        ("name: rows, help: x, gauge: {value: '1'}", None), ("name: rows.a, help: x, gauge: {value: '1'}", "DL341"),
        ("name: rows, gauge: {value: '1'}", "DL341"), ("name: rows, help: x, gauge: {}", "DL341"),
        ("name: rows, help: x, counter: {value: 1}", "DL341"), ("name: rows, help: x, histogram: {buckets: [1], value: '{{duration}}'}", None),
        ("name: rows, help: x, labels: [{key: a-b, value: c}], gauge: {value: '1'}", "DL341"),
        ("name: rows, help: x, gauge: {realtime: true, value: '{{resourcesDuration.cpu}}'}", "DL341"),
        ("name: rows, help: x, gauge: {realtime: true, value: '{{duration}}'}", None),
    )),
    (main("containerSet: {containers: [{name: a, image: 'acme/use:1'}]}\n    outputs: {artifacts: [{name: x, path: /x}]}"), "DL342"),
    (main("containerSet: {containers: [{name: main, image: 'acme/use:1'}]}\n    outputs: {artifacts: [{name: x, path: /x}]}"), None),
    (container("initContainers: [{image: 'acme/use:1'}]"), "DL343"),
    (container("initContainers: [{name: a, image: 'acme/use:1'}]"), None),
    (main("resource: {action: apply, manifest: 'a: [b'}"), "DL344"),
    (main("resource: {action: apply}"), "DL344"),
    (main("resource: {action: delete, flags: [pod, x]}"), None),
    (main("resource: {action: apply, manifest: 'a: {{inputs.parameters.b}}'}\n    inputs: {parameters: [{name: b, value: c}]}"), None),
    (container("metadata: {labels: {x: '{{workflow.failures}}'}}"), "DL345"),
    (container("") + "  onExit: end\n" + "", "DL307"),
    (container("") + "  - {name: end, container: {image: 'acme/use:1', args: ['{{workflow.failures}}']}}\n  onExit: end\n", None),
    (container("") + "  - {name: end, container: {image: 'acme/use:1', args: ['{{workflow.outputs.parameters.rows}}']}}\n  onExit: end\n", "DL314"),
    (dag("name: a, template: give") + "  - {name: give, container: {image: 'acme/use:1'}, outputs: {parameters: [{name: r, globalName: rows, valueFrom: {path: /r}}]}}\n  - {name: end, container: {image: 'acme/use:1', args: ['{{workflow.outputs.parameters.rows}}']}}\n  onExit: end\n", None),
)  # fmt: skip


@pytest.mark.parametrize(("text", "code"), CASES)
def test_what_argo_refuses_on_submission_is_an_error(text: str, code: str | None) -> None:
    found = [one.code for one in check_files({"w.yaml": HEAD + text})]
    assert [one for one in found if one.startswith("DL3")] == ([code] if code else [])


def test_a_retry_policy_for_all_templates_and_templates_with_defaults() -> None:
    rest = "  retryStrategy: {limit: 2, retryPolicy: Never}\n"
    found = [one.code for one in check_files({"w.yaml": HEAD + container("") + rest})]
    assert found == ["DL331"]
    defaults = "  templateDefaults: {outputs: {artifacts: [{name: a, path: /a}]}}\n"
    text = HEAD + container("outputs: {artifacts: [{name: a}]}") + defaults
    assert check_files({"w.yaml": text}) == ()


@pytest.mark.skipif(shutil.which("argolint") is None, reason="argolint is not installed")
@pytest.mark.parametrize(("text", "code"), CASES)
def test_argo_itself_says_the_same(text: str, code: str | None, tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text(HEAD + text)
    done = subprocess.run(
        ["argolint", "w.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ("no linting errors" in done.stdout + done.stderr) == (code is None), done.stdout
