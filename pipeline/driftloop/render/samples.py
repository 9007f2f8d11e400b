"""Releases as runs would make them, of which a spec is rendered to look for errors before the first one."""

from driftloop.contract.names import release_id
from driftloop.release import record
from driftloop.release.record import Release, Version


def sample_releases(name: str, namespace: str) -> tuple[Release, Release]:
    """Return a shadow and a canary of a pipeline."""
    first = record.release_first(record.empty_release(name, namespace), _build_version(name, 0))
    shadow = record.start_shadow(first, _build_version(name, 1))
    return shadow, record.set_canary(shadow, 10)


def _build_version(pipeline: str, number: int) -> Version:
    """Return a version as a run would register it."""
    run = f"{pipeline}-{number:012x}"
    digest = f"sha256:{number:064x}"
    release = f"s3://driftloop/runs/{run}/release"
    return Version(
        id=release_id(run),
        run=run,
        model=f"{release}/model",
        model_digest=digest,
        detectors=f"{release}/detectors",
        data_digest=digest,
        signature="RU" + "A" * 97 + "=",
    )
