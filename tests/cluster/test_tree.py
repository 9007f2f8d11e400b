"""The hand-written tree below cluster/: it builds, it is valid, it can converge, and it fits on one node."""

import os
import re
import shutil
import subprocess
from graphlib import TopologicalSorter
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from driftloop.contract.names import FLUX_APPLIED_ONCE, FLUX_CANCELS_CHECKS, STORAGE_URL
from driftloop.render import patch_tree
from tests.golden.trees import NAMES, UNLISTED, tree, write_tree

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
INFRASTRUCTURE = CLUSTER / "infrastructure"
VALIDATOR = Path(
    os.environ.get("VALIDATE_MANIFESTS", ROOT.parent / "shared" / "bin" / "validate-manifests")
)
KUBECTL = shutil.which("kubectl")
BUILTIN = {
    "",
    "apps",
    "batch",
    "networking.k8s.io",
    "rbac.authorization.k8s.io",
    "policy",
    "autoscaling",
    "admissionregistration.k8s.io",
}
# what `flux bootstrap` brings before anything of ours is read
FLUX = {"kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io", "source.toolkit.fluxcd.io"}
# requests of Flux's own controllers, from its install manifest
FLUX_REQUESTS = {"cpu": 350, "memory": 256}
PROFILES = ("lite", "standard")

needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not on this machine")


def documents(text):
    return [d for d in yaml.safe_load_all(text) if d]


def build(folder):
    result = subprocess.run(
        [KUBECTL, "kustomize", folder], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{folder}: {result.stderr}"
    return documents(result.stdout)


def stages(profile):
    """Flux's own objects of cluster/dev, with the profile's paths instead of lite's: name -> Kustomization."""
    found = documents(
        (CLUSTER / "dev" / "infrastructure.yaml").read_text().replace("/lite/", f"/{profile}/")
    )
    return {d["metadata"]["name"]: d for d in found}


def group(document):
    version = document["apiVersion"]
    return version.rsplit("/", 1)[0] if "/" in version else ""


def installs(document):
    text = document["metadata"].get("annotations", {}).get("driftloop.dev/installs", "")
    return set(filter(None, text.split(",")))


def extras(document):
    """Objects that a chart applies for us."""
    return (
        document.get("spec", {}).get("values", {}).get("extraResources", [])
        if group(document)
        else []
    )


def wanted(document):
    return {d["name"] for d in document.get("spec", {}).get("dependsOn", [])}


FOLDERS = sorted(p.parent for p in CLUSTER.rglob("kustomization.yaml"))


@needs_kubectl
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: str(p.relative_to(CLUSTER)))
def test_every_folder_builds(folder):
    if "https://" in (folder / "kustomization.yaml").read_text():
        pytest.skip("lists upstream's release files: builds with a network only")
    filled_later = folder.name == "flux-system"
    if yaml.safe_load((folder / "kustomization.yaml").read_text())["kind"] != "Component":
        assert bool(build(folder)) is not filled_later


@needs_kubectl
def test_what_flux_bootstrap_fills_in_is_patched(tmp_path):
    folder = tmp_path / "flux-system"
    shutil.copytree(CLUSTER / "dev" / "flux-system", folder)
    container = {"name": "manager", "args": ["--watch-all-namespaces=true"]}
    controllers = [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": "flux-system"},
            "spec": {"template": {"spec": {"containers": [container]}}},
        }
        for name in ("kustomize-controller", "source-controller")
    ]
    (folder / "gotk-components.yaml").write_text(yaml.safe_dump_all(controllers))
    arguments = {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]["containers"][0]["args"]
        for each in build(folder)
    }
    assert arguments["kustomize-controller"] == [
        *container["args"],
        f"--feature-gates={FLUX_CANCELS_CHECKS}",
    ]
    assert arguments["source-controller"] == container["args"]


RENDERED = [
    (name, path.rpartition("/")[0])
    for name in NAMES
    for path in tree(name)
    if path.endswith("/kustomization.yaml")
]


@needs_kubectl
@pytest.mark.parametrize(("name", "folder"), RENDERED)
def test_every_rendered_folder_builds_to_exactly_its_objects(name, folder, tmp_path):
    """Both back ends, every state of a release."""
    place = write_tree(name, tmp_path) / folder
    written = [
        d
        for path, text in patch_tree(tree(name)).files.items()
        if path.startswith(f"{folder}/")
        and path.endswith(".yaml")
        and Path(path).name not in UNLISTED
        for d in documents(text)
    ]
    key = {(d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]): d for d in written}
    assert {
        (d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]): d for d in build(place)
    } == key


@pytest.mark.skipif(not VALIDATOR.exists(), reason="the schema validator is not on this machine")
def test_every_file_is_valid():
    result = subprocess.run([VALIDATOR, CLUSTER], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@needs_kubectl
@pytest.mark.skipif(not VALIDATOR.exists(), reason="the schema validator is not on this machine")
@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_built_is_valid(profile, tmp_path):
    for part, stage in stages(profile).items():
        built = build(ROOT / stage["spec"]["path"])
        assert built
        (tmp_path / f"{part}.yaml").write_text(yaml.safe_dump_all(built))
    result = subprocess.run([VALIDATOR, tmp_path], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_nothing_but_flux_objects_in_a_cluster_s_own_folder():
    for path in (CLUSTER / "dev").rglob("*.yaml"):
        # what stands before a pipeline's trees is in access/: its namespace and accounts
        if {"flux-system", "access"} & set(path.parts):
            continue
        for document in documents(path.read_text()):
            assert group(document) in FLUX, path


def test_every_file_is_listed_in_its_folder():
    for folder in FOLDERS:
        text = (folder / "kustomization.yaml").read_text()
        for path in folder.iterdir():
            if path.is_file() and path.name != "kustomization.yaml":
                assert path.name in text, f"{path} is listed nowhere"


@needs_kubectl
@pytest.mark.parametrize("profile", PROFILES)
def test_the_order_converges(profile):
    """No cycle, no missing node, and each custom resource comes after what installs its CRD."""
    order = stages(profile)
    graph = TopologicalSorter({name: wanted(d) for name, d in order.items()})
    names = list(graph.static_order())
    assert set(names) == set(order), "a stage waits for one that does not exist"

    known, sources = BUILTIN | FLUX, set()
    for name in names:
        stage = order[name]
        assert stage["spec"]["wait"], f"{name} must wait: what follows needs it ready"
        assert {"timeout", "prune", "retryInterval"} <= set(stage["spec"])
        built = build(ROOT / stage["spec"]["path"])
        by_kind = {}
        for document in built:
            by_kind.setdefault(document["kind"], {})[document["metadata"]["name"]] = document
        for kind in ("HelmRelease", "Kustomization"):
            members = by_kind.get(kind, {})
            inner = list(
                TopologicalSorter({n: wanted(d) for n, d in members.items()}).static_order()
            )
            assert set(inner) == set(members), (
                f"{name}: a {kind} waits for one that is not in the same stage"
            )
        sources |= {
            (d["kind"], d["metadata"]["name"])
            for d in built
            if group(d) == "source.toolkit.fluxcd.io"
        }
        for document in [*built, *(e for d in built for e in extras(d))]:
            what = f"{document['kind']} {document['metadata']['name']} in {name}"
            assert group(document) in known, f"{what}: nothing before it installs {group(document)}"
        for document in built:
            known |= installs(document)
            if document["kind"] == "HelmRelease":
                spec = document["spec"]
                source = spec.get("chartRef") or spec["chart"]["spec"]["sourceRef"]
                assert (source["kind"], source["name"]) in sources, (
                    f"{document['metadata']['name']} has no source"
                )


def test_each_of_knatives_objects_comes_once_and_each_patch_finds_its_target():
    """eventing-core.yaml holds the CRDs, and the channel's release has no `config-nats`."""
    file = yaml.safe_load((INFRASTRUCTURE / "knative" / "kustomization.yaml").read_text())
    names = [entry.rpartition("/")[2] for entry in file["resources"]]
    assert "eventing-core.yaml" in names
    assert "eventing-crds.yaml" not in names
    apart = (INFRASTRUCTURE / "knative-nats" / "config-nats.configmap.yaml").read_text()
    assert yaml.safe_load(apart)["metadata"] == {
        "name": "config-nats",
        "namespace": "knative-eventing",
    }


@needs_kubectl
@pytest.mark.parametrize("profile", PROFILES)
def test_the_store_answers_at_the_address_that_secrets_init_writes(profile):
    built = build(ROOT / stages(profile)["infra-controllers"]["spec"]["path"])
    address = urlsplit(STORAGE_URL)
    name, namespace, _ = address.hostname.split(".", 2)
    (service,) = (
        d
        for d in built
        if (d["kind"], d["metadata"]["name"], d["metadata"].get("namespace"))
        == ("Service", name, namespace)
    )
    assert address.port in {port["port"] for port in service["spec"]["ports"]}


@pytest.mark.parametrize("file", sorted((CLUSTER / "dev").rglob("*.yaml")), ids=lambda p: p.name)
def test_a_dependency_orders_the_first_installation_only(file):
    """Flux's own check would make each commit wait 30 s at each stage."""
    for document in documents(file.read_text()):
        for dependency in document.get("spec", {}).get("dependsOn", []):
            assert dependency["readyExpr"] == FLUX_APPLIED_ONCE, document["metadata"]["name"]


def rendered_groups():
    for part in ("workflows", "deployments", "monitors"):
        for path in (ROOT / part).rglob("*.yaml"):
            for document in documents(path.read_text()):
                if path.name not in ("kustomization.yaml", "pipeline.yaml", "release.yaml"):
                    yield path, group(document)


@needs_kubectl
def test_what_pipelines_consist_of_is_installed_before_them():
    known = BUILTIN | FLUX
    for stage in stages("lite").values():
        for document in build(ROOT / stage["spec"]["path"]):
            known |= installs(document)
    for path, found in rendered_groups():
        assert found in known, path


@needs_kubectl
@pytest.mark.parametrize("profile", PROFILES)
def test_every_version_is_put_in_and_stated_once(profile):
    versions = yaml.safe_load((INFRASTRUCTURE / "versions" / "versions.yaml").read_text())["data"]
    for stage in stages(profile).values():
        assert "see-versions" not in yaml.safe_dump_all(build(ROOT / stage["spec"]["path"]))
    elsewhere = [
        p
        for p in CLUSTER.rglob("*.yaml")
        if p.name != "versions.yaml" and "platform" not in p.parts
    ]
    for path in elsewhere:
        text = re.sub(r"#.*", "", path.read_text())
        for name, version in versions.items():
            assert not re.search(rf"(?<![\d.]){re.escape(version)}(?![\d.])", text), (
                f"{path} states {name}'s again"
            )
        # a version anywhere else would be a second place; Knative's are upstream's URLs
        for line in text.splitlines():
            if "groupVersionKind" in line:  # an API's version
                continue
            stated = r"\b(version|tag|newTag):\s*[\"']?\S*\d|\bimage:\s*[\"']?[^\s:]+:\S*\d"
            if re.search(stated, line):
                pytest.fail(f"{path} states a version: {line.strip()}")


@needs_kubectl
@pytest.mark.parametrize("profile", PROFILES)
def test_every_address_outside_is_put_in_and_named_once(profile):
    named = yaml.safe_load((INFRASTRUCTURE / "outside" / "outside.yaml").read_text())["data"]
    used = set()
    for stage in stages(profile).values():
        built = build(ROOT / stage["spec"]["path"])
        assert "see-outside" not in yaml.safe_dump_all(built)
        used |= {d["spec"]["url"] for d in built if group(d) == "source.toolkit.fluxcd.io"}
    assert used <= set(named.values())
    if profile == "standard":
        assert used == set(named.values())


def test_no_other_file_names_a_host_outside():
    """Knative's release files are kustomize's resources: it takes their URLs as they are written. The issuer
    of logins is the user's own."""
    places = (
        "infrastructure/outside/outside.yaml",
        "infrastructure/knative/kustomization.yaml",
        "infrastructure/console/settings.yaml",
    )
    for path in CLUSTER.rglob("*.yaml"):
        if str(path.relative_to(CLUSTER)) in places or "flux-system" in path.parts:
            continue
        for url in re.findall(r"(?:https?|oci|ssh)://([^\s}\"',]+)", path.read_text()):
            host = url.partition("/")[0]
            inside = host in ("see-outside", "see-settings") or host.split(":")[0].endswith(".svc")
            assert inside or ".svc." in host, f"{path} names {url}"


def quantity(text, kind):
    """Milli-CPU or MiB."""
    if kind == "cpu":
        return int(text[:-1]) if str(text).endswith("m") else int(float(text) * 1000)
    number, unit = re.fullmatch(r"([\d.]+)(\w*)", str(text)).groups()
    return float(number) * {"Mi": 1, "Gi": 1024, "Ki": 1 / 1024}[unit]


def requests(node, found):
    """Every `requests` below a node, and Seldon's own spelling of them."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "requests" and isinstance(value, dict) and "storage" not in value:
                found.append((value.get("cpu", "0"), value.get("memory", "0Mi")))
            elif key == "cpuRequest" and "executor" not in node:
                found.append((value, node["memoryRequest"]))
            elif key == "patch" and isinstance(value, str) and "path: /data" not in value:
                requests(yaml.safe_load(value), found)
            elif key != "executor":  # an executor is counted with the pipeline that has it
                requests(value, found)
    elif isinstance(node, list):
        for value in node:
            requests(value, found)
    return found


def pods(document):
    spec = document["spec"]
    template = spec["template"]["spec"]
    replicas = spec.get("replicas", 1)
    total = {}
    for kind in ("cpu", "memory"):
        one = sum(
            quantity(
                c.get("resources", {})
                .get("requests", {})
                .get(kind, "0" if kind == "cpu" else "0Mi"),
                kind,
            )
            for c in template["containers"]
        )
        first = max(
            (
                quantity(
                    c.get("resources", {})
                    .get("requests", {})
                    .get(kind, "0" if kind == "cpu" else "0Mi"),
                    kind,
                )
                for c in template.get("initContainers", [])
            ),
            default=0,
        )
        total[kind] = replicas * max(one, first)
    return total


@needs_kubectl
def test_profile_lite_fits_on_a_small_node(capsys):
    """Below 2 CPU and 4 GiB of requests, Flux and one released pipeline included."""
    rows = [("flux", FLUX_REQUESTS["cpu"], FLUX_REQUESTS["memory"])]
    for stage in stages("lite").values():
        for document in build(ROOT / stage["spec"]["path"]):
            if document["kind"] not in ("HelmRelease", "Kustomization"):
                continue
            name = document["metadata"]["name"]
            if name in ("istio-base", "knative-nats"):  # CRDs and a ConfigMap, no pod
                continue
            if name == "knative-eventing":
                # six Deployments patched to 20m/64Mi and the channel's webhook; its controller and dispatcher ask for nothing
                rows.append((name, 6 * 20 + 20, 6 * 64 + 20))
                continue
            found = requests(document["spec"], [])
            assert found, f"{name} says nothing about its requests"
            rows.append(
                (
                    name,
                    sum(quantity(c, "cpu") for c, _ in found),
                    sum(quantity(m, "memory") for _, m in found),
                )
            )
    # a production release and a candidate in shadow, with the detectors of the digits example
    released = [
        text for path, text in tree("plain-shadow").items() if path.endswith(".deployment.yaml")
    ]
    detectors = ("drift.deployment.yaml", "outlier.deployment.yaml")
    released += [text for path, text in tree("digits-released").items() if path.endswith(detectors)]
    assert len(released) == 6
    for text in released:
        (document,) = documents(text)
        total = pods(document)
        rows.append((document["metadata"]["name"], total["cpu"], total["memory"]))
    # EventSource and Sensor become one pod each
    for path, text in tree("plain-shadow").items():
        if not path.startswith("workflows/plain-shadow/retrain."):
            continue
        found = requests(documents(text)[0].get("spec", {}).get("template", {}), [])
        rows += [
            (path.rpartition("/")[2], quantity(c, "cpu"), quantity(m, "memory")) for c, m in found
        ]
    cpu, memory = sum(r[1] for r in rows), sum(r[2] for r in rows)
    with capsys.disabled():
        print()
        for name, c, m in rows:
            print(f"  {name:24} {c:6.0f}m {m:6.0f}Mi")
        print(f"  {'sum':24} {cpu:6.0f}m {memory:6.0f}Mi")
    assert cpu < 2000
    assert memory < 4096
