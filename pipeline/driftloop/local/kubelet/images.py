"""The stand-in for container images: an environment that uv builds, a snapshot of the code, our own
scripts.

A ref is immutable, as it should be in a registry: registering other content under a known ref is
refused.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from driftloop.errors import LocalError
from driftloop.local.ground.state import State, unwritable, write_json
from driftloop.local.kubelet import dockerfile, roles
from driftloop.local.kubelet.environments import build
from driftloop.plan import images as refs

Say = Callable[[str], None]
"""Takes one line of progress."""

LARGEST = 500 * 1024 * 1024
"""Bytes of code one image may hold."""

_LEFT_OUT = shutil.ignore_patterns(
    ".git", "__pycache__", "*.pyc", ".venv", "venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".driftloop"
)
_PYTHON = re.compile(r"(?:^|/)python:(\d+\.\d+)")


@dataclass(frozen=True)
class Image:
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

    def environ(self) -> dict[str, str]:
        """The environment variables a process of this image starts from."""
        path = [*map(str, self.bin), str(self.env / "bin"), "/usr/local/bin", "/usr/bin", "/bin"]
        return {
            "PATH": os.pathsep.join(path),
            "VIRTUAL_ENV": str(self.env),
            "PYTHONPATH": str(self.app),
            "PYTHONUNBUFFERED": "1",
            "LANG": "C.UTF-8",
            "HOME": str(self.app),
        }

    def program(self, name: str) -> str:
        """The file that `name` (a container's command[0]) runs.

        LocalError when the image has no such program.
        """
        file = shutil.which(name, path=self.environ()["PATH"])
        if file is None:
            raise LocalError(
                f"image `{self.ref}` has no program `{name}`",
                hint="is the package that brings it in the image's requirements.txt?",
            )
        return file


def resolve(state: State, ref: str) -> Image:
    """The registered image of a ref; LocalError when it is not registered.

    A pinned ref goes by its tag.
    """
    record = _home(state, ref) / "image.json"
    if by_digest(ref) and not record.exists():
        record = _home(state, ref.partition("@")[0]) / "image.json"
    try:
        fields = json.loads(record.read_text())
    except FileNotFoundError:
        refs_text = ", ".join(sorted(image.ref for image in registered(state))) or "none"
        raise LocalError(
            f"image `{ref}` is not registered here; registered: {refs_text}",
            hint="run `driftloop up SPEC` with the spec whose `images` name it",
        ) from None
    return Image(
        ref=fields["ref"],
        digest=fields["digest"],
        env=Path(fields["env"]),
        app=Path(fields["app"]),
        bin=tuple(map(Path, fields["bin"])),
    )


def by_digest(ref: str) -> bool:
    """Return True when a ref has both a tag and a digest."""
    name, _, digest = ref.partition("@")
    return bool(digest) and ":" in name.rpartition("/")[2]


def registered(state: State) -> list[Image]:
    """All images of this state folder, by ref."""
    refs = [json.loads(record.read_text())["ref"] for record in state.images.glob("*/image.json")]
    return [resolve(state, ref) for ref in sorted(refs)]


def register(
    state: State,
    ref: str,
    context: Path,
    *,
    envs: Path | None = None,
    say: Say = print,
) -> Image:
    """Register the image that `context` (Dockerfile, requirements.txt, code) describes, and build
    its environment.

    LocalError on a broken context, a ref that is registered with other content, or requirements
    that can't be installed.
    """
    file = _required(context, "Dockerfile", ref)
    _required(context, "requirements.txt", ref)
    try:
        base = dockerfile.base(file)
    except LocalError as error:
        raise LocalError(f"image `{ref}`: {error.message}", hint=error.hint) from error
    role = roles.of_base(base)
    digest = _content(context)
    home = _home(state, ref)
    if (home / "image.json").exists():
        record = json.loads((home / "image.json").read_text())
        if record["content"] != digest:
            raise LocalError(
                f"image `{ref}` is already registered with other content than {context} has now",
                hint=f"a ref never changes its content: write `{_free(state, ref)}` in the spec",
            )
    requirements = [context / "requirements.txt"]
    if role is not None:
        requirements.insert(0, role.requirements)
    python = match[1] if (match := _PYTHON.search(base)) else "3.11"
    env = build(envs or state.envs, requirements, python=python, name=ref, say=say)
    return _write(state, ref, env=env, context=context, content=digest, scripts=role.scripts if role else {})


def register_driftloop(state: State) -> Image:
    """Our own image `driftloop` is the environment this program runs in; it changes with the
    package.
    """
    content = f"{sys.prefix}\n{roles.package_digest()}"
    return _write(state, refs.DRIFTLOOP, env=Path(sys.prefix), context=None, content=content, scripts={})


def register_monitor(state: State, *, envs: Path | None = None, say: Say = print) -> Image:
    """Our own image `monitor`: alibi-detect's environment and a snapshot of this package."""
    role = roles.DETECTOR
    env = build(envs or state.envs, [role.requirements], python="3.11", name=refs.MONITOR, say=say)
    return _write(state, refs.MONITOR, env=env, context=None, content=str(env), scripts=role.scripts)


def _free(state: State, ref: str) -> str:
    """Return the next tag that is not in use."""
    ref = _next(ref)
    while (_home(state, ref) / "image.json").exists():
        ref = _next(ref)
    return ref


def _next(ref: str) -> str:
    """The ref with the next tag: its last number counted on, or `-2` behind it; a digest becomes a
    tag.
    """
    name, _, tag = ref.partition("@")[0].rpartition("/")[2].partition(":")
    folder = ref.partition("@")[0].removesuffix(f"{name}:{tag}" if tag else name)
    counted = re.sub(r"\d+(?=\D*$)", lambda number: str(int(number[0]) + 1), tag)
    return f"{folder}{name}:{counted if counted != tag else f'{tag}-2' if tag else '1'}"


def refresh(state: State) -> None:
    """Give users' images that hold our scripts this version's; their own content stays as it was
    registered.
    """
    for record in state.images.glob("*/image.json"):
        fields = json.loads(record.read_text())
        if fields["scripts"] and fields["ref"] not in (refs.DRIFTLOOP, refs.MONITOR):
            _write(
                state,
                fields["ref"],
                env=Path(fields["env"]),
                context=Path(fields["app"]),
                content=fields["content"],
                scripts=fields["scripts"],
            )


def _write(
    state: State, ref: str, *, env: Path, context: Path | None, content: str, scripts: Mapping[str, str]
) -> Image:
    library = roles.package_digest() if scripts else ""
    digest = hashlib.sha256(f"{env}\n{content}\n{sorted(scripts.items())}\n{library}".encode()).hexdigest()[:16]
    home = _home(state, ref)
    record = home / "image.json"
    if record.exists() and json.loads(record.read_text())["digest"] == digest:
        return resolve(state, ref)
    # Processes of the image may be running: each content has its own folder, and only the record moves.
    folder = home / digest
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        app = folder / "app"
        if context is None:
            app.mkdir()
        else:
            shutil.copytree(context, app, ignore=_LEFT_OUT)
        if scripts:
            roles.snapshot(folder / "lib")
            (folder / "bin").mkdir()
            for name, target in scripts.items():
                _script(folder, name, target, env)
        write_json(
            record,
            {
                "ref": ref,
                "digest": digest,
                "content": content,
                "env": str(env),
                "app": str(app),
                "bin": [str(folder / "bin")] if scripts else [],
                "scripts": dict(scripts),
            },
        )
    except OSError as error:
        raise unwritable(folder, error) from error
    return resolve(state, ref)


def _script(folder: Path, name: str, target: str, env: Path) -> None:
    """A console script of ours; a shell line starts it, since a `#!` line is bounded in length."""
    module, function = target.split(":")
    body = folder / "lib" / f"_{name}.py"
    body.write_text(f"from {module} import {function}\n\nif __name__ == '__main__':\n    {function}()\n")
    file = folder / "bin" / name
    python = shlex.quote(str(env / "bin" / "python"))
    file.write_text(f'#!/bin/sh\nexec {python} {shlex.quote(str(body))} "$@"\n')
    file.chmod(0o755)


def _home(state: State, ref: str) -> Path:
    return state.images / hashlib.sha256(ref.encode()).hexdigest()[:16]


def _required(context: Path, name: str, ref: str) -> Path:
    if not context.is_dir():
        raise LocalError(
            f"image `{ref}`: folder {context} does not exist", hint="`context` is relative to the spec's folder"
        )
    file = context / name
    if not file.is_file():
        raise LocalError(
            f"image `{ref}`: {context} has no {name}", hint=f"add a {name}; the reference shows a minimal one"
        )
    return file


def _content(context: Path) -> str:
    """A digest of all files that count; LocalError when they are too many bytes."""
    total = 0
    digest = hashlib.sha256()
    for file in _files(context):
        content = file.read_bytes()
        total += len(content)
        if total > LARGEST:
            raise LocalError(
                f"{context} holds more than {LARGEST // 2**20} MiB", hint="keep data and models out of the image folder"
            )
        name = file.relative_to(context).as_posix()
        digest.update(f"{name}\0{os.access(file, os.X_OK):d}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _files(context: Path) -> Iterable[Path]:
    for folder, folders, names in os.walk(context):
        skipped = _LEFT_OUT(folder, [*folders, *names])
        folders[:] = sorted(set(folders) - skipped)
        yield from (Path(folder, name) for name in sorted(set(names) - skipped))
