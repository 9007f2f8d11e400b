"""What other projects make at the versions that cluster/ names: rendered from their charts and manifests, or as
recorded when these were at hand."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]
CLUSTER = ROOT / "cluster"
RECORD = Path(__file__).parent / "recorded.yaml"
CHARTS = os.environ.get("PLATFORM_CHARTS")
"""Folder of upstream's charts (`hosts/<host>/…/<chart>-<version>.tgz`, `charts/`), release files (`hosts/`) and git
repositories (`git/<host>/<owner>/<name>.git`)."""
PROFILES = ("lite", "standard")
KUBECTL, HELM = shutil.which("kubectl"), shutil.which("helm")
MONITORING = "monitoring.coreos.com/v1"


@dataclass(frozen=True)
class Made:
    """What is known of an object that another project makes."""

    kind: str
    namespace: str
    name: str
    labels: dict[str, str] = field(default_factory=dict)
    """Of its pods."""
    ports: tuple[int, ...] = ()
    """Of a Service, or of a pod's containers."""
    selector: dict[str, str] = field(default_factory=dict)
    """Of a Service."""


def build(folder):
    """The objects of a kustomize folder."""
    done = subprocess.run(
        [KUBECTL, "kustomize", "--load-restrictor", "LoadRestrictionsNone", folder],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{folder}: {done.stderr}"
    return documents(done.stdout)


def documents(text):
    return [item for item in yaml.load_all(text, Loader=yaml.CSafeLoader) if item]


@cache
def platform(profile):
    """Every object that the three stages of a profile apply."""
    text = (CLUSTER / "dev" / "infrastructure.yaml").read_text()
    stages = documents(text.replace("/lite/", f"/{profile}/"))
    return [item for stage in stages for item in build(ROOT / stage["spec"]["path"])]


def releases(profile):
    """HelmReleases by name."""
    return {i["metadata"]["name"]: i for i in platform(profile) if i["kind"] == "HelmRelease"}


def kustomizations(profile):
    """Flux Kustomizations of other projects' git repositories, by name: (Kustomization, GitRepository)."""
    sources = {i["metadata"]["name"]: i for i in platform(profile) if i["kind"] == "GitRepository"}
    return {
        item["metadata"]["name"]: (item, sources[item["spec"]["sourceRef"]["name"]])
        for item in platform(profile)
        if item["kind"] == "Kustomization" and item["spec"]["sourceRef"]["name"] in sources
    }


def version(profile, release):
    """(chart, version) of a HelmRelease."""
    chart = release["spec"].get("chart")
    if chart is not None:
        return chart["spec"]["chart"], chart["spec"]["version"]
    name = release["spec"]["chartRef"]["name"]
    (source,) = (
        i
        for i in platform(profile)
        if (i["kind"], i["metadata"]["name"]) == ("OCIRepository", name)
    )
    return source["spec"]["url"].rpartition("/")[2], source["spec"]["ref"]["tag"]


def chart_file(profile, release):
    """The chart's archive; None when it is not at hand."""
    name, tag = version(profile, release)
    return next(iter(sorted(Path(CHARTS).rglob(f"{name}-{tag}.tgz"))), None) if CHARTS else None


@cache
def rendered(profile, name):
    """The objects that a HelmRelease's chart makes of our values; None when the chart is not at hand."""
    release = releases(profile)[name]
    file = chart_file(profile, release)
    if file is None:
        return None
    spec = release["spec"]
    done = subprocess.run(
        [HELM, "template", spec["releaseName"], file, "-n", spec["targetNamespace"], "-f", "-",
         "--kube-version", "1.35.0", "--api-versions", MONITORING],
        input=json.dumps(spec.get("values", {})), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{name}: {done.stderr}"
    made = documents(done.stdout)
    for item in made:
        item["metadata"].setdefault("namespace", spec["targetNamespace"])
    return made


def git_manifests(profile, name, folder):
    """The objects of another project's manifests, our patches applied; None when its repository is not at hand."""
    kustomization, source = kustomizations(profile)[name]
    return build_from_git(kustomization["spec"], source, folder / name)


def build_from_git(spec, source, work):
    """The objects of a Flux Kustomization of a git repository; None when the repository is not at hand."""
    repository = Path(CHARTS or "/nonexistent") / "git" / f"{source['spec']['url'][8:]}.git"
    if not repository.exists():
        return None
    subprocess.run(
        ["git", "clone", "-q", "-b", source["spec"]["ref"]["tag"], repository, work],
        check=True, capture_output=True,
    )  # fmt: skip
    for file in (work / spec["path"]).parent.rglob("*.yaml"):
        if "\nkind: CustomResourceDefinition" in file.read_text():
            file.write_text(without_schemas(file.read_text()))
    over = work.with_name(f"{work.name}-patched")
    over.mkdir()
    content = {"resources": [os.path.relpath(work / spec["path"], over)]}
    (over / "kustomization.yaml").write_text(
        yaml.safe_dump({**content, **{k: spec[k] for k in ("patches", "images") if k in spec}})
    )
    return build(over)


def without_schemas(text):
    """The same objects, each CustomResourceDefinition without its schema: nothing here names what is in it, and
    kustomize takes minutes over all of them."""
    if "CustomResourceDefinition" not in text:
        return text
    short = ("apiVersion", "kind", "metadata")
    return yaml.dump_all(
        (
            {k: item[k] for k in short} if item["kind"] == "CustomResourceDefinition" else item
            for item in documents(text)
        ),
        Dumper=yaml.CSafeDumper,
    )


def knative_manifests(folder):
    """The objects of Knative's release files with our patches; None when they are not at hand."""
    source = CLUSTER / "infrastructure" / "knative"
    target = folder / "knative"
    shutil.copytree(source, target)
    listing = target / "kustomization.yaml"
    text = listing.read_text()
    for url in re.findall(r"https://\S+\.yaml", text):
        file = Path(CHARTS or "/nonexistent") / "hosts" / url.removeprefix("https://")
        if not file.exists():
            return None
        copy = target / file.name
        copy.write_text(without_schemas(file.read_text()))
        text = text.replace(url, copy.name)
    listing.write_text(text)
    return build(target)


def made_of(item):
    """What is recorded of an object."""
    metadata, spec = item["metadata"], item.get("spec") or {}
    pod = spec.get("template") or {}
    containers = (pod.get("spec") or {}).get("containers") or []
    ports = {p["containerPort"] for c in containers for p in c.get("ports") or ()}
    selector = {}
    if item["kind"] == "Service":
        ports = {int(p["port"]) for p in spec.get("ports") or ()}
        selector = {k: str(v) for k, v in (spec.get("selector") or {}).items()}
    labels = (pod.get("metadata") or {}).get("labels") or {}
    return Made(
        item["kind"], metadata.get("namespace", ""), metadata["name"],
        {k: str(v) for k, v in labels.items()}, tuple(sorted(ports)), selector,
    )  # fmt: skip


KEPT = ("Service", "Deployment", "StatefulSet", "DaemonSet", "ConfigMap")
"""Kinds that something here names."""
