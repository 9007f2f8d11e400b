"""An MLflow server by its REST API 2.0: experiments, runs, registered models, artifacts through the
server.

Its own client, also the light one, brings twenty packages and a second of imports; what is used here
has been the same since MLflow 2.3 (docs/decisions/0061-tracking.md).
"""

import base64
import contextlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import HTTPRedirectHandler, Request, build_opener

from driftloop.contract.platform import (
    MLFLOW_PASSWORD,
    MLFLOW_TOKEN,
    MLFLOW_USERNAME,
)
from driftloop.errors import PipelineError

Json = Mapping[str, Any]

SECONDS = 5.0
"""Longest wait for a connection, and for each part of an answer."""
LARGEST = 32 * 1024**2
"""Bytes of an answer at most."""
PROXIED = "mlflow-artifacts:"
"""Scheme of artifacts that are sent and fetched through the server."""
_MOST_PARAMS, _MOST_TAGS, _MOST_METRICS = 100, 100, 500
_PAGE = 1000
_RUNS = "runs"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
MOST_FILES = 10_000
"""Files of a model at most."""
_HINT = f"credentials are in the Secret `{MLFLOW_TOKEN.home}`"


class MlflowError(PipelineError):
    """The server does not do what was asked."""


class MlflowUnreachableError(MlflowError):
    """The server does not answer, or can't now: the same may work later."""


class MlflowRefusedError(MlflowError):
    """The server refuses; `code` is its own word for why, such as RESOURCE_DOES_NOT_EXIST."""

    def __init__(self, message: str, code: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


@dataclass(frozen=True)
class MlflowRun:
    """A run that the server has."""

    id: str
    artifacts: str
    """Address of its artifacts."""
    status: str
    ended: int | None
    """End in milliseconds since 1970."""
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    """The last value of each."""
    tags: Mapping[str, str]


@dataclass(frozen=True)
class MlflowVersion:
    """A version of a registered model."""

    number: int
    source: str
    run: str
    """Run of the server that made it; empty without one."""
    tags: Mapping[str, str]


@dataclass(frozen=True)
class MlflowClient:
    """One server. Methods block for seconds at most, and raise MlflowError."""

    url: str
    authorization: str = field(default="", repr=False)
    """Value of the header; empty where the server asks for none."""

    @classmethod
    def from_environment(cls, url: str, environment: Mapping[str, str]) -> "MlflowClient":
        """Return the client of a server, with the credential of the environment that MLflow's own
        tools read: a token, or user and password."""
        if token := environment.get(MLFLOW_TOKEN.environment):
            return cls(url, f"Bearer {token}")
        user = environment.get(MLFLOW_USERNAME.environment, "")
        password = environment.get(MLFLOW_PASSWORD.environment, "")
        if not user and not password:
            return cls(url)
        return cls(url, f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}")

    def ensure_experiment(self, name: str) -> str:
        """Return the id of the experiment of this name, made when there is none."""
        found = self._find("experiments/get-by-name", experiment_name=name)
        if found is None:
            try:
                self._post("experiments/create", {"name": name})
            except MlflowRefusedError as error:
                # another writer was faster
                if error.code != "RESOURCE_ALREADY_EXISTS":
                    raise
            found = self._find("experiments/get-by-name", experiment_name=name) or {}
        experiment = _read_object(found, "experiment")
        if experiment.get("lifecycle_stage") == "deleted":
            raise MlflowRefusedError(
                f"experiment `{name}` of {self.url} is deleted",
                "INVALID_STATE",
                hint="restore it there (`mlflow experiments restore`), or choose another `tracking.name`",
            )
        return str(experiment.get("experiment_id", ""))

    def find_runs(self, experiment: str, tag: str, value: str) -> tuple[MlflowRun, ...]:
        """Return the runs with a tag that are not deleted."""
        body = {
            "experiment_ids": [experiment],
            "filter": f"tags.`{tag}` = {_quote(value)}",
            "max_results": _PAGE,
        }
        return tuple(
            _read_run(item) for page in self._list(f"{_RUNS}/search", body) for item in page("runs")
        )

    def create_run(
        self, experiment: str, name: str, started: int, tags: Mapping[str, str]
    ) -> MlflowRun:
        """Make a run that began at `started` (milliseconds since 1970)."""
        body = {
            "experiment_id": experiment,
            "run_name": name,
            "start_time": started,
            "tags": _list_pairs(tags),
        }
        return _read_run(_read_object(self._post(f"{_RUNS}/create", body), "run"))

    def log(
        self,
        run: str,
        *,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        time: int,
    ) -> None:
        """Add to a run; a parameter that it has can't change."""
        values = [
            {"key": key, "value": value, "timestamp": time, "step": 0}
            for key, value in metrics.items()
        ]
        given, told = _list_pairs(params), _list_pairs(tags)
        size = max(
            -(-len(given) // _MOST_PARAMS),
            -(-len(told) // _MOST_TAGS),
            -(-len(values) // _MOST_METRICS),
        )
        for part in range(size):
            body = {
                "run_id": run,
                "params": given[part * _MOST_PARAMS : (part + 1) * _MOST_PARAMS],
                "tags": told[part * _MOST_TAGS : (part + 1) * _MOST_TAGS],
                "metrics": values[part * _MOST_METRICS : (part + 1) * _MOST_METRICS],
            }
            self._post(f"{_RUNS}/log-batch", body)

    def update_run(self, run: str, status: str, ended: int | None) -> None:
        """Set status and end of a run."""
        body: dict[str, Any] = {"run_id": run, "status": status}
        self._post(f"{_RUNS}/update", body if ended is None else {**body, "end_time": ended})

    def delete_run(self, run: str) -> None:
        """Delete a run; the server can restore it."""
        self._post(f"{_RUNS}/delete", {"run_id": run})

    def ensure_model(self, name: str, tags: Mapping[str, str]) -> None:
        """The registered model exists afterwards."""
        try:
            self._post("registered-models/create", {"name": name, "tags": _list_pairs(tags)})
        except MlflowRefusedError as error:
            if error.code != "RESOURCE_ALREADY_EXISTS":
                raise

    def read_aliases(self, name: str) -> Mapping[str, int] | None:
        """Return the version of each alias of a registered model; None when there is no such model."""
        found = self._find("registered-models/get", name=name)
        if found is None:
            return None
        with _reading("a registered model"):
            listed = _read_object(found, "registered_model").get("aliases") or ()
            return {str(item["alias"]): int(item["version"]) for item in listed}

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias to a version."""
        body = {"name": name, "alias": alias, "version": str(version)}
        self._post("registered-models/alias", body)

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; nothing happens without it."""
        self._send("DELETE", "registered-models/alias", {"name": name, "alias": alias})

    def find_versions(self, name: str) -> tuple[MlflowVersion, ...]:
        """Return all versions of a registered model, by number."""
        query = {"filter": f"name={_quote(name)}", "max_results": str(_PAGE)}
        found = [
            _read_version(item)
            for page in self._list("model-versions/search", query, get=True)
            for item in page("model_versions")
        ]
        return tuple(sorted(found, key=lambda version: version.number))

    def create_version(
        self, name: str, source: str, run: str, tags: Mapping[str, str]
    ) -> MlflowVersion:
        """Register the files at `source` as a new version."""
        body = {"name": name, "source": source, "run_id": run, "tags": _list_pairs(tags)}
        return _read_version(
            _read_object(self._post("model-versions/create", body), "model_version")
        )

    def delete_version(self, name: str, version: int) -> None:
        """Delete a version for good."""
        self._send("DELETE", "model-versions/delete", {"name": name, "version": str(version)})

    def find_alias(self, name: str, alias: str) -> int:
        """Return the version that an alias points to."""
        answer = self._send("GET", "registered-models/alias", {"name": name, "alias": alias})
        return _read_version(_read_object(answer, "model_version")).number

    def find_files(self, name: str, version: int) -> str:
        """Return the address of a version's files."""
        query = {"name": name, "version": str(version)}
        return str(
            self._send("GET", "model-versions/get-download-uri", query).get("artifact_uri") or ""
        )

    def list_files(self, place: str) -> Iterator[tuple[str, int]]:
        """Yield each file below a place that the server serves: its name below it, and its bytes."""
        waiting, most = [""], MOST_FILES
        while waiting:
            folder = waiting.pop()
            path = f"{_proxied_folder(place)}/{folder}".rstrip("/")
            request = Request(f"{self.url}{_ARTIFACTS}?{urlencode({'path': path})}")  # noqa: S310
            for item in _read_json(self._open(request), self.url).get("files") or ():
                with _reading("a list of files"):
                    name = "/".join(filter(None, (folder, str(item["path"]))))
                    size = int(item.get("file_size") or 0)
                most -= 1
                if most < 0:
                    raise MlflowError(f"{place} has more than {MOST_FILES} files")
                if item.get("is_dir"):
                    waiting.append(name)
                else:
                    yield name, size

    def get_file(self, place: str, name: str, file: Path) -> None:
        """Fetch a file that the server serves."""
        path = quote(f"{_proxied_folder(place)}/{name}")
        request = Request(f"{self.url}{_ARTIFACTS}/{path}")  # noqa: S310
        file.parent.mkdir(parents=True, exist_ok=True)
        with self._answer(request) as answer, file.open("wb") as target:
            shutil.copyfileobj(answer, target)

    def put_artifact(self, run: MlflowRun, name: str, content: bytes) -> bool:
        """Send a file of a run through the server; False when the server does not take artifacts."""
        if not run.artifacts.startswith(PROXIED):
            return False
        path = f"{_ARTIFACTS}/{quote(f'{_proxied_folder(run.artifacts)}/{name}')}"
        self._open(Request(self.url + path, data=content, method="PUT"))  # noqa: S310
        return True

    def _find(self, path: str, **query: str) -> Json | None:
        try:
            return self._send("GET", path, query)
        except MlflowRefusedError as error:
            if error.code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def _post(self, path: str, body: Json) -> Json:
        return self._send("POST", path, body)

    def _list(self, path: str, body: Json, *, get: bool = False) -> Iterator[Any]:
        token = ""
        while True:
            more = {"page_token": token} if token else {}
            answer = self._send("GET" if get else "POST", path, {**body, **more})
            yield lambda key, answer=answer: answer.get(key) or ()
            token = str(answer.get("next_page_token") or "")
            if not token:
                return

    def _send(self, method: str, path: str, body: Json) -> Json:
        url = f"{self.url}/api/2.0/mlflow/{path}"
        if method == "GET":
            request = Request(f"{url}?{urlencode(body)}")  # noqa: S310
        else:
            request = Request(url, data=json.dumps(body).encode(), method=method)  # noqa: S310
            request.add_header("Content-Type", "application/json")
        return _read_json(self._open(request), self.url)

    def _open(self, request: Request) -> bytes:
        with self._answer(request) as answer:
            content: bytes = answer.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise MlflowUnreachableError(f"{self.url} answers more than {LARGEST} bytes")
        return content

    @contextlib.contextmanager
    def _answer(self, request: Request) -> Iterator[Any]:
        if self.authorization:
            request.add_header("Authorization", self.authorization)
        try:
            with build_opener(_NoRedirect).open(request, timeout=SECONDS) as answer:
                yield answer
        except HTTPError as error:
            raise self._translate(error) from error
        except (URLError, HTTPException, OSError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            raise MlflowUnreachableError(f"{self.url} can't be reached: {reason}") from error

    def _translate(self, error: HTTPError) -> MlflowError:
        text = error.read(2000).decode(errors="replace").strip()
        try:
            document = json.loads(text)
            code, said = str(document["error_code"]), str(document.get("message", ""))
        except (ValueError, KeyError, TypeError):
            code, said = str(error.code), text[:200]
        message = f"{self.url} answered {error.code}: {' '.join(said.split())[:300] or code}"
        if error.code in (401, 403):
            return MlflowRefusedError(message, code, hint=_HINT)
        if error.code >= 500 or error.code in (408, 429):
            return MlflowUnreachableError(message)
        return MlflowRefusedError(message, code)


class _NoRedirect(HTTPRedirectHandler):
    """A credential goes to the host that the spec names, and to no other."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _proxied_folder(place: str) -> str:
    """Return the path of artifacts that a server serves, by their address."""
    return re.sub(r"^//[^/]*", "", place.removeprefix(PROXIED)).strip("/")


def _read_json(content: bytes, url: str) -> Json:
    try:
        answer = json.loads(content or b"{}")
    except (ValueError, RecursionError) as error:
        raise MlflowUnreachableError(
            f"{url} does not answer as MLflow does: {error}",
            hint="is it the address of an MLflow server, without a page of it?",
        ) from error
    if not isinstance(answer, dict):
        raise MlflowUnreachableError(f"{url} does not answer as MLflow does")
    return answer


def _read_object(answer: Json, key: str) -> Json:
    found = answer.get(key)
    if not isinstance(found, dict):
        raise MlflowUnreachableError(f"MLflow's answer has no `{key}`")
    return found


def _read_run(item: Json) -> MlflowRun:
    with _reading("a run"):
        info, data = item["info"], item.get("data") or {}
        return MlflowRun(
            id=str(info["run_id"]),
            artifacts=str(info.get("artifact_uri", "")),
            status=str(info.get("status", "")),
            ended=int(info["end_time"]) if info.get("end_time") else None,
            params=_read_pairs(data.get("params")),
            metrics={
                str(each["key"]): float(each["value"])
                for each in data.get("metrics") or ()
                if isinstance(each.get("value"), int | float)
            },
            tags=_read_pairs(data.get("tags")),
        )


def _read_version(item: Json) -> MlflowVersion:
    with _reading("a version"):
        return MlflowVersion(
            number=int(item["version"]),
            source=str(item.get("source", "")),
            run=str(item.get("run_id", "")),
            tags=_read_pairs(item.get("tags")),
        )


@contextlib.contextmanager
def _reading(what: str) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MlflowUnreachableError(
            f"MLflow's answer is not {what} as its API says: {error!r}"
        ) from error


def _read_pairs(items: Sequence[Json] | None) -> dict[str, str]:
    return {str(item["key"]): str(item.get("value", "")) for item in items or ()}


def _list_pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def _quote(value: str) -> str:
    """Write a text into a filter, which has no escapes."""
    return f"'{value}'" if "'" not in value else f'"{value}"'
