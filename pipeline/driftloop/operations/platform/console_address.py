"""Address of the console of a running `up`, and the one that lets in."""

from driftloop.local.ground import files
from driftloop.local.ground.state import StateFolder
from driftloop.operations.ground import endpoints

ENTER = "/enter"
"""Path of the address that is printed; its query has the key."""
PATIENCE = 2.0
"""Seconds that it may take to answer."""


def format_address(port: int, key: str) -> str:
    """Return the address that lets in: whoever has it is the owner."""
    return f"http://127.0.0.1:{port}{ENTER}?key={key}"


def read_address(state: StateFolder) -> str:
    """Return the address of the console that `up` has started; FileNotFoundError before."""
    return format_address(state.require_port("console"), files.read_text(state.console_key).strip())


def find_console(state: StateFolder) -> str | None:
    """Return the address of the console that `up` runs beside a state folder; None when none answers."""
    port = state.known_ports().get("console")
    if port is None or state.find_holder() is None:
        return None
    try:
        address = read_address(state)
        with endpoints.open_near(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE) as response:
            return address if response.read() == b"ok\n" else None
    except OSError:
        return None
