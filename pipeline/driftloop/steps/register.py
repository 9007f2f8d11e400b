"""`driftloop step register`: commit a trained version, as production the first time, then as
shadow."""

from dataclasses import dataclass
from pathlib import Path

import click

from driftloop.clients.s3 import ObjectStore, StoreLocation
from driftloop.contract.documents import DocumentError, parse_json
from driftloop.contract.handovers import read_digests
from driftloop.contract.lacks import describe_lacks
from driftloop.contract.names import find_given_model, is_forced, release_id
from driftloop.contract.outcomes import RunOutcome
from driftloop.contract.platform import SIGNING_KEYS
from driftloop.contract.records import Rehearsal
from driftloop.contract.trees import REHEARSAL_FILE, release_key, run_key
from driftloop.errors import StepError
from driftloop.operations.commits import releases as pipelines
from driftloop.operations.commits.releases import TransitionMessage
from driftloop.operations.runs.references import digest_detector
from driftloop.release import record
from driftloop.release.minisign import SigningKey
from driftloop.release.record import NumbersAlike, Recent, Rehearsed, Release, Version
from driftloop.release.refits import (
    find_lacks,
    needs_refit,
    replace_detectors,
    was_refitted,
)
from driftloop.release.signing import sign_version
from driftloop.steps import options
from driftloop.steps.evaluation import HINT, read_evaluation
from driftloop.steps.outcomes import end_refit, store_outcome
from driftloop.steps.settings import StepSettings, write_parameters

EXAMPLES = """\b
Examples:
  driftloop step register --pipeline digits --run digits-4f0c1d2e3a5b --cause schedule \\
    --model-digest sha256:… --data-digest sha256:… --metrics metrics.json --out /tmp/out
"""


@click.command(epilog=EXAMPLES)
@options.pipeline
@options.run
@click.option("--cause", required=True, help="Cause of the run.")
@click.option("--recipe", default="", help="Digest of code, parameters and images.")
@click.option("--model-digest", required=True, help="Digest of the model's folder.")
@click.option("--data-digest", required=True, help="Digest of the batches.")
@click.option(
    "--metrics",
    required=True,
    type=click.Path(path_type=Path),
    help="Path of metrics.json, or its folder.",
)
@click.option("--detectors", is_flag=True, help="The run fitted detectors.")
@click.option(
    "--detector-digests",
    default="",
    help="Digest of each detector's folder: NAME=sha256:…, separated by commas.",
)
@click.option(
    "--monitors",
    default="",
    help="Digest of the settings of each monitor: NAME=sha256:…, separated by commas.",
)
@click.option(
    "--record-digests",
    default="",
    help="Digest of the run's folders `snapshot` and `evaluation`: NAME=sha256:…, separated by commas.",
)
@options.folder_option("--rehearsal", "Folder of rehearsal.json.", required=False)
@click.option("--sign", is_flag=True, help="Sign the release with the platform's key.")
@options.out
def command(
    *,
    pipeline: str,
    run: str,
    cause: str,
    recipe: str,
    model_digest: str,
    data_digest: str,
    metrics: Path,
    detectors: bool,
    detector_digests: str,
    monitors: str,
    record_digests: str,
    rehearsal: Path | None,
    sign: bool,
    out: Path,
) -> None:
    """Commit the new version; writes `phase` (shadow, or stable the first time) and `release`.

    When production is this very model, its detectors are production's from now on if that lacks one of
    them (phase `refitted`). Else nothing is committed, and the phase is `refused`; so it is when production is
    another one than this was evaluated against.
    """
    settings = StepSettings.from_environment()
    folder = settings.bucket / release_key(run)
    _check_stored(settings.store, folder / "model", model_digest)
    fitted = read_digests(detector_digests)
    for name, digest in fitted.items():
        place = folder / "detectors" / name
        _compare_digests(place, digest_detector(settings.store, place), digest)
    records = read_digests(record_digests)
    for name, digest in records.items():
        _check_stored(settings.store, settings.bucket / run_key(run, name), digest)
    evaluated = _read_evaluation(metrics)
    version = Version(
        id=release_id(run),
        run=run,
        model=str(folder / "model"),
        model_digest=model_digest,
        detectors=str(folder / "detectors") if detectors else None,
        detector_digests=fitted,
        monitor_digests={
            name: digest for name, digest in read_digests(monitors).items() if name in fitted
        },
        record_digests=records,
        data_digest=data_digest,
        # what a person gave is made by no recipe of the spec
        recipe_digest=None if find_given_model(cause) else recipe or None,
        forced=is_forced(cause),
        metrics=evaluated.metrics,
        recent=evaluated.recent,
        rehearsed=_read_rehearsal(rehearsal / REHEARSAL_FILE, evaluated.against)
        if rehearsal is not None
        else None,
    )
    key = _read_signing_key(settings) if sign else None
    moved = pipelines.commit_transition(
        settings.open_repository(),
        pipeline,
        lambda release: add_version(release, version, against=evaluated.against, key=key),
        lambda before, after: _build_message(
            before, after, version, cause, evaluated.not_comparable
        ),
    )
    if was_refitted(moved.release, run):
        production = moved.release.production
        assert production is not None  # noqa: S101 - it was refitted
        outcome = store_outcome(settings.store, settings.bucket, run, end_refit(production))
        write_parameters(out, phase="refitted", release=production.id)
        options.print_progress(outcome.text)
        return
    refusal = find_refusal(moved.release, version, against=evaluated.against)
    if refusal is not None:
        store_outcome(settings.store, settings.bucket, run, refusal)
        write_parameters(out, phase="refused", release=version.id)
        options.print_progress(f"{version.id} is not the candidate: {refusal.text}")
        return
    phase = moved.release.phase if _is_version(moved.release.candidate, version) else "stable"
    write_parameters(out, phase=phase, release=version.id)
    options.print_progress(
        f"{version.id} is in phase {phase}, commit {moved.commit.sha if moved.commit else 'made before'}"
    )


def _read_signing_key(settings: StepSettings) -> SigningKey:
    """Return the platform's key; StepError when pods would refuse what it signs."""
    key = settings.signing_key
    if key.public not in settings.signing_keys:
        raise StepError(
            f"key {key.public.name}, which signs releases, is not among those that pods trust",
            hint=f"add `{key.public.text}` to {SIGNING_KEYS.place}",
        )
    return key


def add_version(
    release: Release,
    version: Version,
    *,
    against: str | None = None,
    key: SigningKey | None = None,
) -> Release:
    """Return the release with a new version, signed by `key`; unchanged when it has it already, or it is refused. Of
    one that is production's very model it takes the detectors that production lacks.

    An earlier candidate is rejected: its run is over, or this run could not have claimed.
    """
    if was_refitted(release, version.run) or _has_version(release, version):
        return release
    if needs_refit(release.production, version):
        release = replace_detectors(release, version)
        fitted = release.production
        if key is None or fitted is None:
            return release
        return release.model_copy(update={"production": sign_version(release, fitted, key)})
    if find_refusal(release, version, against=against):
        return release
    if key is not None:
        version = sign_version(release, version, key)
    if release.phase == "empty":
        return record.release_first(release, version)
    if release.phase in ("shadow", "canary"):
        release = record.reject_candidate(release)
    return record.start_shadow(release, version)


def find_refusal(release: Release, version: Version, *, against: str | None) -> RunOutcome | None:
    """Return why a version can't become the candidate; `against` is the production that its
    evaluation compared it with."""
    production = release.production
    if production is None or _has_version(release, version):
        return None
    if record.is_same_model(production, version):
        reason = f"nothing new since {production.id}: the run made the same model again"
        return RunOutcome.now("refused", reason, obstacle="nothing-new")
    if against is not None and production.id != against:
        reason = f"it was evaluated against {against}, production is {production.id} by now"
        return RunOutcome.now("superseded", reason)
    return None


def _has_version(release: Release, version: Version) -> bool:
    return any(
        _is_version(current, version)
        for current in (release.production, release.candidate, release.previous)
    )


def _is_version(current: Version | None, version: Version) -> bool:
    return current is not None and current.id == version.id


def _check_stored(store: ObjectStore, folder: StoreLocation, digest: str) -> None:
    _compare_digests(folder, store.digest_folder(folder), digest)


def _compare_digests(folder: StoreLocation, stored: str, digest: str) -> None:
    if stored != digest:
        raise StepError(
            f"{folder} has digest {stored}, the run computed {digest}",
            hint="a release is written once: was this run id used before, or the upload cut off? Retry the step",
        )


def _build_message(
    before: Release, after: Release, version: Version, cause: str, problem: str
) -> TransitionMessage:
    if was_refitted(after, version.run):
        return _build_refit_message(before, after, version, cause)
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in sorted(version.metrics.items()))
    lines = [f"On held-out data: {metrics}."] if metrics else []
    lines.append(_describe_rehearsal(version.rehearsed))
    if problem:
        lines.append(f"Production is not comparable: {problem}.")
    if before.candidate is not None:
        lines.append(f"It replaces {before.candidate.id}, whose rollout had stopped.")
    role = "as the first release" if after.phase == "stable" else "in shadow"
    first = after.phase == "stable"
    if version.forced:
        lines.append("A person forced its run.")
    return TransitionMessage(
        f"Release {version.id} of {after.name} {role}",
        version,
        cause,
        "\n".join(lines),
        RunOutcome.now("released", "the first release") if first else None,
    )


def _build_refit_message(
    before: Release, after: Release, version: Version, cause: str
) -> TransitionMessage:
    production, fitted = before.production, after.production
    assert production is not None  # noqa: S101 - it was refitted
    assert fitted is not None  # noqa: S101
    lacks = describe_lacks(find_lacks(production, version.monitor_digests))
    why = f"Production {lacks} before. " if lacks else ""
    lines = [f"{why}The model and its traffic stay."]
    if version.data_digest != production.data_digest:
        lines.append(
            f"The detectors are fitted on other data than the model: {version.data_digest}."
        )
    if version.forced:
        lines.append("A person forced the run.")
    return TransitionMessage(
        f"Fit the detectors of {production.id} of {after.name} anew",
        fitted.model_copy(update={"run": version.run, "forced": version.forced}),
        cause,
        "\n".join(lines),
    )


def _read_rehearsal(file: Path, against: str | None) -> Rehearsed:
    try:
        rehearsal = Rehearsal.read(parse_json(file.read_bytes(), label=file.name))
    except (OSError, DocumentError) as error:
        raise StepError(
            f"{file} can't be read: {error}", hint="the rehearse step writes it"
        ) from error
    if not rehearsal.passed or rehearsal.start is None:
        raise StepError(
            f"{file} refuses the candidate: {'; '.join(rehearsal.reasons)}",
            hint="only a candidate that passed its rehearsal is registered",
        )
    numbers = None
    if rehearsal.tolerance is not None and rehearsal.agreement is not None and against is not None:
        numbers = NumbersAlike(
            against=against,
            rows=rehearsal.compared,
            tolerance=float(f"{rehearsal.tolerance:.6g}"),
            agreement=round(rehearsal.agreement, 4),
        )
    return Rehearsed(
        start=round(rehearsal.start, 1),
        p99=round(rehearsal.p99, 4) if rehearsal.p99 is not None else None,
        rows=rehearsal.answered,
        numbers=numbers,
    )


def _describe_rehearsal(rehearsed: Rehearsed | None) -> str:
    if rehearsed is None:
        return "It was not rehearsed."
    slow = f", p99 {rehearsed.p99 * 1000:.0f} ms" if rehearsed.p99 is not None else ""
    return f"In its rehearsal it loaded in {rehearsed.start:.1f} s and answered {rehearsed.rows} rows{slow}."


@dataclass(frozen=True)
class EvaluatedVersion:
    """The metrics of a new version, from metrics.json."""

    metrics: dict[str, float]
    recent: Recent | None
    """None without production, or without recent rows."""
    against: str | None
    """Production at the time; None without one."""
    not_comparable: str = ""
    """Why production could not be evaluated; empty when it was."""


def _read_evaluation(path: Path) -> EvaluatedVersion:
    evaluation = read_evaluation(path)
    candidate, production = evaluation.candidate, evaluation.production or {}
    if "all" not in candidate:
        raise StepError(
            f"{path} can't be read: the candidate has no metrics on `all` rows", hint=HINT
        )
    recent = None
    if candidate.get("recent") and production.get("recent"):
        rows, against = (evaluation.rows or {}).get("recent"), evaluation.against
        if rows is None or against is None:
            missing = "rows" if rows is None else "against"
            raise StepError(
                f"{path} can't be read: it has recent rows, but no `{missing}`", hint=HINT
            )
        if rows:
            recent = Recent(
                against=against,
                rows=rows,
                metrics=candidate["recent"],
                production=production["recent"],
            )
    return EvaluatedVersion(candidate["all"], recent, evaluation.against, evaluation.not_comparable)
