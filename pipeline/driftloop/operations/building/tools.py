"""The programs that build images: docker, podman and buildah."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from driftloop.errors import InstallationError, RegistryError, SpecError

TOOLS = ("docker", "podman", "buildah")
_WORDS = {"buildah": ("bud",)}
_STDERR = 2
_SEEN = "{{.Size}} {{.Config.User}}"


@dataclass(frozen=True)
class BuiltImage:
    """What a tool says of an image that it built."""

    size: int
    """Bytes of its layers, unpacked."""
    user: str
    """User that its programs run as; empty for root."""

    @property
    def runs_as_root(self) -> bool:
        """True when nothing says otherwise."""
        return self.user.partition(":")[0] in ("", "0", "root")


@dataclass(frozen=True)
class BuildTool:
    """One of the tools, or a program that is called as `PROGRAM NAME FOLDER -f DOCKERFILE`."""

    name: str

    @property
    def is_known(self) -> bool:
        """False for a program of a person's own, which can't be asked about what it built."""
        return self.name in TOOLS

    def build_image(self, ref: str, folder: Path, dockerfile: Path, words: Sequence[str]) -> None:
        """Build an image; `words` go to the tool as they are. SpecError when it fails."""
        if self.is_known:
            verb = _WORDS.get(self.name, ("build",))
            command = [self.name, *verb, "-t", ref, "-f", str(dockerfile), *words, str(folder)]
        else:
            command = [self.name, ref, str(folder), "-f", str(dockerfile), *words]
        # what the tool says is progress
        done = subprocess.run(command, stdout=_STDERR, check=False)
        if done.returncode != 0:
            raise SpecError(
                f"{self.name} ended with {done.returncode} on `{ref}`",
                hint="the reason is above; words after `--` go to the tool, such as `-- --network host`",
            )

    def inspect_image(self, ref: str) -> BuiltImage:
        """Return what is known of an image that was built."""
        if self.name != "buildah":
            size, _, user = self._ask("image", "inspect", "--format", _SEEN, ref).partition(" ")
            return BuiltImage(int(size), user.strip())
        document = json.loads(self._ask("inspect", "--type", "image", ref))
        layers = json.loads(document["Manifest"])["layers"]
        user = document["OCIv1"].get("config", {}).get("User", "")
        return BuiltImage(sum(layer["size"] for layer in layers), user)

    def push_image(self, ref: str) -> str:
        """Push an image and return its digest, as the registry has it."""
        with tempfile.TemporaryDirectory(prefix="driftloop-push-") as folder:
            file = Path(folder) / "digest"
            words = [] if self.name == "docker" else ["--digestfile", str(file)]
            done = subprocess.run(
                [self.name, "push", *words, ref], capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                registry = ref.partition("/")[0]
                raise RegistryError(
                    f"{self.name} can't push `{ref}`: {(done.stderr or done.stdout).strip()[-500:]}",
                    hint=f"`{self.name} login {registry}` with an account that may push",
                )
            if words:
                return file.read_text().strip()
        repository = ref.rpartition(":")[0]
        found: list[str] = json.loads(
            self._ask("image", "inspect", "--format", "{{json .RepoDigests}}", ref)
        )
        return next(
            name.partition("@")[2] for name in found if name.partition("@")[0] == repository
        )

    def _ask(self, *words: str) -> str:
        done = subprocess.run([self.name, *words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SpecError(f"`{self.name} {' '.join(words)}` failed: {done.stderr.strip()[-500:]}")
        return done.stdout.strip()


def find_tool(name: str | None) -> BuildTool:
    """Return the tool of this name, or the first that works here; InstallationError without one."""
    if name is not None and name not in TOOLS:
        if shutil.which(name) is None:
            raise InstallationError(
                f"--tool is `{name}`, must be {', '.join(TOOLS)}, or the path of a program"
            )
        return BuildTool(str(Path(name).resolve()) if "/" in name else name)
    for tool in (name,) if name is not None else TOOLS:
        if _works(tool):
            return BuildTool(tool)
    wanted = f"`{name}` does not work" if name else "none of docker, podman and buildah works"
    raise InstallationError(
        f"{wanted} here, and images are built by docker, podman or buildah",
        hint="install one of the three (`apt install buildah`), or start docker's engine",
    )


def _works(tool: str) -> bool:
    """Return False also for a docker client without its engine, which builds nothing."""
    if shutil.which(tool) is None:
        return False
    return subprocess.run([tool, "info"], capture_output=True, check=False).returncode == 0
