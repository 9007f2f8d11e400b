"""A state folder with an object store and a cluster repository beside it, and runs as their steps leave them."""

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from support.commands import type_command
from support.committed import copy_committed

from driftloop.clients.s3 import ObjectStore, StoreLocation, combined_digest
from driftloop.contract import platform
from driftloop.contract.approvals import Approval
from driftloop.contract.documents import to_json
from driftloop.contract.outcomes import RunOutcome
from driftloop.contract.records import Evaluation, Snapshot, SnapshotBatch
from driftloop.contract.trees import outcome_key, report_key, run_key, snapshot_key
from driftloop.git.repository import Repository
from driftloop.local.ground import addresses
from driftloop.local.ground.settings import LocalSettings
from driftloop.local.ground.state import StateFolder
from driftloop.operations.commits import releases as pipelines
from driftloop.operations.commits.guard import refuse_harm
from driftloop.operations.commits.releases import TransitionMessage
from driftloop.operations.runs.run_reports import KnownRun, RunFolder, compose_report, write_report
from driftloop.release.record import Release, Version
from driftloop.services.trainer.record import write_metadata
from driftloop.text.dump import dump_yaml
from tests.pipelines import SPEC, version
from tests.steps.conftest import BUCKET, DATA, KEY, SECRET

LOG = [{"epoch": 1, "loss": 0.5}, {"text": "code:\n- none\nlog: again", "long": "word " * 60}]


@dataclass(frozen=True)
class Shelf:
    """Runs in a state folder."""

    state: StateFolder
    store: ObjectStore
    bucket: StoreLocation
    home: Path

    @classmethod
    def open(cls, folder: Path, s3_url: str, spec: str = SPEC) -> "Shelf":
        """Make the state folder, and empty the buckets."""
        state = StateFolder.open_folder(folder / ".driftloop")
        state.create_folders()
        settings = {
            platform.S3_ENDPOINT: s3_url,
            platform.S3_REGION: "us-east-1",
            platform.S3_BUCKET: BUCKET.bucket,
            platform.GIT_URL: state.repository_url,
            platform.GATEWAY: "http://127.0.0.1:1",
        }
        keys = {platform.ACCESS_KEY: KEY, platform.SECRET_KEY: SECRET}
        LocalSettings(
            {setting.key: value for setting, value in settings.items()},
            {setting.key: value for setting, value in keys.items()},
        ).save(state)
        copy_committed(spec, state.repository)
        store = ObjectStore.from_endpoint(s3_url, access_key=KEY, secret_key=SECRET)
        for bucket in (BUCKET, DATA):
            store.create_bucket(bucket.bucket)
            for entry in store.list_objects(StoreLocation(bucket.bucket)):
                store.delete_object(StoreLocation(bucket.bucket, entry.key))
        return cls(state, store, BUCKET, folder)

    @property
    def repository(self) -> Repository:
        return Repository(
            self.state.repository_url,
            branch=addresses.BRANCH,
            guard=refuse_harm,
            workdir=self.home / "repository",
        )

    def types(self, *arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        """Type a command in the folder of the project."""
        return type_command(*arguments, folder=self.home, code=code)

    def move(self, step: Callable[[Release], Release], subject: Version, **message: Any) -> str:
        """Commit a transition of the release, as a step or a person does; the commit."""
        cause = message.pop("cause", "person eve")
        why = TransitionMessage("Move", subject, cause, **message)
        moved = pipelines.commit_transition(
            self.repository, "digits", step, lambda before, after: why
        )
        assert moved.commit is not None
        return moved.commit.sha

    def make_version(self, run: str, **changes: Any) -> Version:
        """The version of a run whose release folder is stored."""
        model = self.bucket / run_key(run, "release", "model")
        fields = {
            "model": str(model),
            "model_digest": self.store.digest_folder(model),
            "detectors": None,
            "recipe_digest": "sha256:" + "b" * 64,
        }
        return version(run, **fields | changes)

    def put_trial(
        self, run: str, trial: int, parameters: Mapping[str, Any], accuracy: float
    ) -> str:
        """Store a trial, as the wrapper of the training function leaves it; its folder."""
        home = run_key(run, "trials", str(trial))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "metadata.yaml"
            write_metadata(file, metadata(trial, parameters, accuracy))
            self.store.put_file(file, self.bucket / f"{home}/metadata.yaml")
        model = json.dumps({"run": run, "trial": trial, **parameters}).encode()
        self.store.write_object(self.bucket / f"{home}/model/model.json", model)
        return home

    def put_run(
        self,
        run: str,
        *,
        parameters: Sequence[Mapping[str, Any]] = ({"rate": 0.1},),
        accuracies: Sequence[float] = (0.97,),
        batches: Mapping[str, str] | None = None,
        outcome: RunOutcome | None = None,
        chosen: int = 0,
        report: bool = True,
        known: KnownRun | None = None,
        approvals: tuple[Approval, ...] = (),
    ) -> None:
        """Store what the steps of a run leave; without `report` as an older version did."""
        for trial, (given, accuracy) in enumerate(zip(parameters, accuracies, strict=True)):
            self.put_trial(run, trial, given, accuracy)
        snapshot = make_snapshot(batches or {"a.npz": "one"})
        self.store.write_json(self.bucket / snapshot_key(run), to_json(snapshot))
        evaluation = Evaluation(
            {"all": {"accuracy": accuracies[chosen]}, "recent": {"accuracy": accuracies[chosen]}},
            None,
            {"all": 200, "recent": 40},
        )
        self.store.write_json(
            self.bucket / run_key(run, "evaluation", "metrics.json"), to_json(evaluation)
        )
        self.store.copy_folder(
            self.bucket / run_key(run, "trials", str(chosen), "model"),
            self.bucket / run_key(run, "release", "model"),
        )
        content = {
            **metadata(chosen, parameters[chosen], accuracies[chosen]),
            "run": run,
            "modelDigest": self.store.digest_folder(self.bucket / run_key(run, "release", "model")),
            "dataDigest": snapshot.data_digest,
            "detectorDigests": {},
        }
        self.store.write_object(
            self.bucket / run_key(run, "release", "metadata.yaml"), dump_yaml(content).encode()
        )
        if outcome is not None:
            self.store.write_json(self.bucket / outcome_key(run), to_json(outcome))
        if report:
            folder = RunFolder(self.store, self.bucket, run)
            about = known or KnownRun(pipeline="digits", cause="person eve", outcome=outcome)
            composed = compose_report(folder, about, None, None)
            write_report(folder, replace(composed, approvals=approvals))
            assert self.store.has_object(self.bucket / report_key(run))


def metadata(trial: int, parameters: Mapping[str, Any], accuracy: float) -> dict[str, Any]:
    """What the wrapper writes beside a model."""
    return {
        "function": "train:train",
        "trial": str(trial),
        "parameters": dict(parameters),
        "metrics": {"accuracy": accuracy},
        "log": LOG,
        "logLinesDropped": 0,
        "code": {"digest": "sha256:" + "c" * 64, "revision": "f" * 40},
        "dataDigest": "sha256:" + "d" * 64,
        "seed": 0,
        "resumed": False,
        "startedAt": f"2026-01-31T09:3{trial}:00Z",
        "duration": 1.5,
        "python": "3.11.9",
        "libraries": {"numpy": "2.1.0"},
        "hardware": {"machine": "x86_64", "cores": 4, "gpus": []},
    }


def make_snapshot(batches: Mapping[str, str]) -> Snapshot:
    """A snapshot of batches: key -> content."""
    digests = {key: hashlib.sha256(text.encode()).hexdigest() for key, text in batches.items()}
    return Snapshot(
        str(DATA),
        tuple(
            SnapshotBatch(key, len(batches[key]), f"etag-{digest[:8]}", digest, recent=True)
            for key, digest in sorted(digests.items())
        ),
        combined_digest(digests),
    )


def make_workflow(
    run: str, accuracies: Mapping[int, float | None], *, chosen: int, phase: str = "Succeeded"
) -> dict[str, Any]:
    """The Workflow of a run with a search; a trial without accuracy has failed."""

    def node(name: str, template: str, start: str, **more: Any) -> dict[str, Any]:
        return {
            "id": f"{run}-{name}", "name": f"{run}.{name}", "displayName": name, "type": "Pod",
            "templateName": template, "phase": "Succeeded", "startedAt": f"2026-01-31T09:{start}:00Z",
            "finishedAt": f"2026-01-31T09:{start}:30Z", **more,
        }  # fmt: skip

    def given(side: str, **values: str) -> dict[str, Any]:
        return {side: {"parameters": [{"name": n, "value": v} for n, v in values.items()]}}

    nodes = [node("claim", "claim", "10"), node("snapshot", "snapshot", "11")]
    for trial, accuracy in accuracies.items():
        inputs = given("inputs", trial=str(trial), parameters=json.dumps({"rate": trial / 10}))
        if accuracy is None:
            end: dict[str, Any] = {"phase": "Failed", "message": "Error (exit code 1): it diverged"}
        else:
            end = given("outputs", trial=str(trial), metrics=json.dumps({"accuracy": accuracy}))
        nodes.append(node(f"train({trial}:x)", "train", f"2{trial}", **inputs, **end))
    nodes.append(node("pick", "pick", "40", **given("outputs", trial=str(chosen))))
    return {
        "metadata": {"name": run, "namespace": "digits"},
        "spec": {
            "workflowTemplateRef": {"name": "digits-train"},
            "arguments": {"parameters": [{"name": "cause", "value": "alarm 42: hue 1 -> 2"}]},
        },
        "status": {
            "phase": phase,
            "startedAt": "2026-01-31T09:10:00Z",
            "nodes": {item["id"]: item for item in nodes},
            "storedWorkflowTemplateSpec": {
                "arguments": {"parameters": [{"name": "cause", "value": "schedule"}]},
                "templates": [
                    {"name": "main", "dag": {}},
                    template("snapshot", "driftloop:1", "--recipe", "sha256:" + "b" * 64),
                    template("split", "trainer:1", "--heldout", "0.2"),
                    template("train", "trainer:1", "--trial", "x"),
                    template("pick", "driftloop:1", "--metric", "accuracy", "--goal", "maximize"),
                ],
            },
        },
    }


def template(name: str, image: str, *arguments: str) -> dict[str, Any]:
    return {"name": name, "container": {"image": image, "command": ["x"], "args": [*arguments]}}
