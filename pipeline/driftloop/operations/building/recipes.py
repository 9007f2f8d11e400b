"""What images are built from: a Dockerfile with its bases by digest and its labels, in a folder with all
that it copies."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from driftloop import __version__
from driftloop.contract.names import SBOM_LABEL
from driftloop.errors import InstallationError, SpecError
from driftloop.operations.building.places import ImagePlaces
from driftloop.operations.ground.files import read_spec
from driftloop.plan import images
from driftloop.spec import Document

ROLES = Path(images.__file__).resolve().parents[1] / "images"
"""Folders of the platform's own images."""
DOCKERFILE, REQUIREMENTS = "Dockerfile", "requirements.txt"
PLATFORM_ROLES = ("driftloop", "monitor", "trainer", "server", "alibi", "executor")
TITLES = {
    "driftloop": "driftloop: command line, workflow steps, decision and analysis",
    "monitor": "driftloop: detectors and recorder",
    "alibi": "driftloop: detectors of alibi-detect",
    "trainer": "driftloop: base of trainer images",
    "server": "driftloop: base of model servers",
    "executor": "driftloop: Seldon's executor, which ends once nobody asks it any more",
}
_FROM = re.compile(r"^(FROM\s+(?:--\S+\s+)*)(\S+)", re.MULTILINE)
_LABEL = "org.opencontainers.image"


@dataclass(frozen=True)
class ImageRecipe:
    """One image to build."""

    ref: str
    source: Path
    """Folder with its Dockerfile."""
    labels: Mapping[str, str] = field(default_factory=dict)
    role: str | None = None
    """Role of the platform; None for a user's image."""
    key: str | None = None
    """Name of a user's image in `spec.images`."""
    named: str = ""
    """What the spec or the tree calls it."""
    places: ImagePlaces = field(default_factory=ImagePlaces)
    """Where it and its bases belong."""

    @property
    def is_renamed(self) -> bool:
        """True when the spec must get the new name of an image: a mirror's is not for it."""
        return self.key is not None and self.ref != self.named and self.places.cluster is None

    @property
    def copies_wheel(self) -> bool:
        """True for an image with this package in it."""
        return self.role is not None and ".whl" in self.read_dockerfile()

    def list_bases(self) -> tuple[str, ...]:
        """Return what its Dockerfile starts from."""
        text = self.read_dockerfile()
        stages = set(re.findall(r"^FROM\s.*\sAS\s+(\S+)", text, re.MULTILINE | re.IGNORECASE))
        return tuple(dict.fromkeys(base for _, base in _FROM.findall(text) if base not in stages))

    def read_dockerfile(self) -> str:
        """Return the text of its Dockerfile; SpecError without one."""
        file = self.source / DOCKERFILE
        try:
            return file.read_text("utf-8")
        except OSError as error:
            raise SpecError(
                f"{file} can't be read: {error.strerror}",
                hint="an image with a `context` needs a Dockerfile there; `driftloop init` writes one",
            ) from error

    def write_dockerfile(self, file: Path, *, sbom: Path | None) -> tuple[str, ...]:
        """Write the Dockerfile as it is built, and return the bases that have no digest."""
        digests = read_base_digests()
        loose: list[str] = []

        def replace(match: "re.Match[str]") -> str:
            base = match[2]
            if base not in bases or base == "scratch":
                return match[0]
            if base.startswith(f"{images.REGISTRY}/"):
                return match[1] + self.places.place_own(base)
            placed = self.places.place_base(base)
            if digests.get(base):
                return f"{match[1]}{placed}@{digests[base]}"
            if "@" not in base:
                loose.append(placed)
            return match[1] + placed

        bases = self.list_bases()
        text = _FROM.sub(replace, self.read_dockerfile())
        labels = dict(self.labels)
        if bases and bases[-1] != "scratch":
            base = bases[-1]
            ours = base.startswith(f"{images.REGISTRY}/")
            labels[f"{_LABEL}.base.name"] = self.places.place_own(base) if ours else base
            if digests.get(base):
                labels[f"{_LABEL}.base.digest"] = digests[base]
        if sbom is not None:
            labels[SBOM_LABEL] = f"sha256:{sha256(sbom.read_bytes()).hexdigest()}"
        said = " ".join(f'{key}="{_quote(value)}"' for key, value in sorted(labels.items()))
        file.write_text(f"{text.rstrip()}\nLABEL {said}\n", "utf-8")
        return tuple(dict.fromkeys(loose))

    def write_bill(self, folder: Path) -> Path | None:
        """Write the CycloneDX list of the packages of its lock; None without a lock."""
        lock = self.source / REQUIREMENTS
        if not lock.is_file():
            return None
        if find_spec("cyclonedx_py") is None:
            raise InstallationError(
                "--sbom needs `cyclonedx-bom`, which is not installed",
                hint="install it beside driftloop: `pip install cyclonedx-bom`",
            )
        name, _, tag = self.ref.rpartition("/")[2].partition(":")
        bill = folder / f"{name}-{tag}.cdx.json"
        folder.mkdir(parents=True, exist_ok=True)
        words = ("requirements", "--output-reproducible", "--no-validate", "-o", str(bill))
        done = subprocess.run(
            [sys.executable, "-m", "cyclonedx_py", *words, str(lock)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SpecError(f"{lock}: no list of packages can be made: {done.stderr[-500:]}")
        return bill

    def stage(self, folder: Path, wheel: Path | None) -> None:
        """Copy what a role's image is made of into a folder."""
        for file in self.source.iterdir():
            if file.is_file():
                shutil.copy(file, folder)
        if wheel is not None and self.copies_wheel:
            shutil.copy(wheel, folder)


def read_base_digests() -> dict[str, str]:
    """Return the images of others that ours start from, and their digests where they are known."""
    lines = (ROLES / "bases.txt").read_text("utf-8").splitlines()
    words = [line.split() for line in lines if line and not line.startswith("#")]
    return {word[0]: "".join(word[1:2]) for word in words}


def list_project_recipes(spec: Path, places: ImagePlaces) -> tuple[ImageRecipe, ...]:
    """Return the images that a spec names with a folder to build them from."""
    document = read_spec(spec)
    return tuple(_list_project(document, spec, places))


def _list_project(document: Document, spec: Path, places: ImagePlaces) -> Iterator[ImageRecipe]:
    revision = _read_revision(spec.parent)
    for key, image in document.pipeline.spec.images.items():
        if image.context is None:
            continue
        if "@" in image.ref:
            raise SpecError(
                f"{spec}: images.{key}.ref is `{image.ref}`, must be a tag to be built",
                hint="write the tag; `driftloop commit --pin` keeps its digest in `pins`",
            )
        name, _, tag = image.ref.rpartition("/")[2].partition(":")
        labels = {f"{_LABEL}.title": name, f"{_LABEL}.version": tag}
        if revision is not None:
            labels[f"{_LABEL}.revision"] = revision
        yield ImageRecipe(
            places.place_users(image.ref),
            spec.parent / image.context,
            labels,
            key=key,
            named=image.ref,
            places=places,
        )


def list_platform_roles(spec: Path | None) -> tuple[str, ...]:
    """Return the roles whose images a pipeline runs or is built from; that of alibi-detect's classes
    (2.4 GB) only where a monitor names one, and Seldon's executor not for another back end."""
    if spec is None:
        return tuple(role for role in PLATFORM_ROLES if role != "alibi")
    pipeline = read_spec(spec).pipeline
    needed = {
        "alibi": images.ALIBI in images.list_images(pipeline),
        "executor": pipeline.spec.serve.backend == "seldon",
    }
    return tuple(role for role in PLATFORM_ROLES if needed.get(role, True))


def list_platform_recipes(roles: Sequence[str], places: ImagePlaces) -> tuple[ImageRecipe, ...]:
    """Return the platform's own images of these roles, of this version."""
    return tuple(
        ImageRecipe(
            places.place_own(f"{images.REGISTRY}/{role}:{__version__}"),
            ROLES / role,
            {
                f"{_LABEL}.title": TITLES[role],
                f"{_LABEL}.version": __version__,
                f"{_LABEL}.licenses": "Apache-2.0",
                f"{_LABEL}.source": "https://github.com/driftloop/driftloop",
            },
            role=role,
            named=f"{images.REGISTRY}/{role}:{__version__}",
            places=places,
        )
        for role in roles
    )


def _read_revision(folder: Path) -> str | None:
    """Return the commit that a project is at, with `-dirty` when it has other changes; None outside git."""
    command = [
        "git",
        "-C",
        str(folder),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _quote(text: str) -> str:
    return re.sub(r'(["\\$])', r"\\\1", text)
