"""`python -m driftloop.console --state DIR`: the console that `driftloop up` starts. Its port is in
run/ports.json, its key in run/console-key."""

import argparse
import logging
import sys
from pathlib import Path

from driftloop.clients import cancellation
from driftloop.console.access import AccessKey
from driftloop.console.serving import build_local_console, listen, serve
from driftloop.errors import PipelineError
from driftloop.local.ground import files
from driftloop.local.ground.state import StateFolder


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="console", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="the state folder")
    arguments = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    state = StateFolder.open_folder(arguments.state)
    try:
        key = AccessKey(state.require_port("console"), files.read_text(state.console_key).strip())
        with listen(key.port) as listener:
            cancellation.run(serve(build_local_console(state, key), listener, ready=lambda: None))
    except (PipelineError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
