"""A cluster repository with the digits example in it, served to Flux as `flux bootstrap` would have set it up."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import yaml
from cluster.git_server import serving
from cluster.kube import Kube, node_facing_address
from cluster.streams import Streams
from cluster.traffic import Traffic
from uv import find_uv_bin

from driftloop.clients.s3 import ObjectStore, StoreLocation, parse_location

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "digits"
STAND_IN = Path(__file__).parent / "stand_in"
N = P = "digits"
PIPELINE = (f"{P}-workflows", f"{P}-deployments", f"{P}-monitors")
ENDED = ("Succeeded", "Failed", "Error")
RATE = 8
"""Requests a second: what two busy cores answer beside everything else."""
BACKEND = os.environ.get("CLUSTER_TEST_BACKEND", "plain")
"""`plain`, or `seldon` where Seldon's operator runs."""
SPEC = {"plain": "plain.yaml", "seldon": "pipeline.yaml"}[BACKEND]
"""File of the example with this back end."""


class World:
    """The repository, the cluster, and a timeline of what was done and seen."""

    name = N
    """Of the pipeline, and of its namespace."""
    trees = ""
    """Folder of the cluster's trees in the repository, with its slash."""
    program = (sys.executable, "-m", "driftloop.cli")
    """How `driftloop` is called."""
    names = None
    """Of columns, as requests carry them."""
    kinds = ("clean", "rotated")
    """Of rows: as they have always been, and as drift has them."""

    def __init__(self, folder, port, passwords):
        self.kube = Kube()
        self.folder = folder
        self.passwords = passwords
        self.url = f"http://{node_facing_address()}:{port}/cluster.git"
        self.bare = folder / "git" / "cluster.git"
        self.started = time.monotonic()
        self.timeline = folder / "timeline.txt"
        self._traffic = None

    def say(self, text):
        line = f"{time.monotonic() - self.started:7.1f} s  {text}"
        print(line, flush=True)
        with self.timeline.open("a") as file:
            file.write(line + "\n")

    def git(self, *args, cwd=None):
        identity = ("-c", "user.name=platform", "-c", "user.email=platform@cluster.test")
        command = ["git", *identity, *(() if cwd else ("--git-dir", str(self.bare))), *args]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=cwd
        ).stdout.strip()

    def driftloop(self, *args, stdin="", **env):
        """What the command prints; what it says besides is told to the timeline."""
        command = [*self.program, *map(str, args)]
        result = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=self.environment(**env),
        )
        for line in result.stderr.splitlines():
            self.say(f"  driftloop {args[0]}: {line}")
        assert result.returncode == 0, f"driftloop {' '.join(map(str, args))}: {result.stderr}"
        return result.stdout

    def environment(self, **more):
        """Variables of a command: git's credential is the bot's."""
        return {
            **os.environ,
            "DRIFTLOOP_GIT_USERNAME": "bot",
            "DRIFTLOOP_GIT_PASSWORD": self.passwords["bot"],
            **more,
        }

    def tip(self):
        return self.git("rev-parse", "main")

    def file(self, path, revision="main"):
        return self.git("show", f"{revision}:{path}")

    def release(self, revision="main"):
        path = f"{self.trees}deployments/{self.name}/release.yaml"
        return yaml.safe_load(self.file(path, revision))["spec"]

    @property
    def pipeline(self):
        """The pipeline's Kustomizations."""
        return tuple(f"{self.name}-{tree}" for tree in ("workflows", "deployments", "monitors"))

    def lay_out(self):
        """The repository as a platform engineer commits it once, before any pipeline."""
        work = self.folder / "work"
        self.git("init", "-q", "--bare", "-b", "main", self.bare, cwd=self.folder)
        self.git("init", "-q", "-b", "main", work, cwd=self.folder)
        shutil.copytree(ROOT / "cluster" / "infrastructure", work / "cluster" / "infrastructure")
        for part in ("base", "store"):
            shutil.copytree(STAND_IN / part, work / "cluster" / "stand_in" / part)
        (work / "cluster" / "stand_in" / "store" / "argo.configmap.yaml").write_text(
            yaml.safe_dump(argo_settings())
        )
        (work / "cluster" / "dev").mkdir()
        shutil.copy(STAND_IN / "infrastructure.yaml", work / "cluster" / "dev")
        certificate = self.folder / "cluster.pem"
        certificate.write_text(self.certificate())
        self.driftloop(
            "secrets", "init", "--namespace", self.name, "--cert", certificate, "--git-url", self.url, "--into", work
        )  # fmt: skip
        self.git("add", "-A", cwd=work)
        self.git("commit", "-q", "-m", "Lay out the cluster", cwd=work)
        self.git("push", "-q", str(self.bare), "main", cwd=work)
        shutil.rmtree(work)

    def spec(self):
        """The example with short waits; both trials fit beside the platform on 2 CPU."""
        text = (EXAMPLE / SPEC).read_text()
        for known, number, wanted in (
            (
                '    run: "train:train"\n',
                1,
                '    run: "train:train"\n    resources: {cpu: 300m, memory: 1Gi}\n',
            ),
            ("window: 200", 2, "window: 100"),
            (
                "steps: [10, 50], every: 5s, requests: 25",
                1,
                "steps: [20, 50], every: 5s, requests: 40",
            ),
            ("p99: 500ms", 1, "p99: 2s"),
        ):
            assert text.count(known) == number, known
            text = text.replace(known, wanted)
        project = self.folder / "project"
        if not project.exists():
            for part in ("trainer", "server"):
                shutil.copytree(EXAMPLE / part, project / part)
        file = project / "pipeline.yaml"
        file.write_text(text)
        return file

    def commit(self, spec):
        """Commit a spec as who means it, also where it watches less than before."""
        self.driftloop("commit", spec, "--repository", self.url, "--allow", "detector-removed")

    def certificate(self):
        """The Sealed Secrets controller's newest, by the way `kubeseal --fetch-cert` takes."""
        path = "/api/v1/namespaces/kube-system/services/http:sealed-secrets-controller:8080/proxy/v1/cert.pem"
        return self.kube.run("get", "--raw", path)

    def bootstrap(self):
        """What `flux bootstrap` leaves in a cluster: a source that can only read, a Kustomization on cluster/dev."""
        objects = [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "flux-system", "namespace": "flux-system"},
                "stringData": {"username": "flux", "password": self.passwords["flux"]},
            },
            {
                "apiVersion": "source.toolkit.fluxcd.io/v1",
                "kind": "GitRepository",
                "metadata": {"name": "flux-system", "namespace": "flux-system"},
                "spec": {
                    "interval": "5s",
                    "url": self.url,
                    "ref": {"branch": "main"},
                    "secretRef": {"name": "flux-system"},
                },
            },
            {
                "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
                "kind": "Kustomization",
                "metadata": {"name": "flux-system", "namespace": "flux-system"},
                "spec": {
                    "interval": "1m",
                    "path": "./cluster/dev",
                    "prune": True,
                    "sourceRef": {"kind": "GitRepository", "name": "flux-system"},
                },
            },
        ]
        self.kube.run("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def ready(self, names, *, timeout):
        """Wait until these Kustomizations are ready at the tip."""
        tip = self.tip()
        self.kube.run(
            "-n", "flux-system", "annotate", "--overwrite", "gitrepository", "flux-system",
            f"reconcile.fluxcd.io/requestedAt={time.time()}",
        )  # fmt: skip
        for name in names:
            self.kube.wait(
                f"Kustomization {name} ready at {tip[:8]} ({self.kube.state('kustomization', name)})",
                lambda name=name: (
                    self.kube.ready("kustomization", name) and tip in self.applied(name)
                ),
                timeout=timeout,
            )
            self.say(f"{name} is ready at {tip[:8]}")

    def stages(self):
        """The Kustomizations of the platform that follow our repository, without the pipeline's."""
        names = [
            found["metadata"]["name"]
            for found in self.kube.get("kustomization", namespace="flux-system")
            if found["spec"]["sourceRef"]["name"] == "flux-system"
        ]
        return [name for name in names if name not in self.pipeline]

    def applied(self, name):
        return (
            (self.kube.get("kustomization", name, "flux-system") or {})
            .get("status", {})
            .get("lastAppliedRevision", "")
        )

    def secret(self, key):
        return base64.b64decode(
            self.kube.get("secret", "driftloop-platform", self.name)["data"][key]
        ).decode()

    def s3(self):
        """Environment for whoever talks to the object store from here."""
        return {
            "AWS_ENDPOINT_URL": f"http://{self.kube.address('storage', 'seaweedfs-s3', 8333)}",
            "AWS_ACCESS_KEY_ID": self.secret("accesskey"),
            "AWS_SECRET_ACCESS_KEY": self.secret("secretkey"),
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def batches(self, kind, size=250):
        """Labelled batches of `kind`, of so many rows, into the data bucket."""
        script = EXAMPLE / "batches.py"
        env = {**os.environ, **self.s3()}
        command = [
            find_uv_bin(),
            "run",
            "-q",
            script,
            "labelled",
            "--kind",
            kind,
            "--size",
            str(size),
            "--to",
            "s3://digits/batches",
        ]
        subprocess.run(command, env=env, check=True, capture_output=True)
        self.say(f"{kind} batches lie in s3://digits/batches")

    def forget(self, kind):
        """Take the batches of `kind` away again, as who delivered them would."""
        store = ObjectStore.from_environment(self.s3())
        folder = parse_location("s3://digits/batches")
        found = [
            o.key
            for o in store.list_folder(folder)
            if o.key.rpartition("/")[2].startswith(f"{kind}-")
        ]
        for key in found:
            store.delete_object(StoreLocation(folder.bucket, key))
        self.say(f"{len(found)} {kind} batches are taken away again")

    def rows(self, kind):
        """Unlabelled traffic: [(pixels, label)]."""
        folder = self.folder / "traffic"
        file = folder / f"{kind}.jsonl"
        if not file.exists():
            command = [
                find_uv_bin(),
                "run",
                "-q",
                EXAMPLE / "batches.py",
                "traffic",
                "--kind",
                kind,
                "--to",
                folder,
            ]
            subprocess.run(command, check=True, capture_output=True)
        return [(row["x"], row["y"]) for row in map(json.loads, file.read_text().splitlines())]

    def hook(self, body, *, token):
        """Status of a POST to the EventSource."""
        from urllib.error import HTTPError

        url = f"http://{self.kube.address(self.name, f'{self.name}-retrain', 12000)}/retrain"
        headers = {
            "Content-Type": "application/json",
            **({"Authorization": f"Bearer {token}"} if token else {}),
        }
        try:
            with urlopen(Request(url, json.dumps(body).encode(), headers), timeout=10) as answer:
                return answer.status
        except HTTPError as error:
            return error.code

    def workflows(self):
        return {w["metadata"]["name"]: w for w in self.kube.get("workflow", namespace=self.name)}

    def runs(self):
        """Training runs, without the rollouts."""
        return {name for name in self.workflows() if not name.startswith(f"{self.name}-release-")}

    def ended(self, name, *, timeout=900):
        """Wait until a Workflow ends; its status, told step by step."""
        self.kube.wait(
            f"Workflow {name} ends",
            lambda: self.workflows().get(name, {}).get("status", {}).get("phase") in ENDED,
            timeout=timeout,
            every=2,
        )
        status = self.workflows()[name]["status"]
        for node in sorted(status["nodes"].values(), key=lambda n: n.get("finishedAt") or ""):
            if node["type"] == "Pod":
                self.say(f"  {node['displayName']:32} {node['phase']:10} {node.get('message', '')}")
        self.say(f"{name} {status['phase']}")
        return status

    def trigger(self, cause):
        """Ask for a run as a person would; its name."""
        decision = uuid.uuid4().hex[:12]
        body = {
            "pipeline": self.name,
            "decision": decision,
            "cause": f"person cluster-test: {cause}",
        }
        assert self.hook(body, token=self.secret("webhook-token")) == 200
        run = f"{self.name}-{decision}"
        self.kube.wait("the Sensor makes the Workflow", lambda: run in self.workflows(), timeout=90)
        return run

    @property
    def streams(self):
        return Streams(
            self.kube.address("nats-io", "nats", 4222), self.name, self.name, self.nats_user
        )

    def nats_user(self, role):
        """`user:password` with which a part of the pipeline, or Knative, connects to NATS."""
        if role != "knative":
            return urlsplit(self.secret(f"nats-{role}")).netloc.rpartition("@")[0]
        secret = self.kube.get("secret", "nats-knative", "flux-system")
        if secret is None:
            return ""
        password = base64.b64decode(secret["data"]["NATS_KNATIVE_PASSWORD"]).decode()
        return f"knative:{password}"

    def retraining(self, command, *options):
        """`halt` or `resume` the retrain decision as a person would."""
        url = f"http://{self.kube.address(self.name, f'{self.name}-decision', 8080)}"
        token = self.secret("webhook-token")
        self.driftloop(command, self.name, "--url", url, *options, DRIFTLOOP_WEBHOOK_TOKEN=token)
        self.say(f"driftloop {command} {self.name}")

    def idle_runs(self, *, timeout=900):
        """Wait until no run and no rollout is under way."""
        self.kube.wait(
            "every run has ended",
            lambda: all(
                w.get("status", {}).get("phase") in ENDED for w in self.workflows().values()
            ),
            timeout=timeout,
        )

    def fetched(self):
        """Ask Flux's source to look, and wait until it has the tip; when that was."""
        tip = self.tip()
        self.kube.run(
            "-n", "flux-system", "annotate", "--overwrite", "gitrepository", "flux-system",
            f"reconcile.fluxcd.io/requestedAt={time.time()}",
        )  # fmt: skip

        def has_tip():
            source = self.kube.get("gitrepository", "flux-system", "flux-system")
            return tip in (source["status"].get("artifact") or {}).get("revision", "")

        self.kube.wait(f"Flux has fetched {tip[:8]}", has_tip, every=0.2)
        return time.monotonic()

    def routed(self):
        """Weights at the gateway by release, of predictors whose pods are ready."""
        route = self.kube.get("virtualservice", self.name, self.name)
        return weights_of(self.name, route["spec"]["http"][0]) if route else {}

    def watched(self):
        """The release that the drift detector's ready pod watches."""
        detector = self.kube.get("deployment", f"{self.name}-drift", self.name)
        status = detector["status"]
        if status.get("observedGeneration") != detector["metadata"]["generation"] or status.get(
            "updatedReplicas"
        ) != status.get("availableReplicas"):
            return None
        args = detector["spec"]["template"]["spec"]["containers"][0]["args"]
        return args[args.index("--release") + 1]

    def measure_return(self, release):
        """Seconds from Flux having fetched the tip until only this release is served, and until the
        detectors are its own."""
        fetched = self.fetched()
        self.kube.wait(
            f"{release} is served alone", lambda: self.routed() == {release: 100}, every=0.5
        )
        gateway = time.monotonic() - fetched
        self.kube.wait(
            f"the detectors are those of {release}", lambda: self.watched() == release, every=0.5
        )
        return gateway, time.monotonic() - fetched

    def settled(self):
        """Whether the namespace is gone, or stays without being deleted."""
        space = self.kube.get("namespace", self.name)
        return space is None or space["status"]["phase"] == "Active"

    def idle(self, *, timeout=180):
        """Wait until the decision would take a new run."""
        try:
            self.kube.wait(
                "the cooldown ends",
                lambda: self.streams.decision().phase == "idle",
                timeout=timeout,
                every=2,
            )
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.streams.decision()}") from None

    def no_run(self, *, timeout=300):
        """Wait until no run holds the lease, whatever alarms wait for: a person's run begins then."""
        self.kube.wait("no run is on", lambda: self.streams.decision().run is None, timeout=timeout)

    def calm(self, release, *, windows=2):
        """Clean traffic until so many windows of a release in a row raise no alarm: what drifted rows lie in its open
        window are judged then."""
        known = len(self.streams.verdicts("drift", release))
        self.traffic.turn("clean")

        def is_calm():
            new = self.streams.verdicts("drift", release)[known:]
            return len(new) >= windows and not any(each["alarm"] for each in new[-windows:])

        self.kube.wait("windows without an alarm", is_calm, timeout=300, every=2)
        self.traffic.pause()
        self.say(f"{windows} windows of {release} without an alarm")

    @property
    def traffic(self):
        """The caller, from the first use on."""
        if self._traffic is None:
            gateway = self.kube.address("istio-system", "istio-ingressgateway", 80)
            path = f"/seldon/{self.name}/{self.name}/api/v1.0/predictions"
            self._traffic = Traffic(gateway, path, self.rows, rate=RATE, names=self.names)
        return self._traffic

    def answers(self, *, timeout=90):
        """Wait until the gateway answers."""
        self.traffic.turn(self.kinds[0], logged=False)
        start = len(self.traffic.answers)
        self.kube.wait(
            "the gateway answers",
            lambda: any(answer.status == 200 for answer in self.traffic.answers[start:]),
            timeout=timeout,
        )
        self.traffic.pause()

    def answered(self, number, *, timeout=180):
        """Wait for that many more answers; they."""
        start = len(self.traffic.answers)
        self.kube.wait(
            f"{number} answers",
            lambda: len(self.traffic.answers) >= start + number,
            timeout=timeout,
        )
        return self.traffic.answers[start:]

    def drift(self):
        """Send drifted rows until that has started a run; its name."""
        before = self.runs()
        self.remember(runs_before=sorted(before))
        self.traffic.turn(self.kinds[1])
        self.say(f"{self.kinds[1]} rows arrive")
        (run,) = self.kube.wait(
            "the alarms start a run", lambda: self.runs() - before, timeout=400, every=2
        )
        parameters = self.workflows()[run]["spec"]["arguments"]["parameters"]
        cause = next(parameter["value"] for parameter in parameters if parameter["name"] == "cause")
        self.say(f"run {run} because of {cause}")
        assert cause.startswith("alarm ")
        return run

    def alarms(self, release):
        """How often the drift detector of a release has raised an alarm."""
        return sum(verdict["alarm"] for verdict in self.streams.verdicts("drift", release))

    def troubles(self):
        """What became of the requests so far, in words."""
        failed = Counter(
            str(answer.status) for answer in self.traffic.answers if answer.status != 200
        )
        return f"{sum(failed.values())} of {len(self.traffic.answers)} requests failed {dict(failed) or ''}".strip()

    def logger(self, release):
        """What our logger beside a predictor has counted since its pod started: {(cluster, class): number}."""
        address = self.kube.address(self.name, f"{self.name}-{release}", 8000)
        with urlopen(f"http://{address}/prometheus", timeout=10) as answer:
            text = answer.read().decode()
        found = {}
        for labels, number in re.findall(r"envoy_cluster_upstream_rq_xx\{([^}]*)\} (\d+)", text):
            given = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            found[
                given["envoy_cluster_name"].rpartition("/")[2], given["envoy_response_code_class"]
            ] = int(number)
        return found

    # What one process saw and the next may need

    def known(self, key, default=None):
        return self._notes().get(key, default)

    def remember(self, **notes):
        (self.folder / "notes.json").write_text(json.dumps({**self._notes(), **notes}, indent=1))

    def _notes(self):
        file = self.folder / "notes.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def keep(self):
        """Write what there is to see at the end."""
        if not self.bare.exists() or not self.git("branch"):
            return
        (self.folder / "git.log").write_text(
            self.git("log", "--reverse", "--stat", "--format=%n%h %an %cI%n%B", "main")
        )
        for kind, where in (
            ("workflows", self.name),
            ("all", self.name),
            ("kustomizations", "flux-system"),
            ("events", self.name),
        ):
            text = self.kube.run("-n", where, "get", kind, "-o", "wide", check=False)
            (self.folder / f"{kind}.txt").write_text(text)
        workflows = self.kube.run("-n", self.name, "get", "workflows", "-o", "yaml", check=False)
        (self.folder / "workflows.yaml").write_text(workflows)

    def close(self):
        if self._traffic is not None:
            self._traffic.stop()
        self.kube.close()


def release_of(name, destination):
    """The release id that a destination of a pipeline's routes names."""
    return destination["host"].partition(".")[0].removeprefix(f"{name}-")


def weights_of(name, http):
    """Weights of one route by release, without those that get nothing: Istio leaves out a weight of 0."""
    routes = http["route"]
    weights = {
        release_of(name, to["destination"]): to.get("weight", 0 if len(routes) > 1 else 100)
        for to in routes
    }
    return {release: weight for release, weight in weights.items() if weight}


def argo_settings():
    """What cluster/infrastructure tells Argo's controller; without it no step complies with the restricted standard."""
    text = (ROOT / "cluster" / "infrastructure" / "controllers" / "argo-workflows.yaml").read_text()
    (installed,) = (d for d in yaml.safe_load_all(text) if d["kind"] == "Kustomization")
    (patch,) = (p for p in installed["spec"]["patches"] if p["target"]["kind"] == "ConfigMap")
    (operation,) = yaml.safe_load(patch["patch"])
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": patch["target"]["name"],
            "namespace": "argo",
            "annotations": {"kustomize.toolkit.fluxcd.io/prune": "disabled"},
        },
        "data": operation["value"],
    }


@contextmanager
def world(folder, make=World):
    """A new world in an empty folder; the one that lies there otherwise, so that a stopped test can go on."""
    remembered = folder / "world.json"
    known = json.loads(remembered.read_text()) if remembered.exists() else {}
    passwords = known.get("passwords") or {"bot": uuid.uuid4().hex, "flux": uuid.uuid4().hex}
    (folder / "git").mkdir(exist_ok=True)
    people = {
        "user": "bot",
        "password": passwords["bot"],
        "reader": "flux",
        "reader_password": passwords["flux"],
    }
    with serving(folder / "git", port=known.get("port", 0), **people) as port:
        remembered.write_text(json.dumps({"port": port, "passwords": passwords}))
        found = make(folder, port, passwords)
        try:
            yield found
        finally:
            found.close()
