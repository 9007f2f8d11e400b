"""Variables of a person's containers: what a spec may say, what they are part of, and what they never hold."""

import re

import pytest
import yaml

from driftloop.contract.variables import find_owner
from driftloop.plan import make_plan
from driftloop.render import render_tree
from driftloop.spec import InvalidSpec, load_spec, parse_spec
from tests.golden.trees import documents, release_text, tree
from tests.spec.specs import changed

TRAIN = 'train: {run: "train:train"}'


def train(env: str) -> str:
    return changed(TRAIN, f'train: {{run: "train:train", {env}}}')


@pytest.mark.parametrize(
    ("env", "message", "hint"),
    [
        ("env: {A: 3}", "spec.train.env.A is 3, must be text", 'put it in quotes: "3"'),
        ("env: {A: true}", "spec.train.env.A is true, must be text", 'put it in quotes: "true"'),
        ("env: {A: {key: b}}", "is a mapping, must be a text, `{secret: NAME, key: KEY}` or", None),
        ("env: {A: {secret: driftloop-git, key: git-password}}", "must be an object of your own", None),
        ("envFrom: [{config: driftloop-platform}]", "must be an object of your own", None),
        ("volumes: [{secret: digits-executor.service-account-token, mountPath: /t}]",
         "must be an object of your own", None),
        ("env: {A: {secret: b}}", "spec.train.env.A.key is missing, must be given", None),
        ("env: {A: {secret: b, key: c/d}}", "A.key is `c/d`, must be a key of a Secret", None),
        ("env: {A: {secret: B, key: c}}", "A.secret is `B`, must be the name of a Kubernetes", None),
        ("env: {A: {secret: b, key: c, x: d}}", "A.x is not a known key", None),
        ('env: {A: "{{inputs}}"}', "must not contain `{{`: Argo puts something else", None),
        ("env: {A-B: c}", "must be a name of letters, digits and _", None),
        ("env: {HOME: /root}", "must be another name: driftloop sets it to a folder", None),
        ("env: {ARGO_NODE_ID: x}", "must be another name: Argo's own variables", None),
        ("volumes: [{pvc: a}]", "spec.train.volumes[0].mountPath is missing, must be given", None),
        ("volumes: [{mountPath: /a}]", "must be `{secret: NAME, mountPath: FOLDER}`, or with `config`", None),
        ("volumes: [{pvc: a, mountPath: /work/x}]", "must be another folder: driftloop's own files are there", None),
        ("volumes: [{pvc: a, mountPath: /usr}]", "must be another folder: it would hide the image's own", None),
        ("volumes: [{pvc: a, mountPath: a/../b}]", "must be a folder in the container, such as /data", None),
        ("volumes: [{secret: a, mountPath: /a, readOnly: false}]", "readOnly is not a known key", None),
        ("envFrom: [warehouse]", "must be `{secret: NAME}` or `{config: NAME}`", None),
        ("envFrom: [{secret: a, config: b}]", "must be `{secret: NAME}` or `{config: NAME}`", None),
    ],
)  # fmt: skip
def test_what_is_refused_is_said_with_its_place(env: str, message: str, hint: str | None) -> None:
    with pytest.raises(InvalidSpec) as caught:
        load_spec(train(env), path="p.yaml")
    assert str(caught.value.message).startswith("p.yaml:9:")
    assert message in caught.value.message
    assert hint is None or hint in (caught.value.hint or "")


def test_variables_are_part_of_the_recipe_and_secrets_by_name() -> None:
    recipes = [
        make_plan(load_spec(text, path="p.yaml")).recipe
        for text in (
            train("env: {A: x, B: y}"),
            train("env: {B: y, A: x}"),
            train("env: {A: x, B: z}"),
            train("env: {A: x, B: {secret: s, key: y}}"),
            train("env: {A: x, B: {secret: t, key: y}}"),
            train("envFrom: [{secret: s}]"),
            train("volumes: [{pvc: s, mountPath: /s}]"),
            changed(TRAIN, TRAIN),
        )
    ]
    assert recipes[0] == recipes[1], "the order makes no other model"
    assert len(set(recipes)) == len(recipes) - 1


@pytest.mark.parametrize(
    ("serve", "name"),
    [
        ("{server: sklearn, GIVEN}", "model"),
        ("{server: tensorflow, protocol: seldon, GIVEN}", "tfserving"),
        (
            "{model: Digits, graph: {type: transformer, name: scale, image: server, class: Scale, GIVEN, "
            "children: [{type: released}]}}",
            "scale",
        ),
    ],
)
def test_every_server_has_what_it_is_given(serve: str, name: str) -> None:
    given = (
        "env: {A: {secret: s, key: k}}, envFrom: [{config: c}], volumes: [{pvc: p, mountPath: /p}]"
    )
    text = changed("{model: Digits}", serve.replace("GIVEN", given))
    release = release_text("function")
    assert release is not None
    deployment = yaml.safe_load(
        render_tree(text, release.replace("function", "digits"))[
            "deployments/digits/model.seldondeployment.yaml"
        ]
    )
    external = "ConfigMap/c, PersistentVolumeClaim/p, Secret/s"
    assert deployment["metadata"]["annotations"] == {"driftloop.dev/external": external}
    pod = deployment["spec"]["predictors"][0]["componentSpecs"][0]["spec"]
    having = {each["name"] for each in pod["containers"] if "envFrom" in each}
    assert having == {name}
    (container,) = (each for each in pod["containers"] if each["name"] == name)
    assert {"name": "pvc-p", "mountPath": "/p", "readOnly": True} in container["volumeMounts"]
    assert {"name": "pvc-p", "persistentVolumeClaim": {"claimName": "p"}} in pod["volumes"]


def test_two_volumes_have_two_paths() -> None:
    both = "[{pvc: a, mountPath: /data}, {secret: b, mountPath: /data/}]"
    with pytest.raises(InvalidSpec) as caught:
        make_plan(parse_spec(train(f"volumes: {both}"), path="p.yaml"))
    assert (
        "p.yaml:9:92: spec.train.volumes[1].mountPath is `/data`, must not be that of spec.train.volumes[0]"
        in caught.value.message
    )


def test_a_pod_has_each_volume_once_under_a_name_that_kubernetes_takes() -> None:
    long = "acme." + "x" * 100
    text = render_tree(
        train(f"volumes: [{{secret: {long}, mountPath: /a}}, {{secret: {long}, mountPath: /b}}]"),
        None,
    )
    templates = yaml.safe_load(text["workflows/digits/train.workflowtemplate.yaml"])["spec"]
    (step,) = (each for each in templates["templates"] if each["name"] == "train")
    (volume,) = (each for each in step["volumes"] if "secret" in each)
    assert re.fullmatch(r"secret-acme-x{35}-[0-9a-f]{6}", volume["name"])
    mounts = {
        m["mountPath"]: m for m in step["container"]["volumeMounts"] if m["name"] == volume["name"]
    }
    assert mounts.keys() == {"/a", "/b"}
    assert all(mount["readOnly"] for mount in mounts.values())


def test_variables_come_in_the_order_of_the_spec() -> None:
    """One names those before it in `$(NAME)`."""
    text = render_tree(train('env: {Z: a, A: "$(Z)/b"}'), None)
    templates = yaml.safe_load(text["workflows/digits/train.workflowtemplate.yaml"])["spec"]
    (step,) = (each for each in templates["templates"] if each["name"] == "train")
    assert [each["name"] for each in step["container"]["env"]] == ["HOME", "Z", "A"]


def test_every_variable_that_a_persons_container_has_is_reserved() -> None:
    own = {"UNITS", "ATLAS_URL", "ATLAS_TOKEN", "LOG_LEVEL", "SITE", "QUIET"}
    found: set[str] = set()
    for _, item in documents(tree("pods")):
        for container in _list_containers(item):
            if "/pods-" in container.get("image", ""):
                found |= {each["name"] for each in container.get("env", ())}
    assert {name for name in found - own if find_owner(name) is None} == set()
    assert found >= own


def _list_containers(value: object) -> list[dict[str, object]]:
    if isinstance(value, list):
        return [found for item in value for found in _list_containers(item)]
    if not isinstance(value, dict):
        return []
    own = [value] if "image" in value else []
    return own + [found for item in value.values() for found in _list_containers(item)]
