"""What the tree names of other projects is what these projects make, at the versions of cluster/infrastructure/versions.

With PLATFORM_CHARTS (a folder of upstream's charts, release files and repositories) and helm, everything is rendered
anew; without, it is held against what was recorded then, and what was not looked at is told. `--update` records anew.
"""

import re
import tarfile
from urllib.parse import urlsplit

import pytest
import yaml
from cluster.platform.upstream import (
    CHARTS,
    CLUSTER,
    HELM,
    KEPT,
    KUBECTL,
    PROFILES,
    RECORD,
    Made,
    chart_file,
    documents,
    git_manifests,
    knative_manifests,
    kustomizations,
    made_of,
    platform,
    releases,
    rendered,
    version,
)

from driftloop.contract.names import GATEWAY_URL, NATS_URL, STORAGE_URL
from tests.golden.trees import tree

pytestmark = [
    pytest.mark.skipif(KUBECTL is None, reason="kubectl is not on this machine"),
    pytest.mark.timeout(600),
]

at_hand = pytest.mark.skipif(
    not (CHARTS and HELM),
    reason="not looked at: charts are not rendered anew, PLATFORM_CHARTS or helm is missing",
)
NAMES = sorted({name for profile in PROFILES for name in releases(profile)}) if KUBECTL else []


NOT_OURS = ("kube-system", "default")
"""Namespaces of the cluster itself."""
SEPARATE = {("kube-prometheus-stack", "grafana")}
"""Charts inside a chart that are fetched from another place: (chart, the one inside). Grafana is AGPL."""
MADE_LATER = (
    ("monitoring", {"app.kubernetes.io/name": "prometheus", "app.kubernetes.io/instance": "kube-prometheus-stack-prometheus"}),
    ("knative-eventing", {"messaging.knative.dev/channel": "nats-jetstream-channel", "messaging.knative.dev/role": "dispatcher"}),
)  # fmt: skip
"""Pods that a controller makes when it runs: Prometheus, and the JetStream channel's dispatcher."""


def recorded():
    return yaml.safe_load(RECORD.read_text()) if RECORD.exists() else {}


def versions(profile):
    """What the tree names: source -> version."""
    charts = {name: version(profile, each)[1] for name, each in releases(profile).items()}
    tags = {n: source["spec"]["ref"]["tag"] for n, (_, source) in kustomizations(profile).items()}
    text = (CLUSTER / "infrastructure" / "knative" / "kustomization.yaml").read_text()
    return {**charts, **tags, "knative": " ".join(re.findall(r"knative-v[\d.]+\d", text))}


@pytest.fixture(scope="session")
def upstream(tmp_path_factory, request):
    """Source -> objects that it makes: rendered where it is at hand, recorded otherwise."""
    found, keys = {}, {}
    for profile in PROFILES:
        folder = tmp_path_factory.mktemp(profile)
        sources = {name: rendered(profile, name) for name in releases(profile)} if HELM else {}
        sources |= {name: git_manifests(profile, name, folder) for name in kustomizations(profile)}
        sources["knative"] = knative_manifests(folder)
        for name, objects in sources.items():
            if objects is not None:
                kept = [made_of(item) for item in objects if item["kind"] in KEPT]
                found[name, profile] = kept
                keys[name, profile] = versions(profile)[name]
    if request.config.getoption("--update") and found:
        RECORD.write_text(dump(found, keys))
    known = recorded()
    for profile in PROFILES:
        for name, tag in versions(profile).items():
            entry = known.get(profile, {}).get(name)
            if (name, profile) not in found and entry is not None and entry["version"] == tag:
                found[name, profile] = [load(each) for each in entry["objects"]]
    return found


def dump(found, keys):
    text = {
        profile: {
            name: {
                "version": keys[name, profile],
                "objects": [
                    {k: list(v) if isinstance(v, tuple) else v for k, v in vars(each).items() if v}
                    for each in sorted(objects, key=lambda m: (m.kind, m.namespace, m.name))
                ],
            }
            for (name, p), objects in sorted(found.items())
            if p == profile
        }
        for profile in PROFILES
    }
    return "# Recorded by `pytest tests/cluster/platform --update` with PLATFORM_CHARTS. Do not edit.\n" + yaml.safe_dump(
        text, default_flow_style=None, width=160, sort_keys=False
    )  # fmt: skip


def load(entry):
    return Made(
        entry["kind"], entry.get("namespace", ""), entry["name"], entry.get("labels", {}),
        tuple(entry.get("ports", ())), entry.get("selector", {}),
    )  # fmt: skip


def everything(upstream, profile):
    """All that runs on a cluster of this profile, our own objects included."""
    own = [made_of(item) for item in platform(profile) if item["kind"] in KEPT]
    return own + [each for (_, p), made in upstream.items() if p == profile for each in made]


@pytest.mark.parametrize("profile", PROFILES)
def test_what_was_not_looked_at_is_told(upstream, profile):
    missing = sorted(set(versions(profile)) - {name for name, p in upstream if p == profile})
    if missing:
        pytest.skip(
            f"not looked at: what {', '.join(missing)} makes is neither at hand nor recorded"
        )


@at_hand
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", NAMES)
def test_every_value_is_one_that_the_chart_knows(profile, name):
    if name not in releases(profile):
        pytest.skip(f"profile {profile} has no {name}")
    file = chart_file(profile, releases(profile)[name])
    if file is None:
        pytest.skip(f"not looked at: the chart of {name} is not at hand")
    with tarfile.open(file) as archive:
        texts = {
            m.name: archive.extractfile(m).read().decode(errors="replace")
            for m in archive
            if m.isfile()
        }
    top = next(iter(texts)).partition("/")[0]
    defaults = chart_defaults(texts, top)
    templates = "".join(
        t for n, t in texts.items() if "/templates/" in n or n.endswith("values.yaml")
    )
    values = releases(profile)[name]["spec"].get("values", {})
    left_out = {
        part
        for part in values
        if (name, part) in SEPARATE and f"{top}/charts/{part}/values.yaml" not in texts
    }
    looked_at = {part: value for part, value in values.items() if part not in left_out}
    assert list(unknown(looked_at, defaults, templates)) == []
    if left_out:
        pytest.skip(
            f"not looked at: the values of {', '.join(left_out)} in {name}, its chart is missing"
        )


def chart_defaults(texts, folder):
    """The values that a chart has by default, those of the charts inside it below their names."""
    defaults = yaml.safe_load(texts[f"{folder}/values.yaml"]) or {}
    defaults |= defaults.pop("_internal_defaults_do_not_set", {})
    for path in texts:
        if re.fullmatch(rf"{re.escape(folder)}/charts/[^/]+/values\.yaml", path):
            inner = path.removesuffix("/values.yaml")
            name = inner.rpartition("/")[2]
            defaults[name] = merged(chart_defaults(texts, inner), defaults.get(name) or {})
    return defaults


def merged(under, over):
    """`over` wins, mapping by mapping."""
    both = {
        k: merged(under[k], over[k]) for k in under.keys() & over.keys() if dicts(under[k], over[k])
    }
    return {**under, **over, **both}


def dicts(*values):
    return all(isinstance(value, dict) for value in values)


def unknown(values, defaults, templates, path=()):
    """Paths of values that a chart has no default for and whose templates don't read them. What is empty by default
    takes anything."""
    for key, value in values.items():
        here = (*path, key)
        if key not in defaults:
            whole = rf"(toYaml|merge|mustMergeOverwrite)\s[^}}]*\.Values\.{'.'.join(path)}(?![.\w])"
            if path and re.search(whole, templates):
                continue
            if not re.search(rf"\.{'.'.join(map(re.escape, here[-2:]))}\b", templates):
                yield ".".join(here)
        elif isinstance(value, dict) and isinstance(defaults[key], dict) and defaults[key]:
            yield from unknown(value, defaults[key], templates, here)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("url", [STORAGE_URL, NATS_URL, GATEWAY_URL])
def test_every_address_of_the_settings_is_a_service_with_pods(upstream, profile, url):
    parts = urlsplit(url)
    name, namespace, *_ = parts.hostname.split(".")
    made = everything(upstream, profile)
    services = [m for m in made if (m.kind, m.namespace, m.name) == ("Service", namespace, name)]
    assert services, f"no Service {namespace}/{name}"
    assert (parts.port or 80) in services[0].ports
    pods = [m for m in made if m.labels and m.namespace == namespace]
    assert any(services[0].selector.items() <= pod.labels.items() for pod in pods)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_policy_names_pods_that_exist(upstream, profile):
    """NetworkPolicies of the platform and of rendered pipelines, as far as they name the platform's namespaces."""
    made = everything(upstream, profile)
    homes = {m.namespace for m in made}
    policies = [item for item in platform(profile) if item["kind"] == "NetworkPolicy"]
    for golden in ("plain-shadow", "digits-released"):
        for text in (t for p, t in tree(golden).items() if p.endswith(".networkpolicy.yaml")):
            policies += documents(text)
    assert policies
    for policy in policies:
        for peer in peers(policy):
            selected = (peer.get("namespaceSelector") or {}).get("matchLabels") or {}
            home = selected.get("kubernetes.io/metadata.name")
            if home is None or home in NOT_OURS or (profile, home) == ("lite", "monitoring"):
                continue
            assert home in homes, f"{policy['metadata']['name']} names {home}"
            labels = (peer.get("podSelector") or {}).get("matchLabels") or {}
            pods = [m.labels for m in made if m.namespace == home and m.labels]
            pods += [labels for place, labels in MADE_LATER if place == home]
            assert any(labels.items() <= pod.items() for pod in pods), (
                f"{policy['metadata']['name']}: no pod of {home} has {labels}"
            )


def peers(policy):
    for rules, side in (("ingress", "from"), ("egress", "to")):
        for rule in policy["spec"].get(rules) or ():
            yield from rule.get(side) or ()


def test_every_pod_monitor_of_the_platform_finds_its_pods(upstream):
    made = everything(upstream, "standard")
    seen = 0
    for monitor in (i for i in platform("standard") if i["kind"] == "PodMonitor"):
        for home in monitor["spec"]["namespaceSelector"].get("matchNames", ()):
            labels = monitor["spec"]["selector"]["matchLabels"]
            seen += 1
            assert any(m.namespace == home and labels.items() <= m.labels.items() for m in made), (
                monitor["metadata"]["name"]
            )
    assert seen


@pytest.mark.parametrize("profile", PROFILES)
def test_every_patch_of_another_projects_objects_finds_its_target(upstream, profile):
    """kustomize says nothing of a target that matches no object."""
    wanted = []
    for name, (item, _) in kustomizations(profile).items():
        wanted += [(name, patch["target"]) for patch in item["spec"].get("patches") or ()]
    file = yaml.safe_load(
        (CLUSTER / "infrastructure" / "knative" / "kustomization.yaml").read_text()
    )
    for patch in file["patches"]:
        if "path" in patch:
            (about,) = documents(
                (CLUSTER / "infrastructure" / "knative" / patch["path"]).read_text()
            )
            wanted.append(("knative", {"kind": about["kind"], "name": about["metadata"]["name"]}))
        elif patch["target"].get("name"):
            wanted.append(("knative", patch["target"]))
    looked = 0
    for source, target in wanted:
        if (source, profile) not in upstream or target["kind"] not in KEPT:
            continue
        there = {m.name for m in upstream[source, profile] if m.kind == target["kind"]}
        for name in target["name"].split("|"):
            looked += 1
            assert name in there, f"{source} makes no {target['kind']} {name}"
    assert looked


@at_hand
def test_knative_builds_from_upstreams_release_files(tmp_path):
    objects = knative_manifests(tmp_path)
    if objects is None:
        pytest.skip("not looked at: Knative's release files are not at hand")
    names = {(item["kind"], item["metadata"]["name"]) for item in objects}
    assert ("Deployment", "jetstream-ch-controller") in names
    # ours has the password, and is applied by a Kustomization of its own
    assert ("ConfigMap", "config-nats") not in names
