"""Every image of a tree goes through one place: none is forgotten, and a pin reaches all of them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from driftloop.errors import SpecError
from driftloop.plan import images, make_plan
from driftloop.release import record
from driftloop.render import render_tree
from driftloop.spec import InvalidSpec, load_spec, parse_spec, pins
from tests.golden.trees import spec_text
from tests.pipelines import version
from tests.spec.specs import MINIMAL, changed

DIGEST = "sha256:" + "d" * 64


def refs(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from refs(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from [item] if key == "image" and isinstance(item, str) else refs(item)


def everything(text: str) -> set[str]:
    """The images of a pipeline's trees in all phases of its releases."""
    import yaml

    names = load_spec(text, path="p").metadata
    release = record.release_first(
        record.empty_release(names.name, names.namespace or names.name), version(f"{names.name}-1")
    )
    shadow = record.dump_release(record.start_shadow(release, version(f"{names.name}-2")))
    trees = [render_tree(text, None), render_tree(text, shadow)]
    objects = [
        item
        for tree in trees
        for path, content in tree.items()
        if not path.endswith(("/pipeline.yaml", "/release.yaml"))
        for item in yaml.load_all(content, yaml.CSafeLoader)
    ]
    return set(refs(objects))


@pytest.mark.parametrize(
    "name",
    [
        "minimal",
        "no-monitors",
        "plain",
        "steps",
        "pinned",
        "graph",
        "server-triton",
        "server-sklearn",
    ],
)
def test_what_a_tree_names_is_known_beforehand_and_can_be_pinned(name: str) -> None:
    text = spec_text(name)
    bare = pins.written(text, {}, path="p")
    pipeline = load_spec(bare, path="p")
    assert everything(bare) == set(images.list_images(pipeline))
    wanted = dict.fromkeys(images.list_unpinned_images(pipeline), DIGEST)
    pinned = pins.written(bare, wanted, path="p")
    assert all("@sha256:" in ref for ref in everything(pinned)), "an image that no pin reaches"
    assert images.list_unpinned_images(load_spec(pinned, path="p")) == ()


def test_a_pin_changes_images_and_nothing_else() -> None:
    text = spec_text("plain")
    wanted = dict.fromkeys(images.list_images(load_spec(text, path="p")), DIGEST)
    before, after = render_tree(text, None), render_tree(pins.written(text, wanted, path="p"), None)
    spec = "workflows/plain/pipeline.yaml"

    def drop_digests(tree: Mapping[str, str]) -> dict[str, str]:
        # the recipe of a run names its images
        return {
            path: re.sub(r"sha256:[0-9a-f]{64}", "sha256:", text.replace(f"@{DIGEST}", ""))
            for path, text in tree.items()
            if path != spec
        }

    assert drop_digests(after) == drop_digests(before)


def test_a_pin_of_nothing_is_an_error_at_its_line() -> None:
    text = changed(
        "  data: {uri", f"  pins:\n    ghcr.io/acme/digits-trainer:0.9.0: {DIGEST}\n  data: {{uri"
    )
    with pytest.raises(InvalidSpec) as caught:
        make_plan(parse_spec(text, path="p.yaml"))
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (9, 5)
    assert problem.message.startswith(
        "spec.pins holds `ghcr.io/acme/digits-trainer:0.9.0`, must hold images that"
    )
    assert "`ghcr.io/acme/digits-server:1.0.0`" in problem.message
    assert "`driftloop render --pin` writes the pins anew" in str(problem.hint)


def test_an_image_that_is_declared_and_not_used_needs_no_pin() -> None:
    text = changed("  data: {uri", "    spare: {ref: ghcr.io/acme/spare:1}\n  data: {uri")
    assert "ghcr.io/acme/spare:1" not in images.list_images(load_spec(text, path="p"))


@pytest.mark.parametrize(
    ("pin", "words"),
    [
        ("ghcr.io/acme/a: " + DIGEST, "must have a tag or a digest"),
        (f"ghcr.io/acme/a:1@{DIGEST}: {DIGEST}", "without a digest: the digest is the pin's value"),
        ("ghcr.io/acme/a:1: sha256:12", "must be sha256: and 64 lower-case hex digits"),
    ],
)
def test_a_pin_that_is_none_is_refused(pin: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        load_spec(changed("  data: {uri", f"  pins:\n    {pin}\n  data: {{uri"), path="p.yaml")


def test_the_unpinned_spec_renders_as_it_did() -> None:
    assert "@sha256" not in "".join(render_tree(MINIMAL, None).values())
