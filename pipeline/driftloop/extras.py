"""What comes with an extra of the package, and the command that adds it to this installation."""

import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from driftloop.errors import InstallationError

EXTRAS = {
    "console": ("starlette", "uvicorn"),
    "local": ("croniter", "envoy", "httptools", "obstore", "uv", "starlette", "uvicorn"),
}
"""Extra -> the modules that it adds, the smallest extra first."""


def find_missing(extra: str) -> list[str]:
    """Return the modules of an extra that are not installed."""
    return [module for module in EXTRAS[extra] if find_spec(module) is None]


def require_extra(extra: str, what: str) -> None:
    """Raise InstallationError unless an extra is installed; `what` is what asks for it."""
    if missing := find_missing(extra):
        raise build_missing_error(what, missing, extra)


def build_missing_error(what: str, missing: Iterable[str], extra: str) -> InstallationError:
    """Return the error that names what is missing and the command that adds it."""
    names = ", ".join(f"`{name}`" for name in missing)
    return InstallationError(
        f"{what} needs {names}, which the extra `{extra}` adds",
        hint=f"install it with `{write_install_command(extra)}`",
    )


def explain_missing_module(module: str | None) -> InstallationError | None:
    """Return the error for a module that could not be imported; None when no extra adds it."""
    name = (module or "").partition(".")[0]
    for extra, modules in EXTRAS.items():
        if name in modules:
            return build_missing_error("this command", [name], extra)
    return None


def write_install_command(extra: str, prefix: Path | None = None) -> str:
    """Return the command that adds an extra, in the words of what made the environment at
    `prefix` (this one): uv's tools, pipx, pip, or uv in an environment without pip."""
    place = prefix or Path(sys.prefix)
    package = f"'driftloop[{extra}]'"
    if (place / "uv-receipt.toml").exists():
        return f"uv tool install {package}"
    if (place / "pipx_metadata.json").exists():
        return f"pipx install --force {package}"
    if any(place.glob("lib/python*/site-packages/pip")):
        return f"pip install {package}"
    return f"uv pip install {package}"
