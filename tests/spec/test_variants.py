"""Every choice that a spec offers: an example takes it, the example renders, and the reference tells of it.

The choices are read from the models, so a new one without an example fails here by its name.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from driftloop.contract.alibi import ALIBI_NAMES
from driftloop.contract.functions import ROWS_FORMS
from driftloop.render import render_tree
from driftloop.spec import Pipeline
from tests.spec.reference import reference
from tests.spec.specs import MINIMAL, changed

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guides" / "adding-a-variant.md"
EXAMPLES = [*ROOT.glob("examples/*/*.yaml"), *ROOT.glob("tests/golden/*/pipeline.yaml")]
SERVINGS = (
    "{server: sklearn, method: decision_function}",
    "{server: sklearn, method: predict_proba}",
    "{server: xgboost, protocol: v2}",
    "{server: mlflow}",
    "{server: tensorflow, protocol: tensorflow}",
    "{model: Digits, backend: seldon, graph: {type: router, name: choose, image: server, class: Choose, children: ["
    "{type: output-transformer, name: label, image: server, class: Label, children: [{type: released}]},"
    "{type: model, name: rules, image: server, class: Rules}]}}",
)
"""Ways to serve that would each fill a golden tree with little news."""

MONITORS = (
    *(f'{{detector: function, run: "watch:judge", form: {form}}}' for form in ROWS_FORMS),
    *(f"{{detector: alibi, alibi: {{class: {name}}}}}" for name in ALIBI_NAMES),
)
"""Monitors that would, too."""


@dataclass(frozen=True)
class Choice:
    """A value that a field may have, as a spec writes it."""

    path: tuple[str, ...]
    value: str
    default: bool

    def __str__(self) -> str:
        return f"{'.'.join(self.path)}={self.value}"


Models = frozenset[type[BaseModel]]


def choices(
    model: type[BaseModel], path: tuple[str, ...] = (), *, member: bool = False
) -> Iterator[Choice]:
    """All of them below a model; lists and mappings count as one step, `*`. A member of a union is never a default.

    A field that holds what the model itself may be (the children of a graph's node) offers nothing new.
    """
    for name, field in model.model_fields.items():
        default = None if member else field.get_default(call_default_factory=True)
        if model not in _models(field.annotation):
            yield from _of(field.annotation, (*path, field.alias or name), default)


def _models(annotation: Any) -> Models:
    """The models that an annotation names."""
    if _is_model(annotation):
        return frozenset({annotation})
    return frozenset[type[BaseModel]]().union(*map(_models, get_args(annotation)))


def _of(
    annotation: Any, path: tuple[str, ...], default: Any, *, member: bool = False
) -> Iterator[Choice]:
    if _is_model(annotation):
        yield from choices(annotation, path, member=member)
        return
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        for value in arguments:
            yield Choice(
                path,
                str(value),
                default == value or (isinstance(default, tuple) and value in default),
            )
        return
    step = ("*",) if origin in (tuple, dict, list) else ()
    several = (
        sum(
            1
            for argument in arguments
            if _is_model(argument) or _is_model((*get_args(argument), None)[0])
        )
        > 1
    )
    for argument in arguments:
        yield from _of(argument, (*path, *step), default, member=member or several)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


CHOICES = sorted(
    {choice for choice in choices(Pipeline) if choice.path[0] == "spec"},
    key=lambda choice: (choice.path, choice.value),
)


@cache
def specs() -> dict[str, Any]:
    """The text of each example, and what it says."""
    texts = [
        *(file.read_text() for file in EXAMPLES),
        *(changed("{model: Digits}", one) for one in SERVINGS),
        *(f"{MINIMAL}  monitors: {{watch: {one}}}\n" for one in MONITORS),
    ]
    found = {text: yaml.safe_load(text) for text in texts}
    return {
        text: document for text, document in found.items() if document.get("kind") == "Pipeline"
    }


@cache
def renders(text: str) -> bool:
    return bool(render_tree(text, None))


def values(document: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """What stands at a path."""
    if not path:
        yield document
    elif path[0] == "*":
        for item in (
            document.values()
            if isinstance(document, dict)
            else document
            if isinstance(document, list)
            else ()
        ):
            yield from values(item, path[1:])
    elif isinstance(document, dict):
        for child in document.get("children", ()):
            yield from values(child, path)
        # YAML 1.1 reads the key `on` as true
        key = True if path[0] == "on" and True in document else path[0]
        if key in document:
            yield from values(document[key], path[1:])


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_a_choice_has_an_example_that_renders(choice: Choice) -> None:
    named = [text for text, found in specs().items() if choice.value in values(found, choice.path)]
    examples = named or ([MINIMAL] if choice.default else [])
    assert examples, f"no example or golden pipeline says `{choice}`"
    assert renders(examples[0])


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_a_choice_is_documented(choice: Choice) -> None:
    field = next(name for name in reversed(choice.path) if name != "*")
    rows = [line for line in reference().splitlines() if line.startswith(f"| `{field}` |")]
    assert any(f"`{choice.value}`" in row for row in rows), (
        f"the reference's row of `{field}` does not name it"
    )


def test_the_guides_diffs_are_the_code() -> None:
    """A diff that is shown is one that was made: its lines stand where it says."""
    shown = 0
    for block in re.findall(r"^```diff\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL):
        for part in re.split(r"^(?=--- a/)", block, flags=re.MULTILINE)[1:]:
            _, target, *lines = part.splitlines()
            text = (ROOT / target.removeprefix("+++ b/")).read_text()
            after = "\n".join(line[1:] for line in lines if not line.startswith("-"))
            for paragraph in after.split("\n\n"):
                pieces = [line for line in paragraph.splitlines() if line]
                assert all(f"{line}\n" in text for line in pieces), paragraph
                shown += len(pieces)
            assert not any(f"{line[1:]}\n" in text for line in lines if line.startswith("-"))
    assert shown > 15


def test_the_guide_names_what_there_is() -> None:
    """Files and functions in backticks exist."""
    text = re.sub(r"```.*?```", "", GUIDE.read_text(), flags=re.DOTALL)
    code = {file: file.read_text() for file in (ROOT / "pipeline").rglob("*.py")}
    for name in re.findall(r"`((?:[\w.]+/)+[\w.]+\.py)`", text):
        assert (ROOT / name).exists() or (ROOT / "pipeline" / "driftloop" / name).exists(), name
    for name in (
        "RowDetector",
        "DetectorKind",
        "OUTPUTS",
        "PlatformImages",
        "Phase",
        "ScheduleKind",
        "RolloutStage",
        "BackendLimits",
        "BACKEND",
    ):
        assert f"`{name}`" in text
        assert any(
            re.search(rf"^(class )?{name}\b", source, re.MULTILINE) for source in code.values()
        ), name
    for name in ("fit_detector", "retrain_on", "on_alarms", "backend_limits", "serving_backend"):
        assert name in text
        assert any(f"def {name}(" in source for source in code.values()), name
