"""The images that a tree names, and the one place where a ref becomes what a container is given:
pinned, or as written.

A ref of the platform's own never changes what it names, so the version is part of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from driftloop import __version__
from driftloop.plan.backends import backend_limits
from driftloop.platform.model import Images
from driftloop.spec import Pipeline
from driftloop.spec.detector import AlibiDetect, UserFunction
from driftloop.spec.graph import own_nodes

REGISTRY = "ghcr.io/driftloop"
"""Where the platform's own images are published."""
DRIFTLOOP = f"{REGISTRY}/driftloop:{__version__}"
"""The command line: workflow steps, decision and judge services."""
MONITOR = f"{REGISTRY}/monitor:{__version__}"
"""The detector service, and the recorder."""
ALIBI = f"{REGISTRY}/alibi:{__version__}"
"""The detector service with all of alibi-detect, for monitors that name a class of it."""
TRAINER = f"{REGISTRY}/trainer:{__version__}"
"""What a user's trainer image is built from."""
ENVOY = "docker.io/envoyproxy/envoy:v1.40.0"
"""The request logger beside a model server."""


@dataclass(frozen=True)
class PlatformImages:
    """The platform's own images as containers are given them."""

    driftloop: str = DRIFTLOOP
    monitor: str = MONITOR
    alibi: str = ALIBI
    envoy: str = ENVOY


def pin_image(ref: str, pins: Mapping[str, str]) -> str:
    """The ref with its pin's digest; as it is when it has none."""
    digest = pins.get(ref)
    return ref if digest is None else f"{ref}@{digest}"


def mirror_image(ref: str, registries: Images) -> str:
    """The ref at the mirror that the cluster pulls it from; as it is when it has none."""
    return _find_mirror(ref, registries.mirrors) or ref


def _find_mirror(ref: str, mirrors: Mapping[str, str]) -> str | None:
    """The ref at its mirror, by the longest start that fits; None without one."""
    for start in sorted(mirrors, key=len, reverse=True):
        if ref.startswith(start) and ref[len(start) :][:1] in ("/", ":", "@"):
            return f"{mirrors[start]}{ref[len(start) :]}"
    return None


def place_own_image(ref: str, registries: Images) -> str:
    """The ref of one of the platform's own images at its mirror, else at the registry that has copies of them."""
    mirrored = _find_mirror(ref, registries.mirrors)
    if mirrored is not None or registries.registry is None:
        return mirrored or ref
    return f"{registries.registry}/{ref.rpartition('/')[2]}"


def pin_platform_images(pins: Mapping[str, str], registries: Images) -> PlatformImages:
    """The platform's own images under these pins, at the registry that has copies of them."""
    return PlatformImages(
        *(
            place_own_image(pin_image(ref, pins), registries)
            for ref in (DRIFTLOOP, MONITOR, ALIBI, ENVOY)
        )
    )


def list_images(pipeline: Pipeline) -> tuple[str, ...]:
    """Every ref that the pipeline's tree names in any release, unpinned: the user's in the
    spec's order, then ours."""
    spec = pipeline.spec
    used = {
        *(step.image for step in spec.data.steps),
        spec.train.image,
        spec.evaluate.image,
        spec.serve.image,
    }
    used |= {node.image for node in own_nodes(spec.serve.graph)}
    used |= {each.image for each in spec.monitors.values() if isinstance(each, UserFunction)}
    adapted = [each for each in spec.monitors.values() if isinstance(each, AlibiDetect)]
    users = [image.ref for name, image in spec.images.items() if name in used]
    ours = [
        DRIFTLOOP,
        *([MONITOR] if len(adapted) < len(spec.monitors) or spec.capture is not None else []),
        *([ALIBI] if adapted else []),
        *([ENVOY] if backend_limits(spec.serve).runs_logger else []),
    ]
    return tuple(dict.fromkeys([*users, *ours]))


def list_unpinned_images(pipeline: Pipeline) -> tuple[str, ...]:
    """Those of them that go by their tag alone."""
    return tuple(
        ref for ref in list_images(pipeline) if "@" not in ref and ref not in pipeline.spec.pins
    )
