"""This package as a wheel, from what is installed: images get the very files that run here."""

import hashlib
import json
import subprocess
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

from driftloop import __version__
from driftloop.contract.keys import encode_part
from driftloop.errors import InstallationError
from driftloop.extras import require_extra

FILE = f"driftloop-{__version__}-py3-none-any.whl"
OF_INSTALLERS = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json"}
"""Files that installers leave beside the package's own."""
_ERA = (1980, 1, 1, 0, 0, 0)
"""Time of each file in the archive: the same files are the same bytes."""


def make_wheel(folder: Path) -> Path:
    """Write the wheel into a folder, and return it.

    InstallationError when an installed file is other than it was installed.
    """
    installed = distribution("driftloop")
    source = _find_checkout(installed)
    if source is None:
        return _pack_installed(installed, folder)
    return _build_checkout(source, folder)


def _find_checkout(installed: Distribution) -> Path | None:
    """Return the checkout that an editable installation runs from; None for any other."""
    text = installed.read_text("direct_url.json")
    origin = json.loads(text) if text else {}
    if not origin.get("dir_info", {}).get("editable"):
        return None
    return Path(origin["url"].removeprefix("file://"))


def _build_checkout(source: Path, folder: Path) -> Path:
    require_extra("local", "an image of a checkout")
    from uv import find_uv_bin

    done = subprocess.run(
        [find_uv_bin(), "build", "--quiet", "--wheel", "--out-dir", folder, source],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise InstallationError(
            f"no wheel can be built of {source}: {done.stderr.strip()[-1000:]}",
            hint=f"run `uv build --wheel {source}` by hand",
        )
    return folder / FILE


def _pack_installed(installed: Distribution, folder: Path) -> Path:
    record, name = [], f"driftloop-{__version__}.dist-info/RECORD"
    with zipfile.ZipFile(folder / FILE, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(installed.files or (), key=str):
            if ".." in file.parts or file.suffix == ".pyc" or file.name in OF_INSTALLERS:
                continue
            content = Path(str(file.locate())).read_bytes()
            digest = encode_part(hashlib.sha256(content).digest())
            if file.hash is not None and file.hash.value != digest:
                raise InstallationError(
                    f"{file.locate()} was changed after its installation",
                    hint="install driftloop again: images are made of what was released",
                )
            record.append(f"{file},sha256={digest},{len(content)}\n")
            _add_file(archive, str(file), content)
        _add_file(archive, name, "".join([*record, f"{name},,\n"]).encode())
    return folder / FILE


def _add_file(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _ERA)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)
