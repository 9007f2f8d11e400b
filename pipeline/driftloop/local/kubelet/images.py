"""The stand-in for container images: an environment that uv builds, a snapshot of the code, our own
scripts.

A ref is immutable, as it should be in a registry: registering other content under a known ref is
refused.
"""

import hashlib
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from driftloop.contract.documents import DocumentError, to_json
from driftloop.contract.images import ImageRecord
from driftloop.contract.names import LISTEN_VARIABLE
from driftloop.errors import LocalError
from driftloop.local.ground import files
from driftloop.local.ground.state import StateFolder, build_write_error, write_json
from driftloop.local.kubelet import contents, dockerfile, roles
from driftloop.local.kubelet.environments import build_environment
from driftloop.plan import images as refs

Say = Callable[[str], None]
"""Takes one line of progress."""

DAMAGED = "`driftloop down`, then `driftloop up SPEC` registers the image again"

_LOOPBACK = Path(__file__).parent / "loopback"
"""Folder of the module that every Python of a container loads first."""
_PYTHON = re.compile(r"(?:^|/)python:(\d+\.\d+)")


@dataclass(frozen=True)
class LocalImage:
    """Image of a ref on this machine."""

    ref: str
    digest: str
    """Changes when a process of this image would run something else."""
    env: Path
    """The Python environment (its `bin/` has python and the requirements' console scripts)."""
    app: Path
    """The snapshot of the code: working directory, and first on PYTHONPATH."""
    bin: tuple[Path, ...] = ()
    """Folders of our own scripts, before the environment's on PATH."""

    def build_environment(self) -> dict[str, str]:
        """The environment variables a process of this image starts from."""
        path = [*map(str, self.bin), str(self.env / "bin"), "/usr/local/bin", "/usr/bin", "/bin"]
        return {
            "PATH": os.pathsep.join(path),
            "VIRTUAL_ENV": str(self.env),
            "PYTHONPATH": os.pathsep.join((str(_LOOPBACK), str(self.app))),
            LISTEN_VARIABLE: "127.0.0.1",
            "PYTHONUNBUFFERED": "1",
            "LANG": "C.UTF-8",
            "HOME": str(self.app),
        }

    def find_program(self, name: str) -> str:
        """The file that `name` (a container's command[0]) runs.

        LocalError when the image has no such program.
        """
        file = shutil.which(name, path=self.build_environment()["PATH"])
        if file is None:
            raise LocalError(
                f"image `{self.ref}` has no program `{name}`",
                hint="is the package that brings it in the image's requirements.txt?",
            )
        return file


def resolve_image(state: StateFolder, ref: str) -> LocalImage:
    """The registered image of a ref; LocalError when it is not registered.

    A pinned ref goes by its tag.
    """
    record = _image_folder(state, ref) / "image.json"
    if by_digest(ref) and not record.exists():
        record = _image_folder(state, ref.partition("@")[0]) / "image.json"
    try:
        fields = read_record(record)
    except FileNotFoundError:
        refs_text = ", ".join(sorted(image.ref for image in list_registered(state))) or "none"
        raise LocalError(
            f"image `{ref}` is not registered here; registered: {refs_text}",
            hint="run `driftloop up SPEC` with the spec whose `images` name it",
        ) from None
    return LocalImage(
        ref=fields.ref,
        digest=fields.digest,
        env=Path(fields.env),
        app=Path(fields.app),
        bin=tuple(map(Path, fields.bin)),
    )


def read_record(file: Path) -> ImageRecord:
    """Read an image.json; LocalError when it is damaged, FileNotFoundError when it is missing."""
    try:
        return ImageRecord.parse(files.read_file(file))
    except DocumentError as error:
        raise LocalError(f"{file} can't be read: {error.message}", hint=DAMAGED) from error


def by_digest(ref: str) -> bool:
    """Return True when a ref has both a tag and a digest."""
    name, _, digest = ref.partition("@")
    return bool(digest) and ":" in name.rpartition("/")[2]


def list_registered(state: StateFolder) -> list[LocalImage]:
    """All images of this state folder, by ref."""
    refs = [read_record(record).ref for record in state.images.glob("*/image.json")]
    return [resolve_image(state, ref) for ref in sorted(refs)]


def register_image(
    state: StateFolder,
    ref: str,
    context: Path,
    *,
    envs: Path | None = None,
    say: Say = print,
) -> LocalImage:
    """Register the image that `context` (Dockerfile, requirements.txt, code) describes, and build
    its environment.

    LocalError on a broken context, a ref that is registered with other content, or requirements
    that can't be installed.
    """
    base = _read_base(ref, context)
    role = roles.role_of_base(base)
    digest = contents.digest_content(context)
    home = _image_folder(state, ref)
    if (home / "image.json").exists():
        record = read_record(home / "image.json")
        if record.content != digest:
            raise LocalError(
                f"image `{ref}` is already registered with other content than {context} has now",
                hint=f"a ref never changes its content: write `{suggest_ref(state, ref)}` in the spec, or let --bump do it",
            )
    env = _build_env(ref, context, base, envs=envs or state.envs, say=say)
    return _write_record(
        state, ref, env=env, context=context, content=digest, scripts=role.scripts if role else {}
    )


def prepare_image(ref: str, context: Path, folder: Path, *, envs: Path, say: Say) -> LocalImage:
    """Return an image whose code is the folder itself, registered nowhere; our own scripts go
    below `folder`. LocalError as in `register_image`."""
    base = _read_base(ref, context)
    role = roles.role_of_base(base)
    env = _build_env(ref, context, base, envs=envs, say=say)
    if role is not None and role.scripts and not (folder / "bin").exists():
        _write_scripts(folder, role.scripts, env)
    return LocalImage(ref, "", env, context.resolve(), (folder / "bin",))


def _read_base(ref: str, context: Path) -> str:
    file = _require_file(context, "Dockerfile", ref)
    _require_file(context, "requirements.txt", ref)
    try:
        return dockerfile.read_base_image(file)
    except LocalError as error:
        raise LocalError(f"image `{ref}`: {error.message}", hint=error.hint) from error


def _build_env(ref: str, context: Path, base: str, *, envs: Path, say: Say) -> Path:
    role = roles.role_of_base(base)
    requirements = [context / "requirements.txt"]
    if role is not None:
        requirements.insert(0, role.requirements)
    python = match[1] if (match := _PYTHON.search(base)) else "3.11"
    return build_environment(envs, requirements, python=python, name=ref, say=say)


def register_driftloop(state: StateFolder) -> LocalImage:
    """Our own image `driftloop` is the environment this program runs in; it changes with the
    package.
    """
    content = f"{sys.prefix}\n{roles.digest_package()}"
    return _write_record(
        state, refs.DRIFTLOOP, env=Path(sys.prefix), context=None, content=content, scripts={}
    )


def register_monitor(
    state: StateFolder, *, envs: Path | None = None, say: Say = print
) -> LocalImage:
    """Our own image `monitor`: the detectors' environment and a snapshot of this package."""
    return _register_own(state, refs.MONITOR, roles.DETECTOR, envs=envs, say=say)


def register_alibi(state: StateFolder, *, envs: Path | None = None, say: Say = print) -> LocalImage:
    """Our own image `alibi`, with TensorFlow: built when a monitor names a class of alibi-detect."""
    return _register_own(state, refs.ALIBI, roles.ALIBI, envs=envs, say=say)


def _register_own(
    state: StateFolder, ref: str, role: roles.ImageRole, *, envs: Path | None, say: Say
) -> LocalImage:
    env = build_environment(
        envs or state.envs, [role.requirements], python="3.11", name=ref, say=say
    )
    return _write_record(state, ref, env=env, context=None, content=str(env), scripts=role.scripts)


def prepare_monitor(folder: Path, *, envs: Path, say: Say) -> LocalImage:
    """Return our own image `monitor`, registered nowhere; its scripts go below `folder`."""
    role = roles.DETECTOR
    env = build_environment(envs, [role.requirements], python="3.11", name=refs.MONITOR, say=say)
    _write_scripts(folder, role.scripts, env)
    return LocalImage(refs.MONITOR, "", env, folder / "lib", (folder / "bin",))


def compare_content(
    state: StateFolder, ref: str, context: Path
) -> Literal["same", "changed", "new"]:
    """Compare a folder of code with what is registered under a ref; `new` when nothing is."""
    record = _image_folder(state, ref) / "image.json"
    if not record.exists():
        return "new"
    return "same" if read_record(record).content == contents.digest_content(context) else "changed"


def suggest_ref(state: StateFolder, ref: str) -> str:
    """Return the ref with the next tag that is not in use."""
    ref = _next_tag(ref)
    while (_image_folder(state, ref) / "image.json").exists():
        ref = _next_tag(ref)
    return ref


def _next_tag(ref: str) -> str:
    """The ref with the next tag: its last number counted on, or `-2` behind it; a digest becomes a
    tag.
    """
    name, _, tag = ref.partition("@")[0].rpartition("/")[2].partition(":")
    folder = ref.partition("@")[0].removesuffix(f"{name}:{tag}" if tag else name)
    counted = re.sub(r"\d+(?=\D*$)", lambda number: str(int(number[0]) + 1), tag)
    return f"{folder}{name}:{counted if counted != tag else f'{tag}-2' if tag else '1'}"


def refresh_image(state: StateFolder) -> None:
    """Give users' images that hold our scripts this version's; their own content stays as it was
    registered.
    """
    for record in state.images.glob("*/image.json"):
        fields = read_record(record)
        if fields.scripts and fields.ref not in (refs.DRIFTLOOP, refs.MONITOR, refs.ALIBI):
            _write_record(
                state,
                fields.ref,
                env=Path(fields.env),
                context=Path(fields.app),
                content=fields.content,
                scripts=fields.scripts,
            )


def _write_record(
    state: StateFolder,
    ref: str,
    *,
    env: Path,
    context: Path | None,
    content: str,
    scripts: Mapping[str, str],
) -> LocalImage:
    library = roles.digest_package() if scripts else ""
    digest = hashlib.sha256(
        f"{env}\n{content}\n{sorted(scripts.items())}\n{library}".encode()
    ).hexdigest()[:16]
    home = _image_folder(state, ref)
    record = home / "image.json"
    kept = read_record(record) if record.exists() else None
    if kept is not None and kept.digest == digest and Path(kept.app).is_dir():
        return resolve_image(state, ref)
    # Processes of the image may be running: each content has its own folder, and only the record moves.
    folder = home / digest
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        app = folder / "app"
        if context is None:
            app.mkdir()
        else:
            contents.copy_content(context, app)
        if scripts:
            _write_scripts(folder, scripts, env)
        image = ImageRecord(
            ref=ref,
            digest=digest,
            content=content,
            env=str(env),
            app=str(app),
            bin=(str(folder / "bin"),) if scripts else (),
            scripts=dict(scripts),
        )
        write_json(record, to_json(image))
    except OSError as error:
        raise build_write_error(folder, error) from error
    return resolve_image(state, ref)


def _write_scripts(folder: Path, scripts: Mapping[str, str], env: Path) -> None:
    roles.snapshot_package(folder / "lib")
    (folder / "bin").mkdir(parents=True)
    for name, target in scripts.items():
        _write_script(folder, name, target, env)


def _write_script(folder: Path, name: str, target: str, env: Path) -> None:
    """A console script of ours; a shell line starts it, since a `#!` line is bounded in length."""
    module, function = target.split(":")
    body = folder / "lib" / f"_{name}.py"
    body.write_text(
        f"from {module} import {function}\n\nif __name__ == '__main__':\n    {function}()\n"
    )
    file = folder / "bin" / name
    python = shlex.quote(str(env / "bin" / "python"))
    file.write_text(f'#!/bin/sh\nexec {python} {shlex.quote(str(body))} "$@"\n')
    file.chmod(0o755)


def _image_folder(state: StateFolder, ref: str) -> Path:
    return state.images / hashlib.sha256(ref.encode()).hexdigest()[:16]


def _require_file(context: Path, name: str, ref: str) -> Path:
    if not context.is_dir():
        raise LocalError(
            f"image `{ref}`: folder {context} does not exist",
            hint="`context` is relative to the spec's folder",
        )
    file = context / name
    if not file.is_file():
        raise LocalError(
            f"image `{ref}`: {context} has no {name}",
            hint=f"add a {name}; the reference shows a minimal one",
        )
    return file
