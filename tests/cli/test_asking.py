"""What the command line says of itself: fields, commands that were mistyped, completion."""

import json
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from driftloop.cli.root import COMMANDS, root
from driftloop.errors import PipelineError
from driftloop.operations.project.fields import explain_field
from driftloop.spec import schema


def call(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(root, words)
    return result.exit_code, result.output


def complete(*words: str) -> list[str]:
    shell = ShellComplete(root, {}, "driftloop", "_DRIFTLOOP_COMPLETE")
    return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


def test_a_field_is_explained_by_its_path() -> None:
    code, said = call("explain", "rollout.canary.steps")
    assert (code, said.splitlines()[0]) == (
        0,
        "spec.rollout.canary.steps  (a list of a whole number, default `[10, 50]`)",
    )
    assert call("explain", "spec.rollout.canary.steps")[1] == said
    said = call("explain", "monitors.any-name")[1]
    assert "\nfields:\n" in said
    assert "  window  (a whole number or a mapping" in said
    document = json.loads(call("explain", "metadata", "--output", "json")[1])
    assert {"metadata.name", "metadata.namespace"} <= {each["path"] for each in document["fields"]}
    with pytest.raises(PipelineError, match=r"`canry` is not a field of spec\.rollout") as caught:
        explain_field("rollout.canry")
    assert caught.value.hint == "did you mean `canary`?"
    assert call("explain", "dl204")[1].startswith("DL204 ")


def test_fields_of_one_kind_alone_are_told_with_it() -> None:
    """A monitor of labels, of a function and of a table have fields of their own; each was shown as one of all."""
    lines = call("explain", "monitors.any-name")[1].splitlines()
    told = {line.split()[0]: line for line in lines if line.startswith("  ") and line[2] != " "}
    assert told["on"] == "  on  (one of `request`, `response`, `label`)"
    assert "one of `tabular`, `schema`" in told["detector"]
    assert told["slices"] == "  slices  (text; with detector `quality`)"
    assert told["run"] == "  run  (text, needed; with detector `function`)"
    assert told["atLeast"].endswith("; not with detector `function` or `alibi`)")
    assert ";" not in told["window"]
    assert "  model  (text, needed; with server `python`)" in call("explain", "serve")[1]


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("slices", "there is `spec.monitors.NAME.slices`"),
        ("estimate", "there is `spec.monitors.NAME.detector: estimate`"),
        ("train.zzz", "it has image, run, "),
    ],
)
def test_a_name_that_is_elsewhere_is_led_to(path: str, hint: str) -> None:
    with pytest.raises(PipelineError) as caught:
        explain_field(path)
    assert str(caught.value.hint).startswith(hint)


def test_every_field_of_the_spec_is_explained() -> None:
    seen, waiting = 0, [f"{name}" for name in schema()["properties"]]
    while waiting:
        path = waiting.pop()
        found = explain_field(path)
        assert found.type, path
        seen += 1
        if path.count(".") < 5:
            waiting += [each.path for each in found.fields]
    assert seen > 150


def test_a_mistyped_command_is_answered_with_the_one_that_is_meant() -> None:
    code, said = call("statsu")
    assert (code, "`statsu` is not a command, did you mean `status`?" in said) == (2, True)
    assert "must be one of: init, validate" in call("xyzzy")[1]
    assert "`replya` is not a command, did you mean `replay`?" in call("events", "replya")[1]
    assert "`x` is not a command, must be one of: ls, put" in call("data", "x")[1]


def test_commands_options_and_names_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert complete("va") == ["validate"]
    assert set(complete("")) == set(COMMANDS)
    assert "--complete" in complete("validate", "--c")
    for name in ("digits", "fraud"):
        (tmp_path / "workflows" / name).mkdir(parents=True)
        (tmp_path / "workflows" / name / "pipeline.yaml").touch()
    monkeypatch.chdir(tmp_path)
    assert complete("why", "") == ["digits", "fraud"]
    assert complete("releases", "f") == ["fraud"]
    assert complete("data", "put", "--to", "d") == ["digits"]
    for shell in ("bash", "zsh", "fish"):
        code, script = call("completion", shell)
        assert (code, "_DRIFTLOOP_COMPLETE" in script) == (0, True)


def test_options_of_a_cluster_are_not_ignored_without_it(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.touch()
    for words in (
        ("data", "ls", "digits", "--kubeconfig", str(config)),
        ("data", "put", str(config), "--to", "digits", "--context", "staging"),
        ("runs", "list", "-n", "digits"),
    ):
        code, said = call(*words, "--state", str(tmp_path))
        assert (code, "--kubeconfig, --context and --namespace need --cluster" in said) == (2, True)
