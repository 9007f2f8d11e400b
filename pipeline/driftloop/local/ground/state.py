"""The state folder: where each thing lies, which ports its parts have, and who holds it.

Everything the local runtime keeps is below this one folder; deleting it forgets everything.
"""

import contextlib
import errno
import json
import os
import random
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driftloop.contract.documents import DocumentError, is_whole, parse_json
from driftloop.errors import LocalError
from driftloop.local.ground import files, lock

LAYOUT = "1"
"""Raised when a folder written by an older version can't be read any more."""

STATE_FOLDER = ".driftloop"
"""Name of a state folder that nobody named otherwise."""

OWN_VALUES = "local.yaml"
"""Name of the file with values of a person's own Secrets and ConfigMaps."""

MARK = "DRIFTLOOP_CHILD_OF"
"""Environment variable on every child; its value is the state folder."""

IGNORED = ".gitignore"

PARTS = (
    "nats",
    "nats-monitor",
    "s3",
    "gateway",
    "proxy",
    "broker",
    "webhook",
    "api",
    "console",
)
"""Platform parts that listen."""

PORTS_HINT = "an `up` that runs writes the file anew within seconds, and so does the next one"

LEAST_FREE = 500 * 1024 * 1024
"""Bytes that must be free before anything starts."""

# Below the kernel's ephemeral range, so that an outgoing connection never takes a port between its choice and its use.
_PORTS = range(20_000, 32_000)


@dataclass(frozen=True)
class StateFolder:
    """Paths below one state folder. `root` is absolute."""

    root: Path

    @classmethod
    def open_folder(cls, folder: Path) -> "StateFolder":
        """The state folder at `folder`, which need not exist yet."""
        return cls(folder.expanduser().resolve())

    @property
    def repository(self) -> Path:
        """The bare cluster repository."""
        return self.root / "git" / "cluster.git"

    @property
    def repository_url(self) -> str:
        """The repository that pipeline containers clone and push."""
        return f"file://{self.repository}"

    @property
    def s3(self) -> Path:
        """The object store's folder: one sub-folder per bucket."""
        return self.root / "s3"

    @property
    def nats(self) -> Path:
        """JetStream's store."""
        return self.root / "nats"

    @property
    def envs(self) -> Path:
        """Folder of environments, unless another one is named."""
        return self.root / "envs"

    @property
    def images(self) -> Path:
        """Registered images: one folder per ref."""
        return self.root / "images"

    @property
    def secrets(self) -> Path:
        """Random credentials, mode 0600."""
        return self.root / "secrets"

    @property
    def own_values(self) -> Path:
        """Values of a person's own Secrets and ConfigMaps; a person writes it, also before the first start."""
        return self.root / OWN_VALUES

    @property
    def ignored(self) -> Path:
        """The file by which git ignores the folder."""
        return self.root / IGNORED

    @property
    def logs(self) -> Path:
        """One file per process."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Folder of files that the parts share while they run."""
        return self.root / "run"

    @property
    def trees(self) -> Path:
        """One checkout per commit that was looked at."""
        return self.root / "tree"

    @property
    def work(self) -> Path:
        """Folders that stand for containers' volumes."""
        return self.root / "work"

    @property
    def timeline(self) -> Path:
        """One JSON line per thing that happened."""
        return self.root / "timeline.jsonl"

    @property
    def objects(self) -> Path:
        """File of the applied objects: `{"revision", "objects"}`."""
        return self.run / "objects.json"

    @property
    def addresses(self) -> Path:
        """`{"<service host>:<port>": "127.0.0.1:<port>"}`."""
        return self.run / "addresses.json"

    @property
    def ports_file(self) -> Path:
        """The ports of the platform's parts."""
        return self.run / "ports.json"

    @property
    def applied(self) -> Path:
        """The record of what is applied."""
        return self.run / "applied.json"

    @property
    def history(self) -> Path:
        """The position of the timeline in the streams."""
        return self.run / "history.json"

    @property
    def platform(self) -> Path:
        """`{"configMap": {key: value}, "secret": {key: value}}`: both objects named
        `driftloop-platform`, mode 0600.
        """
        return self.run / "platform.json"

    @property
    def console_key(self) -> Path:
        """The key of the console that `up` runs, mode 0600; another one at each start."""
        return self.run / "console-key"

    def create_folders(self) -> None:
        """Make the folders.

        LocalError when they are another version's, can't be written, or the disk is full.
        """
        version = self.root / "version"
        try:
            if self.root.exists() and not self.root.is_dir():
                raise LocalError(
                    f"{self.root} is not a folder", hint="name another one with --state"
                )
            if self.exists() and (layout := _read_layout(version)) != LAYOUT:
                raise LocalError(
                    f"{self.root} was written by another version (layout {layout}, this one reads {LAYOUT})",
                    hint="use the driftloop that made it, or delete the folder to start afresh",
                )
            if not self.exists() and self._holds_others():
                raise LocalError(
                    f"{self.root} is not empty and no state folder",
                    hint="name an empty or new folder with --state",
                )
            self.root.mkdir(parents=True, exist_ok=True)
            # traffic, models and keys: nobody else on the machine may look in
            self.root.chmod(0o700)
            for folder in (
                self.s3,
                self.nats,
                self.envs,
                self.images,
                self.logs,
                self.run,
                self.trees,
                self.work,
            ):
                folder.mkdir(parents=True, exist_ok=True)
            self.repository.parent.mkdir(exist_ok=True)
            self.ignore_in_git()
            self.secrets.mkdir(mode=0o700, exist_ok=True)
            replace_file(version, LAYOUT + "\n")
        except FileExistsError as error:
            raise LocalError(
                f"{error.filename} is not a folder", hint="remove it; `driftloop up` makes it anew"
            ) from error
        except OSError as error:
            raise build_write_error(self.root, error) from error
        self.require_space()

    def _holds_others(self) -> bool:
        """Return True when the folder holds what neither this program nor a person puts into a state folder first."""
        return self.root.exists() and any(
            entry.name not in (OWN_VALUES, IGNORED) for entry in self.root.iterdir()
        )

    def ignore_in_git(self) -> None:
        """Keep the folder out of a project's own repository: tokens, keys and logs are below it."""
        self.root.mkdir(parents=True, exist_ok=True)
        replace_file(self.ignored, "*\n")

    def require_space(self, least: int = LEAST_FREE) -> None:
        """LocalError when less than `least` bytes are free where the folder is."""
        free = shutil.disk_usage(self.root).free
        if free < least:
            raise LocalError(
                f"{free // 2**20} MiB free on the disk of {self.root}, at least {least // 2**20} MiB are needed",
                hint="free some space, or put the state elsewhere with --state",
            )

    def exists(self) -> bool:
        """Return True when `up` has used this folder before."""
        return os.path.lexists(self.root / "version")

    def choose_ports(self, chosen: Mapping[str, int] | None = None) -> dict[str, int]:
        """Ports of all platform parts, kept from the last start where they are still free.

        `chosen` ports are taken as they are; LocalError when something else listens there.
        """
        chosen = chosen or {}
        kept: dict[str, int] = self.known_ports()
        ports: dict[str, int] = {}
        for part in PARTS:
            if part in chosen:
                if not is_free(chosen[part]):
                    raise LocalError(
                        f"port {chosen[part]} (for {part}) is in use{_read_holder(chosen[part])}",
                        hint="stop that program or choose another port",
                    )
                ports[part] = chosen[part]
            elif part in kept and kept[part] not in ports.values() and is_free(kept[part]):
                ports[part] = kept[part]
            else:
                ports[part] = free_port(taken={*ports.values(), *kept.values(), *chosen.values()})
        write_json(self.ports_file, ports)
        return ports

    def known_ports(self) -> dict[str, int]:
        """The ports of the last start; empty before the first. LocalError when the file that has
        them is damaged."""
        label = f"the ports in {self.ports_file}"
        try:
            ports: Any = parse_json(files.read_file(self.ports_file), label=label)
        except FileNotFoundError:
            return {}
        except DocumentError as error:
            raise LocalError(error.message, hint=PORTS_HINT) from error
        if not isinstance(ports, dict) or not all(is_whole(port, 1) for port in ports.values()):
            raise LocalError(f"{label} must be an object of port numbers", hint=PORTS_HINT)
        return ports

    def require_port(self, part: str) -> int:
        """Return the port of a platform part; LocalError before the first start."""
        ports = self.known_ports()
        if part not in ports:
            raise LocalError(f"{self.ports_file} has no port of `{part}`", hint=PORTS_HINT)
        return ports[part]

    def ensure_secret(self, name: str, length: int = 32) -> str:
        """A random secret of `length` characters, made on first use (or where its file is empty)
        and kept."""
        file = self.secrets / name
        try:
            text = files.read_text(file)
        except FileNotFoundError:
            text = ""
        if not text:
            replace_file(file, secrets.token_hex(length)[:length], mode=0o600)
            text = files.read_text(file)
        return text

    @contextlib.contextmanager
    def hold_lock(self) -> Iterator[None]:
        """Held by the one `up` of this folder.

        LocalError naming the process that already holds it.
        """
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(lock.hold_lock(self.run / "lock"))
            except BlockingIOError:
                raise LocalError(
                    f"already running in {self.root}{_as_process(self.find_holder())}",
                    hint="see `driftloop status`; stop it with `driftloop down`",
                ) from None
            yield

    def require_repository(self) -> None:
        """LocalError when one of git's own files is something else: git waits for ever at a pipe."""
        names = ("HEAD", "config", "packed-refs", "refs/heads/main")
        try:
            files.require_regular(*(self.repository / name for name in names))
            files.require_regular_tree(self.repository)
        except FileNotFoundError:
            # git itself says what is missing, or is at work there
            return
        except LocalError as error:
            hint = "remove it; what git misses then is pushed again from a clone, or `git fsck` names it"
            raise LocalError(error.message, hint=hint) from error
        except OSError as error:
            raise LocalError(f"{self.repository} can't be read: {error}") from error

    def find_holder(self) -> int | None:
        """The process that runs this folder now, or None; LocalError when it can't be seen."""
        return lock.find_lock_holder(self.run / "lock")


def is_free(port: int) -> bool:
    """Return True when a loopback port can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(taken: Iterable[int] = ()) -> int:
    """Return a free loopback port that is not in `taken`."""
    avoid = set(taken)
    for _ in range(1000):
        port = random.choice(_PORTS)  # noqa: S311
        if port not in avoid and is_free(port):
            return port
    raise LocalError(
        "no free port between 20000 and 32000", hint="stop some of the programs that listen there"
    )


def replace_file(file: Path, text: str, *, mode: int = 0o644) -> None:
    """Put `text` at `file` so that a reader sees the old or the new content, never a part, also
    after the machine lost its power."""
    try:
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    except OSError as error:
        raise build_write_error(file, error) from error
    try:
        os.fchmod(handle, mode)
        with os.fdopen(handle, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
        sync_file(file.parent)
    except OSError as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise build_write_error(file, error) from error


def sync_file(path: Path) -> None:
    """Have the disk store a file, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(file: Path, value: Any, *, mode: int = 0o644) -> None:
    """`replace` with JSON."""
    replace_file(file, json.dumps(value, indent=1, sort_keys=True) + "\n", mode=mode)


def build_write_error(path: Path, error: OSError) -> LocalError:
    """Return the LocalError for an OSError while writing."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return LocalError(
            f"no space left for {path}", hint="free some space; nothing that was stored is lost"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return LocalError(
            f"{path} can't be written: {error.strerror}", hint="name another folder with --state"
        )
    if error.errno == errno.EISDIR:
        return LocalError(f"{path} is a folder, must be a regular file", hint=files.REMOVE_HINT)
    return LocalError(f"{path}: {error.strerror}")


def _read_holder(port: int) -> str:
    """Describe the process that listens on a port; empty when this user can't see it."""
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.laddr[1:] == (port,)
                and connection.pid
            ):
                return _as_process(connection.pid)
    except psutil.Error:
        pass
    return ""


def _read_layout(version: Path) -> str:
    """Return the layout that a folder was written in; LocalError when its file is damaged."""
    hint = f"write `{LAYOUT}` into it if this version of driftloop made the folder"
    try:
        text = files.read_file(version)[:80].strip()
    except LocalError as error:
        raise LocalError(f"{version} is damaged: {error.message}", hint=hint) from error
    if not text.isdigit():
        found = text.decode(errors="replace")
        raise LocalError(f"{version} is damaged: it holds {found!r}, must be a number", hint=hint)
    return text.decode()


def _as_process(pid: int | None) -> str:
    return "" if pid is None else f" by process {pid}"
