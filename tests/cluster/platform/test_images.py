"""The list of images that the platform asks for is what its tree, charts and manifests ask for, and each can be told a
mirror's name."""

import json
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml
from cluster.platform.test_platform import at_hand
from cluster.platform.upstream import (
    HELM,
    KUBECTL,
    MONITORING,
    PROFILES,
    ROOT,
    build,
    build_from_git,
    chart_file,
    documents,
    knative_manifests,
    kustomizations,
    platform,
    releases,
)

from driftloop.operations.building.places import name_whole
from driftloop.operations.platform.images import list_asked
from driftloop.operations.platform.layout import STAGES, PlatformSettings, write_layout
from driftloop.operations.platform.thirdparty import list_components
from driftloop.platform import default_platform
from driftloop.platform.model import Images

pytestmark = [
    pytest.mark.skipif(KUBECTL is None, reason="kubectl is not on this machine"),
    pytest.mark.timeout(600),
]

MIRROR = "r.acme.example/m"
HOSTS = ("docker.io", "gcr.io", "ghcr.io", "quay.io", "registry.istio.io", "registry.k8s.io")
REGISTRIES = Images(mirrors={host: f"{MIRROR}/{host}" for host in HOSTS})
VARIABLES = ("EXECUTOR_CONTAINER_IMAGE_AND_VERSION", "ARGO_EVENTS_IMAGE")
NAMED = re.compile(r"--[a-z0-9-]*image=(\S+)|--prometheus-config-reloader=(\S+)")


def listed(profile, registries=REGISTRIES):
    found = list_asked(
        ROOT, default_platform("dev"), profile, specs=(), manifests={}, registries=registries
    )
    assert found.unknown == ()
    return found.images


@pytest.mark.parametrize("profile", PROFILES)
def test_every_component_of_the_tree_is_in_the_list_at_its_version(profile):
    own = {"knative-eventing"}
    names = {component.name for component in list_components(profile)}
    assert names == set(releases(profile)) | set(kustomizations(profile)) | own
    images = listed(profile)
    assert all(each.target.startswith(f"{MIRROR}/") for each in images)
    by_hand = {
        each.ref.split("@")[0].split(":")[0]
        for each in images
        if each.untold and not each.is_foreign
    }
    assert by_hand == {
        "ghcr.io/driftloop/driftloop", "quay.io/oauth2-proxy/oauth2-proxy",
        "gcr.io/knative-releases/knative.dev/eventing-natss/cmd/jetstream/dispatcher",
    }  # fmt: skip


@pytest.mark.parametrize("profile", PROFILES)
def test_images_of_the_trees_own_objects_are_in_the_list(profile):
    found = {image for item in platform(profile) for image in images_of(item)}
    found |= {
        image
        for item in build(ROOT / "cluster/infrastructure/console")
        for image in images_of(item)
    }
    assert found
    assert found <= {each.ref for each in listed(profile)}


@cache
def mirrored(profile, folder):
    """The stages of a cluster with mirrors, as Flux builds them."""
    settings = PlatformSettings({"dev": profile}, images={"dev": REGISTRIES})
    found = []
    for number, stage in enumerate(documents(write_layout(settings)[STAGES])):
        over = folder / f"{profile}-{number}"
        over.mkdir()
        (over / "kustomization.yaml").write_text(
            yaml.safe_dump(
                {
                    "resources": [
                        str(
                            Path("/".join([".."] * len(over.parts[1:])))
                            / str(ROOT / stage["spec"]["path"])[1:]
                        )
                    ],
                    "patches": stage["spec"].get("patches", []),
                }
            )
        )
        found += build(over)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mirrored")


@pytest.mark.parametrize("profile", PROFILES)
def test_patches_find_their_objects_and_change_names_alone(profile, folder):
    before = {(i["kind"], i["metadata"]["name"]): i for i in platform(profile)}
    after = {(i["kind"], i["metadata"]["name"]): i for i in mirrored(profile, folder)}
    assert before.keys() == after.keys()
    changed = {key[1] for key in before if before[key] != after[key]}
    asking = {each.name for each in list_components(profile) if each.images}
    assert changed == asking
    argo = after["Kustomization", "argo-workflows"]["spec"]
    assert {each["newName"] for each in argo["images"]} == {
        f"{MIRROR}/quay.io/argoproj/{name}" for name in ("workflow-controller", "argocli")
    }
    assert f"{MIRROR}/quay.io/argoproj/argoexec:v" in json.dumps(argo["patches"])


@at_hand
@pytest.mark.parametrize("profile", PROFILES)
def test_charts_ask_for_what_is_in_the_list_and_at_the_mirror_when_told(profile, folder):
    after = {
        i["metadata"]["name"]: i for i in mirrored(profile, folder) if i["kind"] == "HelmRelease"
    }
    missing = []
    for component in list_components(profile):
        release = releases(profile).get(component.name)
        if release is None:
            continue
        chart = chart_file(profile, release)
        if chart is None:
            missing.append(component.name)
            continue
        asked = set(rendered_images(release, chart))
        known = {each.ref for each in component.images}
        if component.name == "istiod":
            # a build of Istio's main branch stands for the release; the proxy is injected
            asked = {
                each.replace("/testing/", "/release/").replace(
                    ":latest", f":{component.versions['istio']}"
                )
                for each in asked
            }
            known = {each for each in known if "proxyv2" not in each}
        assert asked == known, component.name
        told = set(rendered_images(after[component.name], chart))
        assert all(each.startswith(f"{MIRROR}/") for each in told), (component.name, told)
        assert len(told) == len(asked)
    if missing:
        pytest.skip(f"not looked at: the charts of {', '.join(missing)} are not at hand")


@at_hand
def test_manifests_ask_for_what_is_in_the_list_and_at_the_mirror_when_told(folder, tmp_path):
    after = {
        i["metadata"]["name"]: i
        for i in mirrored("standard", folder)
        if i["kind"] == "Kustomization"
    }
    components = {component.name: component.images for component in list_components("standard")}
    for name, (before, source) in kustomizations("standard").items():
        made = [
            build_from_git(item["spec"], source, tmp_path / f"{name}-{number}")
            for number, item in enumerate((before, after[name]))
        ]
        if None in made:
            pytest.skip("not looked at: the repositories of Argo are not at hand")
        asked, told = ({image for item in objects for image in images_of(item)} for objects in made)
        built_in = {each.ref for each in components[name] if "argoexec" in each.ref}
        assert asked | built_in == {each.ref for each in components[name]}, name
        assert told, name
        assert all(each.startswith(f"{MIRROR}/") for each in told), name
    release = knative_manifests(tmp_path)
    if release is None:
        pytest.skip("not looked at: Knative's release files are not at hand")
    asked = {image for item in release for image in images_of(item)}
    if any(each.startswith("ko.local/") for each in asked):
        pytest.skip("not looked at: a build of Knative stands for its release")
    moved = {each["name"] for each in after["knative-eventing"]["spec"]["images"]}
    assert moved == {each.partition("@")[0] for each in asked}
    known = {each.ref for each in components["knative-eventing"]}
    unknown = {each for each in asked - known if each.partition("@")[0] not in known}
    assert unknown == set()
    text = json.dumps(release)
    texts = set(re.findall(r"gcr\.io/[a-z0-9._/-]+@sha256:[0-9a-f]{64}", text))
    assert {each.partition("@")[0] for each in texts} == {each.partition("@")[0] for each in known}


def rendered_images(release, chart):
    spec = release["spec"]
    done = subprocess.run(
        [HELM, "template", spec["releaseName"], chart, "-n", spec["targetNamespace"], "-f", "-",
         "--kube-version", "1.35.0", "--api-versions", MONITORING],
        input=json.dumps(spec.get("values", {})), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for item in documents(done.stdout):
        marks = item["metadata"].get("annotations") or {}
        if "test" not in marks.get("helm.sh/hook", ""):
            yield from images_of(item)


def images_of(item):
    """What an object asks for: its containers' images, and those that it names to a controller of its own."""
    waiting = [item]
    if (item["kind"], item["metadata"]["name"]) == ("ConfigMap", "seldon-config"):
        waiting = [json.loads(item["data"]["storageInitializer"])]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            image = value["value"] if value.get("name") in VARIABLES else value.get("image")
            if isinstance(image, str) and ":" in image:
                yield name_whole(image)
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and (match := NAMED.fullmatch(value)):
            yield match[1] or match[2]
