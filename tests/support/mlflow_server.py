"""A real MLflow server, from PyPI, in an environment of its own; and what it says, read by its own API."""

import json
import subprocess
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.processes import Process, free_port
from uv import find_uv_bin

REQUIREMENTS = Path(__file__).parent / "mlflow" / "requirements.txt"
QUIET = {
    # neither background jobs nor a word to anybody
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}


class NoMlflowError(Exception):
    """The server can't be installed here."""


def install_server(folder: Path) -> Path:
    """Make the environment; its programs' folder. NoMlflowError says why it can't be."""
    uv = find_uv_bin()
    for command in (
        [uv, "venv", "--quiet", "--allow-existing", "--python", "3.11", str(folder)],
        [
            uv,
            "pip",
            "sync",
            "--quiet",
            "--require-hashes",
            "--python",
            str(folder),
            str(REQUIREMENTS),
        ],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NoMlflowError(f"MLflow can't be installed: {done.stderr.strip()[-300:]}")
    return folder / "bin"


@dataclass(frozen=True)
class MlflowServer:
    """A server that can be killed and started again over the same database."""

    process: Process

    @classmethod
    def prepare(cls, environment: Path, folder: Path) -> "MlflowServer":
        """A server that is not started yet."""
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        program = install_server(environment) / "mlflow"
        argv = [
            *(str(program), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
            *("--artifacts-destination", str(folder / "artifacts")),
        ]
        process = Process(argv, folder / "mlflow.log", port, "/health", QUIET)
        return cls(process)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.process.port}"

    def start(self) -> "MlflowServer":
        """Start it, and wait until it answers."""
        self.process.start(wait=300)
        return self

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer of its API: POST with a body, else GET."""
        url = f"{self.url}/api/2.0/mlflow/{path}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            document: dict[str, Any] = json.load(answer)
        return document

    def runs(self, name: str, *, deleted: bool = False) -> list[dict[str, Any]]:
        """All runs of an experiment, as `flatten` makes them; none without the experiment."""
        body: dict[str, Any] = {"max_results": 1000}
        listed = self.ask("experiments/search", body).get("experiments", [])
        ids = [item["experiment_id"] for item in listed if item["name"] == name]
        if not ids:
            return []
        body = {
            "experiment_ids": ids,
            "max_results": 1000,
            "run_view_type": "ALL" if deleted else "ACTIVE_ONLY",
        }
        return [flatten(run) for run in self.ask("runs/search", body).get("runs", [])]

    def parents(self, name: str) -> dict[str, dict[str, Any]]:
        """Our run id -> what the server has of it; fails when it has two of one."""
        found = [run for run in self.runs(name) if "mlflow.parentRunId" not in run["tags"]]
        named = {run["tags"]["driftloop.run"]: run for run in found}
        assert len(named) == len(found), found
        return named

    def trials(self, name: str, parent: str) -> dict[str, dict[str, Any]]:
        """Number of the trial -> the run below a run; fails when there are two of one."""
        found = [run for run in self.runs(name) if run["tags"].get("mlflow.parentRunId") == parent]
        named = {run["tags"]["driftloop.trial"]: run for run in found}
        assert len(named) == len(found), found
        return named

    def versions(self, name: str) -> dict[str, dict[str, Any]]:
        """Number -> version of the registered model."""
        found = self.ask(f"model-versions/search?filter=name%3D'{name}'&max_results=1000")
        return {version["version"]: version for version in found.get("model_versions", [])}

    def aliases(self, name: str) -> dict[str, str]:
        """Alias -> release of the version that it points to."""
        model = self.ask(f"registered-models/get?name={name}")["registered_model"]
        releases = {
            number: {tag["key"]: tag["value"] for tag in version.get("tags", [])}.get(
                "driftloop.release", ""
            )
            for number, version in self.versions(name).items()
        }
        return {item["alias"]: releases[item["version"]] for item in model.get("aliases", [])}

    def artifact(self, run: Mapping[str, Any], name: str) -> bytes:
        """A file of a run."""
        folder = run["artifacts"].removeprefix("mlflow-artifacts:").strip("/")
        url = f"{self.url}/api/2.0/mlflow-artifacts/artifacts/{folder}/{name}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=30) as answer:
            content: bytes = answer.read()
        return content


def flatten(run: Mapping[str, Any]) -> dict[str, Any]:
    """A run of the API with its lists of pairs as mappings."""
    data = run["data"]
    return {
        "id": run["info"]["run_id"],
        "name": run["info"]["run_name"],
        "status": run["info"]["status"],
        "start": run["info"]["start_time"],
        "end": run["info"].get("end_time"),
        "artifacts": run["info"]["artifact_uri"],
        **{
            part: {item["key"]: item["value"] for item in data.get(part, [])}
            for part in ("params", "metrics", "tags")
        },
    }
