"""Fit a detector on reference data, or score the traffic of one release with it."""

import argparse
import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

# One window is scored at a time: more threads in the linear algebra only cost memory. numpy reads
# these variables when it is imported.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from driftloop.contract.accounts import NatsRole  # noqa: E402
from driftloop.contract.columns import TARGET, read_uses  # noqa: E402
from driftloop.contract.documents import to_json  # noqa: E402
from driftloop.contract.handovers import LABELLED_KINDS, DetectorSettings  # noqa: E402
from driftloop.contract.names import release_id  # noqa: E402
from driftloop.contract.platform import NATS_ROLES  # noqa: E402
from driftloop.contract.replays import ReplayOrder  # noqa: E402
from driftloop.contract.streams import DETECTOR_BYTES, DetectorStreams  # noqa: E402
from driftloop.services import bootstrap  # noqa: E402

if TYPE_CHECKING:
    from driftloop.services.detector.fitting.artifact import DetectorArtifact

EXAMPLE = """\
driftloop-detector fit --detector '{"kind": "tabular", "window": 200}' --reference data --out detector
  driftloop-detector fit --detector '{"kind": "tabular", "on": "response"}' --answers answers.jsonl --out detector
  driftloop-detector replay --artifact detector --on rows.parquet
  driftloop-detector serve --namespace ml --pipeline digits --detector drift --release r1a2b3c4d \
--config '{"kind": "tabular", "window": 200}' --artifact detector --broker http://broker/ml/default"""


def main() -> None:
    """Run `driftloop-detector`."""
    bootstrap.run_program(build_parser(), run)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `driftloop-detector`."""
    parser = bootstrap.build_parser("driftloop-detector", __doc__, EXAMPLE)
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve", help="score the traffic of one release")
    bootstrap.add_server_options(serving)
    serving.add_argument("--detector", required=True, help="name of the monitor")
    serving.add_argument("--release", required=True, help="release whose events are scored")
    serving.add_argument(
        "--fitted-for",
        help="release that the artifact names where a later run has fitted it anew; its rows are of --release, too",
    )
    serving.add_argument("--config", required=True, help="settings as JSON")
    serving.add_argument("--artifact", type=Path, required=True, help="folder that `fit` wrote")
    serving.add_argument("--broker", required=True, help="URL that verdicts are sent to")
    serving.add_argument(
        "--stream-bytes",
        type=int,
        default=DETECTOR_BYTES,
        help="room of the stream of events that are not scored yet",
    )
    fitting = commands.add_parser("fit", help="fit a detector on reference data")
    fitting.add_argument("--detector", required=True, help="settings as JSON")
    source = fitting.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--reference", type=Path, help="folder of .npz, .csv, .jsonl or .parquet files"
    )
    source.add_argument(
        "--answers", type=Path, help="answers.jsonl of a rehearsal, for a detector of answers"
    )
    fitting.add_argument(
        "--rows", type=Path, help="rows.json that was answered, for a detector that needs it, too"
    )
    fitting.add_argument("--features", default="x", help="array of .npz files, columns of others")
    fitting.add_argument(
        "--target", default=TARGET, help="column of the label, which is no feature"
    )
    fitting.add_argument(
        "--columns", default="{}", help="what columns are where they are learnt wrong, as JSON"
    )
    fitting.add_argument(
        "--run", help="run whose release the data is of; the detector judges no other's requests"
    )
    fitting.add_argument("--out", type=Path, required=True, help="folder to write the detector to")
    for command in (serving, fitting):
        _add_function(command)
    replaying = commands.add_parser("replay", help="score the rows of files as if they were asked")
    replaying.add_argument("--artifact", type=Path, required=True, help="folder that `fit` wrote")
    replaying.add_argument(
        "--on", type=Path, required=True, help="file of rows, or folder of such files"
    )
    replaying.add_argument(
        "--answers", type=Path, help="answers to the rows, one a line, for a detector of answers"
    )
    replaying.add_argument(
        "--labels",
        type=Path,
        help="labels of captured traffic, one a line, for a detector of labels",
    )
    replaying.add_argument("--order", default="{}", help="times and changes, as JSON")
    return parser


def _add_function(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--function", help="URL of the program of the user's function, for a detector of one"
    )


def run(arguments: argparse.Namespace) -> None:
    """Run one of the commands."""
    match arguments.command:
        case "fit":
            _fit_detector(arguments)
        case "replay":
            _replay_files(arguments)
        case _:
            _serve_detector(arguments)


def _fit_detector(arguments: argparse.Namespace) -> None:
    from driftloop.services.detector.detectors import fit_detector
    from driftloop.services.detector.detectors.function import FunctionProgram
    from driftloop.services.detector.fitting import artifact
    from driftloop.services.detector.fitting.costs import FitCosts
    from driftloop.services.detector.fitting.order import calibrate_fit
    from driftloop.services.detector.fitting.selftest import examine_fit
    from driftloop.services.detector.stream.judging import build_judge

    config = DetectorSettings.parse(arguments.detector)
    fit = _gather_rows(arguments, config)
    url = arguments.function
    program = FunctionProgram(url, strict=True) if url is not None else None
    # what a monitor of labels estimates beside them changes no alarm, and takes as long as all else
    judged = replace(config, by=None) if config.kind == "quality" else config
    costs = FitCosts(config, fit.reference.shape, partial(print, flush=True))
    fit = calibrate_fit(
        fit, costs.time(lambda rows: fit_detector(judged, rows, fit.profile, program))
    )
    calibration = fit.calibration
    # a detector that can't be used should fail here, in the training run, not when it is served
    tested = examine_fit(
        fit, costs.time(lambda rows: fit_detector(judged, rows, fit.profile, program, calibration))
    )
    if calibration is not None and tested.ordered is not None and tested.ordered.failed:
        trial = tested.ordered
        calibration = replace(calibration, tried=trial.windows, alarmed=trial.alarms)
        fit = replace(fit, calibration=calibration)
    release = release_id(arguments.run) if arguments.run else None
    artifact.save_artifact(replace(fit, release=release), arguments.out)
    rows, width = fit.reference.shape
    out = f", {fit.unusable} left out since a value is missing" if fit.unusable else ""
    out += f" ({fit.note})" if fit.note else ""
    print(f"{config.kind}: {rows} of {fit.gathered} reference rows of {width} columns{out}")
    for line in (
        *(calibration.describe() if calibration else ()),
        *tested.describe(),
        *costs.describe(),
    ):
        print(line)
    if config.kind == "tabular":
        detector = fit_detector(config, fit.reference, fit.profile, calibration=calibration)
        for line in build_judge(detector, config, fit.reference).describe():
            print(line)
    sorted_by = calibration.sorted if calibration is not None else ()
    for column in fit.profile.columns:
        if column.name in sorted_by and column.distinct == column.present:
            print(
                f"warning: column `{column.name}` has another value in each row, and the files are sorted by it: if it only "
                f"numbers rows, `data.columns: {{{column.name}: ignore}}` keeps it from all monitors; traffic goes on beyond it"
            )
        if column.note:
            print(f"column `{column.name}` ({column.type}): {column.note}")


def _gather_rows(arguments: argparse.Namespace, config: DetectorSettings) -> "DetectorArtifact":
    from driftloop.services.detector.fitting import artifact
    from driftloop.services.detector.fitting.answer_learning import gather_answers
    from driftloop.services.detector.fitting.asked_rows import read_asked
    from driftloop.services.detector.fitting.labelled_learning import gather_labelled

    if arguments.answers is not None and config.kind in LABELLED_KINDS:
        asked = None
        if arguments.rows is not None:
            asked = read_asked(arguments.rows, arguments.features, read_uses(arguments.columns))
        return gather_labelled(arguments.answers, config, asked)
    if arguments.answers is not None:
        return gather_answers(arguments.answers, config)
    if config.kind in LABELLED_KINDS:
        raise artifact.ArtifactError(
            "a detector of labels, or of estimates, is fitted on answers",
            hint="give `--answers answers.jsonl`",
        )
    return artifact.gather_reference(
        arguments.reference,
        arguments.features,
        config,
        arguments.target,
        read_uses(arguments.columns),
    )


def _replay_files(arguments: argparse.Namespace) -> None:
    from driftloop.services.detector.fitting import artifact
    from driftloop.services.detector.replays.asking import read_answers, read_tables
    from driftloop.services.detector.replays.captured import read_captured
    from driftloop.services.detector.replays.labelling import read_labels
    from driftloop.services.detector.replays.replay import replay_captured, replay_tables

    order = ReplayOrder.parse(arguments.order)
    fitted = artifact.load_artifact(arguments.artifact)
    traffic = read_captured(arguments.on)
    if traffic is not None:
        labels = None if arguments.labels is None else read_labels(arguments.labels)
        report = replay_captured(fitted, traffic, order, labels)
    elif arguments.labels is not None:
        raise artifact.ArtifactError(
            f"{arguments.on.name} has rows without request ids, labels are of requests",
            hint="replay captured traffic, or name the column of the right answers in `data.target`",
        )
    else:
        answers = None if arguments.answers is None else read_answers(arguments.answers)
        report = replay_tables(fitted, read_tables(arguments.on), order, answers)
    print(json.dumps(to_json(report)))


def _serve_detector(arguments: argparse.Namespace) -> None:
    from driftloop.services.detector.service import serve_detector

    service = serve_detector(
        DetectorStreams(
            arguments.namespace,
            arguments.pipeline,
            arguments.detector,
            arguments.release,
            arguments.stream_bytes,
        ),
        DetectorSettings.parse(arguments.config),
        arguments.artifact,
        nats_url=NATS_ROLES[NatsRole.DETECTOR].read(os.environ),
        broker=arguments.broker,
        fitted_for=arguments.fitted_for,
        function=arguments.function,
        host=arguments.host,
        port=arguments.port,
    )
    bootstrap.run_until_stopped(service)


if __name__ == "__main__":
    main()
