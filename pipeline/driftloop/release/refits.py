"""Detectors of production that are fitted anew: its model stays, and the monitors have changed."""

from collections.abc import Mapping

from driftloop.contract.lacks import Lack
from driftloop.errors import ReleaseError
from driftloop.release.record import Release, Version, is_same_model


def find_lacks(version: Version | None, monitors: Mapping[str, str]) -> dict[str, Lack]:
    """Return what a version lacks of the monitors of a spec, which are given by the digest of their settings. Nothing is
    known of versions of older versions of driftloop."""
    if version is None:
        return {}
    lacks: dict[str, Lack] = {}
    for name, settings in monitors.items():
        if version.detectors is None or (
            version.detector_digests and name not in version.detector_digests
        ):
            lacks[name] = "missing"
        elif version.monitor_digests.get(name, settings) != settings:
            lacks[name] = "outdated"
    return lacks


def needs_refit(production: Version | None, version: Version) -> bool:
    """Return True when a version is production's very model, and has detectors that production lacks: one of a monitor
    that is new, or of other settings. Of production of an older version of driftloop a person has to say it."""
    if production is None or not is_same_model(production, version) or version.detectors is None:
        return False
    if version.forced and not production.monitor_digests:
        return True
    return bool(find_lacks(production, version.monitor_digests))


def was_refitted(release: Release, run: str) -> bool:
    """Return True when a run has fitted production's detectors anew."""
    return release.production is not None and release.production.fitted_by == run


def replace_detectors(release: Release, version: Version) -> Release:
    """Return the release with the detectors of a version in the place of production's: it must be the same model, and
    all else stays. Its production is not signed yet."""
    production = release.production
    if production is None or not is_same_model(production, version):
        raise ReleaseError(
            f"the detectors of `{version.id}` are of another model than production's",
            hint="a version that is another model becomes the candidate",
        )
    fitted = production.model_copy(
        update={
            "detectors": version.detectors,
            "detector_digests": version.detector_digests,
            "monitor_digests": version.monitor_digests,
            "fitted_by": version.run,
            "signature": None,
        }
    )
    return Release.model_validate({**dict(release), "production": fitted})
