"""Copies of images between registries, by skopeo or crane: the same manifests, and so the same digests."""

import hashlib
import re
import shutil
import subprocess
from dataclasses import dataclass

from driftloop.errors import InstallationError, RegistryError

COPIERS = ("skopeo", "crane")
"""Programs that copy an index with all its platforms as it is. docker, podman and buildah pull one platform into
their store."""
_TAG = 12
"""Characters of a digest that tag a copy of what has no tag: registries may collect what no tag names."""


@dataclass(frozen=True)
class CopiedImage:
    """An image at its second name."""

    ref: str
    target: str
    digest: str
    copied: bool
    """False for one that was there already."""


@dataclass(frozen=True)
class CopyTool:
    """One of the programs."""

    name: str

    def read_digest(self, ref: str) -> str:
        """Return the digest that a registry has for a reference; RegistryError when it has none."""
        words = ("inspect", "--raw", f"docker://{ref}") if self._is_skopeo else ("digest", ref)
        said = self._run(*words)
        return (
            f"sha256:{hashlib.sha256(said).hexdigest()}"
            if self._is_skopeo
            else said.decode().strip()
        )

    def copy_image(self, ref: str, target: str) -> CopiedImage:
        """Copy an image, with all its platforms, unless its copy is there. RegistryError when that fails.

        What an interrupted copy left is used by the next one: both programs ask for each layer first.
        """
        name, _ = split_ref(ref)
        digest = ref.partition("@")[2] or self._read_source(ref)
        target = name_copy(target)
        try:
            if self.read_digest(target) == digest:
                return CopiedImage(ref, target, digest, copied=False)
        except RegistryError:
            pass  # it is not there, or copying says why it can't be
        source = f"{name}@{digest}"
        if self._is_skopeo:
            words = ("copy", "--quiet", "--all", "--preserve-digests")
            self._run(*words, f"docker://{source}", f"docker://{target}")
        else:
            self._run("copy", source, target)
        found = self.read_digest(target)
        if found != digest:
            raise RegistryError(
                f"`{target}` is {found} after {self.name} copied `{source}`",
                hint="is it a registry that changes what it is given? driftloop needs one that keeps manifests as they are",
            )
        return CopiedImage(ref, target, digest, copied=True)

    @property
    def _is_skopeo(self) -> bool:
        return self.name == "skopeo"

    def _read_source(self, ref: str) -> str:
        try:
            return self.read_digest(ref)
        except RegistryError as error:
            raise RegistryError(
                f"`{ref}` is not to be had: {error.message}",
                hint="its registry must be reached from here, and have the tag; `docker login` where it wants to know who asks",
            ) from error

    def _run(self, *words: str) -> bytes:
        done = subprocess.run([self.name, *words], capture_output=True, check=False)
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip()
            raise RegistryError(f"`{self.name} {words[0]}` failed: {_read_reason(said)}")
        return done.stdout


def _read_reason(said: str) -> str:
    """Return what a program says was wrong: its last line, without what its logger adds."""
    line = said.splitlines()[-1] if said else "it gave no reason"
    logged = re.search(r'msg="((?:[^"\\]|\\.)*)"', line)
    return re.sub(r'\\(["\\])', r"\1", logged[1])[-400:] if logged else line[-400:]


def find_copier(name: str | None) -> CopyTool:
    """Return the program of this name, or the first that is here; InstallationError without one."""
    for each in (name,) if name is not None else COPIERS:
        if shutil.which(each) is not None:
            return CopyTool(each)
    missing = f"`{name}` is not here" if name else f"neither {' nor '.join(COPIERS)} is here"
    raise InstallationError(
        f"{missing}, and images are copied by one of them, with their digests kept",
        hint="`apt install skopeo`, or crane of github.com/google/go-containerregistry",
    )


def split_ref(ref: str) -> tuple[str, str]:
    """Return the name of an image, and what follows it: `:tag`, `@digest`, both or nothing."""
    bare, at, digest = ref.partition("@")
    folder, slash, last = bare.rpartition("/")
    last, colon, tag = last.partition(":")
    return f"{folder}{slash}{last}", f"{colon}{tag}{at}{digest}"


def name_copy(target: str) -> str:
    """Return where a copy is put: at its tag, or at one made of its digest."""
    bare, _, digest = target.partition("@")
    if not digest or split_ref(bare)[1]:
        return bare
    return f"{bare}:{digest.removeprefix('sha256:')[:_TAG]}"
