"""`driftloop step store`: write the folder of a version once, with its digests."""

import shutil
from pathlib import Path
from typing import Any

import click

from driftloop.clients import s3
from driftloop.contract.documents import LONGEST_FILE, DocumentError, parse_json
from driftloop.contract.handovers import write_digests
from driftloop.contract.integrity import describe_mismatch
from driftloop.contract.records import Snapshot
from driftloop.contract.trees import METADATA_FILE, METRICS_FILE, SNAPSHOT_FILE
from driftloop.errors import StepError
from driftloop.operations.runs.references import store_reference
from driftloop.steps import options
from driftloop.steps.settings import StepSettings, write_parameters
from driftloop.text.dump import dump_yaml
from driftloop.text.load import load_mapping
from driftloop.text.read import ReadRules

HINT = "an earlier step writes it"
METADATA_RULES = ReadRules(max_bytes=1024**3, max_values=50_000_000, exact=True)
"""The wrapper of the training function keeps up to 10,000 lines of its log."""

EXAMPLES = """\b
Examples:
  driftloop step store --run digits-4f0c1d2e3a5b --trial trial --snapshot snapshot \\
    --evaluation evaluation --out /tmp/out
"""


@click.command(epilog=EXAMPLES)
@click.option(
    "--pipeline",
    default=None,
    help="Pipeline, whose reference data of detectors are stored once; without it they are in the folder.",
)
@options.run
@options.folder_option("--trial", "Folder of the chosen trial: model/ and metadata.yaml.")
@options.folder_option("--snapshot", "Folder of snapshot.json.")
@options.folder_option("--evaluation", "Folder of metrics.json.")
@options.folder_option(
    "--detectors", "Folder of the fitted detectors, one folder each.", required=False
)
@click.option("--rehearsed", default=None, help="Digest of the model that was rehearsed.")
@options.out
def command(
    *,
    pipeline: str | None,
    run: str,
    trial: Path,
    snapshot: Path,
    evaluation: Path,
    detectors: Path | None,
    rehearsed: str | None,
    out: Path,
) -> None:
    """Assemble the folder of a version; writes release/, `model-digest`, `data-digest`,
    `detector-digests` and `record-digests`."""
    release = out / "release"
    shutil.rmtree(release, ignore_errors=True)
    release.mkdir(parents=True)
    if not (trial / "model").is_dir() or not s3.files_below(trial / "model"):
        raise StepError(
            f"{trial / 'model'} has no model", hint="the training function writes it to `out`"
        )
    shutil.copytree(trial / "model", release / "model")
    fitted: dict[str, str] = {}
    if detectors is not None and detectors.is_dir():
        s3.files_below(detectors)
        shutil.copytree(detectors, release / "detectors")
        for folder in (release / "detectors").iterdir():
            if folder.is_dir():
                fitted[folder.name] = s3.folder_digest(folder)
                _store_reference(pipeline, folder)
    model = s3.folder_digest(release / "model")
    if rehearsed is not None and model != rehearsed:
        raise StepError(
            describe_mismatch("the chosen trial's model", model, rehearsed),
            hint="it is not the model that was rehearsed: somebody changed it in the store; run again",
        )
    data = _read_snapshot(snapshot / SNAPSHOT_FILE).data_digest
    records = {
        "snapshot": s3.folder_digest(snapshot),
        "evaluation": s3.folder_digest(evaluation),
    }
    metadata = _read_metadata(trial / METADATA_FILE) | {
        "run": run,
        "modelDigest": model,
        "dataDigest": data,
        "detectorDigests": fitted,
        "recordDigests": records,
        "evaluation": _read_json(evaluation / METRICS_FILE),
    }
    (release / METADATA_FILE).write_text(dump_yaml(metadata))
    write_parameters(
        out / "parameters",
        model_digest=model,
        data_digest=data,
        detector_digests=write_digests(fitted),
        record_digests=write_digests(records),
    )
    lines = [f"model {model}", f"data  {data}"]
    lines += [f"detector {name} {digest}" for name, digest in sorted(fitted.items())]
    options.print_progress("\n".join(lines))


def _store_reference(pipeline: str | None, folder: Path) -> None:
    if pipeline is None:
        return
    settings = StepSettings.from_environment()
    sent = store_reference(settings.store, settings.bucket, pipeline, folder)
    options.print_progress(f"reference of {folder.name}: {sent} bytes are new")


def _read_json(file: Path) -> Any:
    try:
        return parse_json(file.read_bytes(), label=file.name, longest=LONGEST_FILE)
    except OSError as error:
        raise StepError(f"{file} can't be read: {error.strerror}", hint=HINT) from error
    except DocumentError as error:
        raise StepError(f"{file} can't be read: {error.message}", hint=HINT) from error


def _read_snapshot(file: Path) -> Snapshot:
    try:
        return Snapshot.read(_read_json(file))
    except DocumentError as error:
        raise StepError(f"{file} can't be read: {error.message}", hint=HINT) from error


def _read_metadata(file: Path) -> dict[str, Any]:
    hint = "the training function's wrapper writes it"
    return (
        load_mapping(file.read_bytes(), str(file), error=StepError, hint=hint, rules=METADATA_RULES)
        if file.exists()
        else {}
    )
