"""What is rendered for Seldon's operator does there what it says: graphs, servers, autoscaling, a rollout."""

import itertools
import json
import os
import re
import subprocess
import threading
import time
import urllib.error
from collections import Counter
from contextlib import contextmanager, suppress
from urllib.request import Request, urlopen

import pytest
import yaml
from cluster.forms.place import BUCKET, ROOT, N, release
from cluster.git_server import serving
from cluster.kube import node_facing_address
from cluster.live import missing
from cluster.world import release_of, weights_of
from uv import find_uv_bin

from driftloop.render import render_tree

GRAPH = "ghcr.io/driftloop/test-graph:1"
TENSOR = {"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [2]}
FIRST, SECOND = "r00000001", "r00000002"
AROUND = {"image": "around", "resources": {"cpu": "50m", "memory": "128Mi"}}
SKLEARN = os.environ.get("CLUSTER_TEST_SKLEARN", "1.5.2")
"""What the images have that `seldon-config` names: a model of another version they may not read."""
LINE = """
import pathlib, sys
import joblib
from sklearn.linear_model import LinearRegression
file = pathlib.Path(sys.argv[1])
joblib.dump(LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0]), file)
"""


@pytest.fixture(autouse=True, scope="module")
def _operator():
    reason = missing(("seldondeployments.machinelearning.seldon.io",))
    if reason is not None:
        pytest.skip(reason)


class Serving:
    """A pipeline's SeldonDeployment, as rendered for one state of its release."""

    def __init__(self, here, name, serve, **spec):
        self.here, self.name = here, name
        self._parts = {
            "serve": {"backend": "seldon", "resources": {"cpu": "50m", "memory": "256Mi"}, **serve},
            **spec,
        }

    @property
    def parts(self):
        """What the spec says besides what every one here does."""
        return json.loads(json.dumps(self._parts))

    @property
    def spec(self):
        """The whole spec."""
        return self.here.spec(self.name, **self.parts)

    def apply(self, weights, *, shadow=None, previous=None):
        """Commit these weights, by hand; returns once the operator says that it serves them."""
        here, name = self.here, self.name
        committed = release(name, weights, shadow, previous=previous, digest=here.model_digest)
        objects = here.render(name, release=committed, **self.parts)
        kinds = ("Namespace", "SeldonDeployment", "PodDisruptionBudget", "VirtualService")
        for (kind, _), one in objects.items():
            if kind in kinds:
                here.apply(one)
        if ("VirtualService", f"{name}-mirror") not in objects:
            # as Flux prunes what a commit does not have any more
            here.kube.run(
                "-n", N, "delete", "virtualservice", f"{name}-mirror", "--ignore-not-found"
            )
        wanted = here.kube.get("sdep", name, N)["metadata"]["generation"]
        here.kube.wait(
            f"{name} serves {weights}",
            lambda: (
                self.status().get("state") == "Available"
                and self.replicated(weights, shadow, previous)
            ),
            timeout=300,
        )
        assert here.kube.get("sdep", name, N)["metadata"]["generation"] == wanted

    def status(self):
        return self.here.kube.get("sdep", self.name, N).get("status") or {}

    def replicated(self, weights, *others):
        """Whether a pod of each version is ready."""
        ready = {pod["metadata"]["labels"]["seldon-app"] for pod in self.pods() if is_ready(pod)}
        return ready == {f"{self.name}-{id}" for id in (*weights, *filter(None, others))}

    def pods(self):
        found = self.here.kube.get("pod", namespace=N)
        ours = [
            p
            for p in found
            if p["metadata"].get("labels", {}).get("seldon-deployment-id") == self.name
        ]
        return [p for p in ours if "deletionTimestamp" not in p["metadata"]]

    def ask(self, version, body, *, path="api/v1.0/predictions"):
        """What the executor of one version answers."""
        address = self.here.kube.address(N, f"{self.name}-{version}", 8000)
        return post(f"http://{address}/{path}", body)

    def routes(self):
        """What the gateway is told: {version: weight} and who gets a copy."""
        ours = self.here.kube.get("virtualservice", f"{self.name}-mirror", N)
        operators = self.here.kube.get("virtualservice", self.name, N)
        if operators is None:
            return None
        http = ours["spec"]["http"][0] if ours else {}
        assert not ours or weights_of(self.name, http) == self.operated(operators)
        return self.operated(operators), release_of(self.name, http["mirror"]) if ours else None

    def operated(self, route):
        (http,) = (
            one
            for one in route["spec"]["http"]
            if any("prefix" in match.get("uri", {}) for match in one.get("match", ()))
        )
        assert "mirror" not in http
        return weights_of(self.name, http)

    def predicted(self, version):
        """How many predictions a version has answered, copies included."""
        address = self.here.kube.address(N, f"{self.name}-{version}", 8000)
        with urlopen(f"http://{address}/prometheus", timeout=20) as answer:
            lines = re.findall(
                r'^seldon_api_executor_server_requests_seconds_count\{.*service="predictions".*\} (\d+)$',
                answer.read().decode(),
                re.MULTILINE,
            )
        return sum(map(int, lines))

    def remove(self):
        self.here.kube.run(
            "-n",
            N,
            "delete",
            "sdep,pdb,virtualservice",
            "-l",
            f"app.kubernetes.io/name={self.name}",
            "--wait=true",
        )
        self.here.kube.wait("its pods are gone", lambda: not self.pods(), timeout=120)


def post(url, body):
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=20) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        pytest.fail(f"{url}: {error.code} {error.read().decode()[:500]}")


def is_ready(pod):
    return any(
        c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ())
    )


def image(**more):
    return {"images": {"trainer": {"ref": GRAPH}, "server": {"ref": GRAPH}, **more}}


def numbers(answer):
    return answer["data"]["ndarray"]


@contextmanager
def gateway(here):
    """`host:port` of the gateway; its Gateway is made where the platform's is not there."""
    if here.kube.get("service", "istio-ingressgateway", "istio-system") is None:
        pytest.skip("the cluster has no gateway")
    made = here.kube.get("gateway.networking.istio.io", "seldon-gateway", "istio-system") is None
    file = ROOT / "cluster" / "infrastructure" / "configs" / "seldon-gateway.gateway.yaml"
    if made:
        here.kube.run("apply", "-f", str(file))
    try:
        yield here.kube.address("istio-system", "istio-ingressgateway", 80)
    finally:
        if made:
            here.kube.run("delete", "-f", str(file))


@contextmanager
def callers(address, name, body, *, number=2, pause=0.02):
    """Predictions through the gateway without a break: (time, what was answered or went wrong)."""
    url = f"http://{address}/seldon/{N}/{name}/api/v1.0/predictions"
    over, heard = threading.Event(), []

    def ask():
        while not over.wait(pause):
            try:
                request = Request(
                    url, json.dumps(body).encode(), {"Content-Type": "application/json"}
                )
                with urlopen(request, timeout=20) as answer:
                    told = numbers(json.load(answer))[0][0]
            except urllib.error.HTTPError as error:
                told = f"{error.code} {error.read()[:100]!r}"
            except OSError as error:
                told = repr(error)
            heard.append((time.time(), told))

    threads = [threading.Thread(target=ask) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield heard
    finally:
        over.set()
        for thread in threads:
            thread.join(30)


@pytest.mark.timeout(1200)
def test_a_rollout_keeps_all_pods_and_no_request_fails_in_any_of_its_ways(here):
    for id, factor in ((FIRST, "2"), (SECOND, "3")):
        here.put(f"walk/{id}", factor=factor)
    it = Serving(here, "walk", {"model": "nodes.Times"}, **image())
    body = {"data": {"ndarray": [[20.0]]}}

    def serves(weights, shadow=None):
        it.apply(weights, shadow=shadow)
        here.kube.wait(
            f"the gateway is told {weights}, mirror {shadow}",
            lambda: it.routes() == (weights, shadow),
            timeout=60,
        )
        time.sleep(2)
        return {
            pod["metadata"]["labels"]["seldon-app"]: pod["metadata"]["name"] for pod in it.pods()
        }

    try:
        with gateway(here) as address:
            production = serves({FIRST: 100})
            assert numbers(it.ask(FIRST, body)) == [[40.0]]
            with callers(address, "walk", body) as heard:
                here.kube.wait("the gateway answers", lambda: 40.0 in [t for _, t in heard])
                del heard[:]
                rejected = serves({FIRST: 100}, SECOND)
                assert rejected.items() >= production.items()
                assert serves({FIRST: 100}) == production, "a candidate rejected in shadow"

                shadow = serves({FIRST: 100}, SECOND)
                before, start = it.predicted(SECOND), len(heard)
                here.kube.wait("50 answers", lambda: len(heard) > start + 50)
                assert it.predicted(SECOND) - before >= 40, "the candidate gets copies"
                assert {told for _, told in heard} == {40.0}, Counter(told for _, told in heard)
                canary = serves({FIRST: 80, SECOND: 20})
                assert canary == shadow, "from shadow to canary no pod is replaced"
                assert serves({FIRST: 50, SECOND: 50}) == shadow
                start = len(heard)
                here.kube.wait("50 answers", lambda: len(heard) > start + 50)
                assert {told for _, told in heard[start:]} == {40.0, 60.0}
                promoted = serves({SECOND: 100})
                assert shadow.items() > promoted.items(), "what was tested is what serves"
                start = len(heard)
                here.kube.wait("20 answers", lambda: len(heard) > start + 20)
                assert {told for _, told in heard[start:]} == {60.0}

                again = time.time()
                assert serves({FIRST: 100}).keys() == production.keys()
                start = len(heard)
                here.kube.wait("20 answers", lambda: len(heard) > start + 20)
                assert {told for _, told in heard[start:]} == {40.0}
                back = next(at for at, told in heard if at > again and told == 40.0)
                print(
                    f"a predictor that started anew answered {back - again:.0f} s after the commit"
                )
            said = Counter(told for _, told in heard)
            print(f"answers through the gateway: {dict(said)}")
            assert said.keys() == {40.0, 60.0}, [
                (f"{at:.2f}", told) for at, told in heard if told not in (40.0, 60.0)
            ]
    finally:
        it.remove()


@pytest.mark.timeout(1200)
def test_a_kept_previous_version_answers_at_once_after_a_revert(here):
    for id, factor in ((FIRST, "2"), (SECOND, "3")):
        here.put(f"kept/{id}", factor=factor)
    it = Serving(here, "kept", {"model": "nodes.Times"}, rollout={"keepPrevious": True}, **image())
    body = {"data": {"ndarray": [[20.0]]}}
    try:
        with gateway(here) as address:
            it.apply({FIRST: 100})
            with callers(address, "kept", body) as heard:
                here.kube.wait("the gateway answers", lambda: 40.0 in [t for _, t in heard])
                del heard[:]
                it.apply({FIRST: 100}, shadow=SECOND)
                pods = {pod["metadata"]["name"] for pod in it.pods()}
                it.apply({SECOND: 100}, previous=FIRST)
                here.kube.wait("the new model answers", lambda: heard[-1][1] == 60.0)
                assert {pod["metadata"]["name"] for pod in it.pods()} == pods
                reverted = time.time()
                it.apply({FIRST: 100})
                here.kube.wait("the old model answers", lambda: heard[-1][1] == 40.0)
            back = next(at for at, told in heard if at > reverted and told == 40.0) - reverted
            print(f"the kept model answered {back:.1f} s after the commit")
            said = Counter(told for _, told in heard)
            assert said.keys() == {40.0, 60.0}, said
            assert back < 20
    finally:
        it.remove()


def test_flux_waits_until_the_operator_serves_what_was_committed(here):
    for id, factor in ((FIRST, "2"), (SECOND, "3")):
        here.put(f"told/{id}", factor=factor)
    it = Serving(here, "told", {"model": "nodes.Times"}, **image())
    try:
        with followed(here, it) as commit:
            for id in (FIRST, SECOND):
                commit({id: 100})
                assert it.replicated({id: 100}), "as soon as Flux says that it is ready"
                assert it.routes() == ({id: 100}, None)
    finally:
        it.remove()


@contextmanager
def followed(here, it):
    """Flux applies what the yielded function commits of a pipeline's `deployments`, which returns when it is ready."""
    work, bare, name = here.folder / "work", here.folder / "git" / "forms.git", "driftloop-forms"
    secret = {"username": "flux", "password": "reads"}
    people = {"user": "bot", "password": "writes", "reader": "flux", "reader_password": "reads"}

    def git(*args):
        identity = ("-c", "user.name=forms", "-c", "user.email=forms@cluster.test")
        command = ["git", *identity, "-C", str(work), *args]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(weights):
        files = render_tree(
            json.dumps(it.spec), release(it.name, weights, digest=here.model_digest)
        )
        (own,) = (
            file
            for path, text in files.items()
            for file in yaml.safe_load_all(text)
            if is_ours(file)
        )
        for path, text in files.items():
            if path.startswith(own["spec"]["path"].removeprefix("./") + "/"):
                (work / path).parent.mkdir(parents=True, exist_ok=True)
                (work / path).write_text(text)
        git("add", "-A")
        git("commit", "-q", "-m", f"Serve {weights}")
        git("push", "-q", str(bare), "main")
        own["spec"].pop("dependsOn")
        own["metadata"]["name"] = own["spec"]["sourceRef"]["name"] = name
        here.kube.run("apply", "-f", "-", stdin=yaml.safe_dump(own))
        tip = git("rev-parse", "HEAD")
        here.kube.wait(
            f"Flux says {weights} is ready",
            lambda: here.kube.ready("kustomization", name) and tip in applied(),
            timeout=300,
            every=0.3,
        )

    def is_ours(file):
        return (
            file["kind"] == "Kustomization"
            and file.get("metadata", {}).get("name") == f"{it.name}-deployments"
        )

    def applied():
        return here.kube.get("kustomization", name, "flux-system")["status"].get(
            "lastAppliedRevision", ""
        )

    bare.parent.mkdir()
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(bare)], check=True)
    subprocess.run(["git", "init", "-q", "-b", "main", str(work)], check=True)
    here.apply(*(o for o in here.render(it.name, **it.parts).values() if o["kind"] == "Namespace"))
    with serving(bare.parent, port=0, **people) as port:
        source = {
            "interval": "1s",
            "url": f"http://{node_facing_address()}:{port}/forms.git",
            "ref": {"branch": "main"},
            "secretRef": {"name": name},
        }
        objects = (
            {"apiVersion": "v1", "kind": "Secret", "stringData": secret},
            {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "spec": source},
        )
        for one in objects:
            one["metadata"] = {"name": name, "namespace": "flux-system"}
        here.kube.run("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))
        try:
            yield commit
        finally:
            kinds = f"kustomization/{name}", f"gitrepository/{name}", f"secret/{name}"
            here.kube.run(
                "-n", "flux-system", "delete", *kinds, "--ignore-not-found", "--timeout=120s"
            )


def test_a_graph_asks_each_of_its_nodes(here):
    here.put(f"graph/{FIRST}", factor="3")
    here.put("scales/1", by="10")
    graph = {
        "type": "transformer", "name": "scale", "class": "nodes.Scale", "uri": "s3://driftloop/scales/1", **AROUND,
        "children": [
            {
                "type": "combiner", "name": "vote", "class": "nodes.Mean", **AROUND,
                "children": [{"type": "released"}, {"type": "model", "name": "rules", "class": "nodes.Plus", **AROUND}],
            }
        ],
    }  # fmt: skip
    it = Serving(
        here, "graph", {"model": "nodes.Times", "graph": graph}, **image(around={"ref": GRAPH})
    )
    try:
        it.apply({FIRST: 100})
        # 20 / 10 = 2; the model says 2 * 3, the rules 2 + 100, and the vote is their mean
        assert numbers(it.ask(FIRST, {"data": {"ndarray": [[20.0]]}})) == [[54.0]]
    finally:
        it.remove()


def test_a_changed_graph_starts_beside_what_answers(here):
    here.put(f"grown/{FIRST}", factor="3")
    children = [
        {"type": "released"},
        {"type": "model", "name": "rules", "class": "nodes.Plus", **AROUND},
    ]
    more = {"type": "model", "name": "twice", "class": "nodes.Plus", **AROUND}
    its = [
        Serving(
            here, "grown", {"model": "nodes.Times", "graph": graph}, **image(around={"ref": GRAPH})
        )
        for graph in (
            {
                "type": "combiner",
                "name": "vote",
                "class": "nodes.Mean",
                **AROUND,
                "children": children,
            },
            {
                "type": "combiner",
                "name": "vote",
                "class": "nodes.Mean",
                **AROUND,
                "children": [*children, more],
            },
        )
    ]
    over, answers = threading.Event(), []

    def ask():
        while not over.wait(0.2):
            with suppress(OSError, pytest.fail.Exception):
                answer = its[0].ask(FIRST, {"data": {"ndarray": [[2.0]]}})
                answers.append((time.monotonic(), numbers(answer)))

    thread = threading.Thread(target=ask)
    try:
        its[0].apply({FIRST: 100})
        thread.start()
        its[1].apply({FIRST: 100})
        # the mean of 6, 102 and 102, where before it was that of 6 and 102
        here.kube.wait(
            "the new graph answers",
            lambda: len(answers) > 5 and all(said == [[70.0]] for _, said in answers[-5:]),
            timeout=240,
        )
        assert answers[0][1] == [[54.0]]
    finally:
        over.set()
        thread.join(30)
        its[0].remove()
    gap = max(later - earlier for (earlier, _), (later, _) in itertools.pairwise(answers))
    print(f"longest time without an answer: {gap:.1f} s of {answers[-1][0] - answers[0][0]:.0f}")
    assert gap < 10, "a pod of this takes longer to start"


def test_a_router_asks_one_of_its_nodes(here):
    here.put(f"switch/{FIRST}", factor="3")
    graph = {
        "type": "router", "name": "sign", "class": "nodes.Sign", **AROUND,
        "children": [{"type": "released"}, {"type": "model", "name": "rules", "class": "nodes.Plus", **AROUND}],
    }  # fmt: skip
    it = Serving(
        here, "switch", {"model": "nodes.Times", "graph": graph}, **image(around={"ref": GRAPH})
    )
    try:
        it.apply({FIRST: 100})
        assert numbers(it.ask(FIRST, {"data": {"ndarray": [[20.0]]}})) == [[60.0]]
        assert numbers(it.ask(FIRST, {"data": {"ndarray": [[-20.0]]}})) == [[80.0]]
    finally:
        it.remove()


def test_the_operators_autoscaler_keeps_the_least_and_our_budget_counts_its_pods(here):
    here.put(f"scaled/{FIRST}", factor="2")
    it = Serving(
        here, "scaled", {"model": "nodes.Times", "autoscale": {"min": 2, "max": 3}}, **image()
    )
    try:
        it.apply({FIRST: 100})
        here.kube.wait("two pods", lambda: sum(map(is_ready, it.pods())) == 2, timeout=180)
        (scaler,) = (
            h
            for h in here.kube.get("hpa", namespace=N)
            if h["metadata"]["name"].startswith("scaled-")
        )
        assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, 3)
        budget = here.kube.wait(
            "the budget counts them",
            lambda: (
                (found := here.kube.get("pdb", f"scaled-{FIRST}", N)["status"]).get("expectedPods")
                == 2
                and found
            ),
            timeout=60,
        )
        assert budget["disruptionsAllowed"] == 1
    finally:
        it.remove()


@pytest.mark.parametrize(
    ("protocol", "serve", "path", "asked"),
    [
        ("seldon", {"method": "predict"}, "api/v1.0/predictions", {"data": {"ndarray": [[2.0]]}}),
        ("v2", {}, "v2/models/model/infer", {"inputs": [TENSOR]}),
    ],
    ids=["seldon", "v2"],
)  # fmt: skip
def test_a_server_that_the_operator_brings_answers(here, tmp_path, protocol, serve, path, asked):
    name = f"line-{protocol}"
    model = tmp_path / "model.joblib"
    needs = ("--with", f"scikit-learn=={SKLEARN}", "--with", "numpy<2")
    command = [find_uv_bin(), "run", "-q", "--no-project", *needs, "python", "-c", LINE, str(model)]
    subprocess.run(command, check=True)
    here.store.put_file(model, BUCKET / f"{name}/{FIRST}" / "model.joblib")
    it = Serving(here, name, {"server": "sklearn", "protocol": protocol, **serve})
    try:
        it.apply({FIRST: 100})
        answer = it.ask(FIRST, asked, path=path)
        found = numbers(answer) if protocol == "seldon" else answer["outputs"][0]["data"]
        assert found == pytest.approx([5.0])
    finally:
        it.remove()
