"""Where the small cases run: a namespace of their own with an object store, gone afterwards."""

import base64
import json
import re
import secrets
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml
from cluster.kube import Kube

from driftloop.clients.s3 import MissingObjectError, ObjectStore, StoreLocation, folder_digest
from driftloop.cluster import credentials, identities, settings
from driftloop.contract.names import FLUX_NAMESPACE, GIT_SECRET, PLATFORM
from driftloop.contract.trees import access_path
from driftloop.release import record
from driftloop.release.record import Version
from driftloop.render import render_tree

N = "driftloop-forms"
ROOT = Path(__file__).parents[3]
STAND_IN = Path(__file__).parents[1] / "stand_in"
IMAGE = "ghcr.io/driftloop/test-forms:1"
ENDED = ("Succeeded", "Failed", "Error")
BUCKET, BATCHES = StoreLocation("driftloop"), StoreLocation("forms")
"""Runs and models, which the spec may not name; and data."""


class Place:
    """The namespace, its store, and Workflows of rendered templates."""

    def __init__(self, folder):
        self.kube = Kube()
        self.folder = folder
        self.credentials = credentials.PlatformCredentials(
            secrets.token_hex(10), secrets.token_hex(20)
        )

    def apply(self, *objects, create=False):
        verb = ("create",) if create else ("apply", "--server-side", "--force-conflicts")
        self.kube.run("-n", N, *verb, "-f", "-", stdin=yaml.safe_dump_all(objects))

    def lay_out(self):
        """Namespace, store, addresses, and the account of workflow pods."""
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": N}})
        addresses = credentials.Addresses(
            git_url="https://git.invalid/x.git",
            s3_endpoint=f"http://seaweedfs-s3.{N}.svc.cluster.local:8333",
        )
        key = identities.StoreKey(
            self.credentials.access_key,
            self.credentials.secret_key,
            (BUCKET.bucket, BATCHES.bucket),
        )
        draft = credentials.draft_settings(N, addresses, self.credentials)
        secrets_of = {
            PLATFORM: draft.complete(draft.values).values,
            GIT_SECRET: credentials.draft_git(N, self.credentials).values,
            identities.SECRET_NAME: {identities.CONFIG: identities.configuration(N, key)},
        }
        for name, values in secrets_of.items():
            data = {key: base64.b64encode(value).decode() for key, value in values.items()}
            self.apply(
                {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
            )
        self.apply(
            settings.config_map(
                N, addresses, settings.Buckets(BUCKET.bucket, (BATCHES.bucket,))
            ).dump_object()
        )
        self.kube.run("apply", "-f", "-", stdin=yaml.safe_dump_all(memoization()))
        for part in ("deployment", "service"):
            store = yaml.safe_load((STAND_IN / "store" / f"seaweedfs.{part}.yaml").read_text())
            store["metadata"]["namespace"] = N
            self.apply(store)
        self.kube.run("-n", N, "rollout", "status", "deploy/seaweedfs", "--timeout=180s")
        for location in (BUCKET, BATCHES):
            self.store.create_bucket(location.bucket)

    @property
    def store(self):
        return ObjectStore.from_endpoint(
            f"http://{self.kube.address(N, 'seaweedfs-s3', 8333)}",
            access_key=self.credentials.access_key,
            secret_key=self.credentials.secret_key,
        )

    def spec(self, name, **spec):
        """A small spec in this namespace: what is given, and what every one needs."""
        return {
            "apiVersion": "driftloop.dev/v1alpha1",
            "kind": "Pipeline",
            "metadata": {"name": name, "namespace": N},
            "spec": {
                "images": spec.pop("images", {"trainer": {"ref": IMAGE}, "server": {"ref": IMAGE}}),
                "data": {"uri": f"s3://{BATCHES.bucket}/{name}/batches", **spec.pop("data", {})},
                "train": {"run": "forms:train", **spec.pop("train", {})},
                "evaluate": {"run": "forms:evaluate"},
                "serve": spec.pop("serve", {"model": "Model", "backend": "plain"}),
                **spec,
            },
        }

    def render(self, name, *, release=None, **spec):
        """The tree of a small spec; its pods' accounts are applied. Objects by kind and name."""
        files = render_tree(json.dumps(self.spec(name, **spec)), release)
        objects = [
            document
            for path, text in files.items()
            if path.startswith(
                tuple(f"{tree}/{name}/" for tree in ("workflows", "deployments", "monitors"))
            )
            if not path.endswith(("pipeline.yaml", "release.yaml", "kustomization.yaml"))
            for document in yaml.safe_load_all(text)
        ]
        accounts = ("ServiceAccount", "Role", "RoleBinding", "Secret")
        objects += yaml.safe_load_all(files[access_path("dev", name)])
        self.apply(
            *(o for o in objects if o["kind"] in accounts and o["metadata"].get("namespace") == N)
        )
        # the namespace is the one that is made, not the one that the first tree only names
        return {
            (o["kind"], o["metadata"]["name"]): o
            for o in objects
            if o["metadata"].get("namespace") != FLUX_NAMESPACE
        }

    def run(self, template, entrypoint, *, name, artifacts=(), **parameters):
        """Run one template of a rendered WorkflowTemplate by itself; the Workflow, not yet ended.

        Whatever is sent to git or NATS at the end of a run is left out: neither is here.
        """
        alone = json.loads(json.dumps(template))
        alone["spec"].pop("onExit")
        self.apply(alone)
        given = [{"name": key, "value": str(value)} for key, value in parameters.items()]
        files = [{"name": key, "s3": {"key": at}} for key, at in dict(artifacts).items()]
        spec = {
            "workflowTemplateRef": {"name": alone["metadata"]["name"]},
            "entrypoint": entrypoint,
            "arguments": {"parameters": given, "artifacts": files},
        }
        workflow = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"name": name},
            "spec": spec,
        }
        self.apply(workflow, create=True)
        return name

    def workflow(self, name):
        return self.kube.get("workflow", name, N) or {}

    def ended(self, name, *, timeout=240):
        """Wait until a Workflow ends; its status."""
        self.kube.wait(
            f"Workflow {name} ends",
            lambda: self.workflow(name).get("status", {}).get("phase") in ENDED,
            timeout=timeout,
        )
        return self.workflow(name)["status"]

    def put(self, folder, bucket=BUCKET, **files):
        """Texts into a folder of the store; where it is, as an artifact's key."""
        for name, text in files.items():
            self.store.write_object(bucket / folder / name, text.encode())
        return folder

    def model_digest(self, folder):
        """Digest of a model's folder in the store; a file of its own makes each another model."""
        self.put(folder, **{"release.txt": folder})
        here = self.folder / folder
        self.store.get_folder(BUCKET / folder, here)
        return folder_digest(here)

    def text(self, key):
        """What is stored under a key; None when nothing is."""
        with suppress(MissingObjectError):
            return self.store.read_object(StoreLocation(BUCKET.bucket, key)).decode()
        return None


def release(name, weights, shadow=None, *, previous=None, detectors=None, digest=None):
    """A release.yaml: the first weight is production's; models lie in `<name>/<id>` of the store, and
    `digest` tells theirs where they are loaded.

    With `previous`, production was promoted from a shadow beside that version.
    """

    def version(id):
        return Version(
            id=id,
            run=f"{name}-{id[1:].zfill(12)}",
            model=f"s3://{BUCKET.bucket}/{name}/{id}",
            model_digest=digest(f"{name}/{id}") if digest else "sha256:" + id[1:].zfill(64),
            detectors=detectors,
            data_digest="sha256:" + "c" * 64,
            metrics={"accuracy": 0.97},
        )

    production, *others = weights
    found = record.release_first(record.empty_release(name, N), version(previous or production))
    if previous is not None:
        found = record.promote_candidate(record.start_shadow(found, version(production)))
    for candidate in (shadow, *others):
        if candidate is not None:
            found = record.start_shadow(found, version(candidate))
    for candidate in others:
        found = record.set_canary(found, weights[candidate])
    assert found.weights == weights
    return record.dump_release(found)


def memoization():
    """The right to remember outputs, as the platform gives it to Argo's controller."""
    text = (ROOT / "cluster" / "infrastructure" / "controllers" / "argo-workflows.yaml").read_text()
    return [d for d in yaml.safe_load_all(text) if d["kind"] in ("Role", "RoleBinding")]


def pods(status):
    """The nodes of a Workflow that were pods, in the order of their starts."""
    found = [node for node in status["nodes"].values() if node["type"] == "Pod"]
    return sorted(found, key=lambda node: node["startedAt"])


def seconds(time_text):
    """An RFC 3339 time of Kubernetes as seconds since the epoch."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time_text), time_text
    return time.mktime(time.strptime(time_text, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone


@contextmanager
def place(folder):
    """The namespace, made and taken away again."""
    found = Place(folder)
    try:
        found.lay_out()
        yield found
    finally:
        found.kube.run(
            "delete",
            "--ignore-not-found",
            "-f",
            "-",
            stdin=yaml.safe_dump_all(memoization()),
            check=False,
        )
        found.kube.run(
            "delete",
            "namespace",
            N,
            "--ignore-not-found",
            "--wait=true",
            "--timeout=120s",
            check=False,
        )
        found.kube.close()
