"""Ask the decision service what a pipeline's loop waits for."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.error import HTTPError, URLError

from driftloop.errors import LocalError
from driftloop.local.ground.state import StateFolder
from driftloop.operations import endpoints
from driftloop.operations.suspend import DecisionEndpoint
from driftloop.operations.windows import ask_windows


@dataclass(frozen=True)
class LoopAnswer:
    """The phase of a loop and what it waits for, in one line and in one paragraph."""

    pipeline: str
    phase: str
    summary: str
    text: str
    windows: tuple[str, ...] = ()
    """What each detector here has of its open window, in words."""

    def to_json(self) -> dict[str, Any]:
        """Return the answer as the service sends it, and the windows beside it."""
        return asdict(self)


def ask_why(decision: DecisionEndpoint) -> LoopAnswer:
    """Return what the loop waits for; LocalError when its service does not answer."""
    url = f"{decision.url}/why"
    try:
        with endpoints.open_near(url, timeout=10) as response:
            document = json.load(response)
        return LoopAnswer(
            **{key: document[key] for key in ("pipeline", "phase", "summary", "text")}
        )
    except HTTPError as error:
        text = error.read(200).decode(errors="replace").strip()
        raise LocalError(
            f"the decision service answered {error.code}: {text}",
            hint="see `driftloop logs`, and check that NATS runs",
        ) from error
    except (URLError, OSError, ValueError, KeyError, TypeError) as error:
        raise LocalError(f"{url} can't be reached: {error}", hint=endpoints.NOT_RUNNING) from error


def describe_windows(state: StateFolder, pipeline: str) -> tuple[str, ...]:
    """Return a line for each detector of a pipeline that runs here, and for each that does not
    answer."""
    windows, unknown = ask_windows(state, pipeline)
    now = datetime.now(UTC)
    lines = (f"{key.split('/')[-1]}: {window.describe(now)}" for key, window in windows.items())
    return (*lines, *unknown)
