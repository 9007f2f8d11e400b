"""From an empty folder and an empty cluster to a promotion after drift, with the wheel and nothing else."""

import json
import time
from urllib.request import Request, urlopen

import yaml
from cluster.guided import wipe_cluster
from cluster.registry import HOST, let_node_pull
from cluster.wheel.fleet import LOOP, PASSWORD, USER

SECRET, TOLD = "acme-registry", "pager-address"
"""Secrets that images are pulled with, and that hold the address of who is told."""
CERTIFICATE = (
    "/api/v1/namespaces/kube-system/services/http:sealed-secrets-controller:8080/proxy/v1/cert.pem"
)


def test_the_wheel_alone_writes_the_platform_of_a_repository_laid_out_otherwise(it):
    it.install()
    it.lay_out()
    said = it.types(
        f"driftloop platform init fleet --cluster staging --path clusters/staging --registry {LOOP}"
    )
    assert "--path=clusters/staging" in said
    write_pull_secret(it)
    it.types("driftloop validate fleet")
    it.push("Lay out staging")


def write_pull_secret(it, **settings):
    """Name the Secret that images are pulled with in the platform file, and what else it is to say; the registry
    there."""
    file = it.home / "fleet" / "driftloop" / it.cluster / "platform.yaml"
    document = yaml.safe_load(file.read_text())
    document["spec"]["images"]["pullSecrets"] = [SECRET]
    document["spec"] |= settings
    file.write_text(yaml.safe_dump(document))
    return document["spec"]["images"]["registry"]


def test_images_are_built_of_the_wheel_and_pushed_with_a_password(it):
    it.begin_project()
    it.types(f"buildah login --tls-verify=false -u {USER} -p {PASSWORD} {HOST}")
    said = it.types(
        f"driftloop validate pipeline.yaml\n"
        f"driftloop build --platform --push --registry {LOOP} --tool buildah -- "
        "--layers --isolation chroot --network host -v /etc/pip.conf:/etc/pip.conf:ro",
        cwd=it.home / it.name,
    )
    assert said.count("@sha256:") == 7
    assert it.refused, "the registry asks for a password"


def test_flux_brings_staging_up(it):
    bring_up(it)


def bring_up(it):
    """Steps 3 to 5 of the guide on an empty cluster, for the cluster that is meant."""
    wipe_cluster(it)
    let_node_pull()
    started = time.monotonic()
    it.types(
        f"flux bootstrap git --allow-insecure-http --url=$GIT_URL --username=$GIT_USERNAME --password=$GIT_PASSWORD "
        f"--token-auth --branch=main --path=clusters/{it.cluster} --silent\n"
        "git -C fleet pull -q --rebase\n"
        "kubectl -n flux-system wait kustomization/infra-base --for=create --timeout=5m\n"
        "kubectl -n flux-system wait kustomization/infra-base --for=condition=Ready --timeout=10m"
    )
    it.say(f"Flux, certificates and CRDs are ready after {time.monotonic() - started:.0f} s")
    key = it.home / f"{it.cluster}.agekey"
    if key.exists():
        certificate, kind, seal = (
            "",
            "secret",
            f"driftloop seal --cluster {it.cluster} --into fleet",
        )
        it.types(
            f"kubectl -n flux-system create secret generic sops-age --from-file=identity.agekey={key}\n"
            f"kubectl -n flux-system create secret generic {TOLD} --from-literal=address={it.listener.address}"
        )
    else:
        it.types(f"kubectl get --raw {CERTIFICATE} > {it.cluster}.pem")
        certificate, kind = f"--cert {it.cluster}.pem", "sealedsecret"
        seal = f"driftloop seal {certificate}"
    it.types(
        f"driftloop secrets init --cluster {it.cluster} --namespace {it.name} {certificate} --git-url $GIT_URL --into fleet\n"
        f"kubectl create secret docker-registry {SECRET} -n {it.name} --docker-server={HOST} --docker-username={USER}"
        f" --docker-password={PASSWORD} --dry-run=client -o yaml | {seal}"
        f" > fleet/driftloop/{it.cluster}/platform/{it.name}/{SECRET}.{kind}.yaml"
    )
    listing = it.home / f"fleet/driftloop/{it.cluster}/platform/{it.name}/kustomization.yaml"
    document = yaml.safe_load(listing.read_text())
    document["resources"].append(f"{SECRET}.{kind}.yaml")
    listing.write_text(yaml.safe_dump(document))
    it.push(f"Let {it.name} reach the platform of {it.cluster}")
    it.types(
        "kubectl -n flux-system wait kustomization/infra-configs --for=condition=Ready --timeout=20m"
    )
    it.say(f"the platform is ready after {time.monotonic() - started:.0f} s")
    assert it.kube.get("configmap", "of-another-team", "default")["data"] == {"kept": "yes"}


def test_the_pipeline_is_committed_and_applied(it):
    it.types(
        f"driftloop commit {it.name}/pipeline.yaml --repository $GIT_URL --cluster {it.cluster} "
    )
    it.ready(it.pipeline, timeout=600)
    it.types("driftloop doctor --platform fleet/driftloop/staging/platform.yaml || true")


def test_the_first_release(it):
    it.batch("known", 1, 600)
    it.types(f"driftloop trigger {it.name} --cluster --wait", timeout=1500)
    first = it.release()["production"]
    it.remember(first=first["id"])
    it.say(f"{first['id']} is production: {first['metrics']}")
    it.ready(it.pipeline, timeout=300)
    it.answers(timeout=180)
    row = json.dumps(dict(zip(it.names, [39.1, 18.7, 181, 3750, "Torgersen", None], strict=True)))
    said = it.types(
        f"driftloop predict {it.name} --cluster --repository $GIT_URL --on {it.cluster} --row '{row}'"
    )
    assert "Adelie" in said
    it.traffic.turn("known")
    answers = it.answered(200)
    it.traffic.pause()
    assert sum(answer.right for answer in answers) >= 0.9 * len(answers)


def ask_first(it, number):
    """The scores of the first rows of each kind, asked one by one, without an event."""
    address = it.kube.address("istio-system", "istio-ingressgateway", 80)
    url = f"http://{address}/seldon/{it.name}/{it.name}/api/v1.0/predictions"
    headers = {"Content-Type": "application/json", "Seldon-Skip-Logging": "true"}
    found = []
    for kind in it.kinds:
        for row, _ in it.rows(kind)[:number]:
            body = json.dumps({"data": {"names": it.names, "ndarray": [row]}}).encode()
            with urlopen(Request(url, body, headers), timeout=30) as answer:
                found.append(json.load(answer)["data"]["ndarray"][0])
    return found
