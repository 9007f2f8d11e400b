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
