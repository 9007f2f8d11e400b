"""Record a pipeline's traffic, or write one part of what was recorded."""

import argparse
import json
import os
import sys
from pathlib import Path

from driftloop.clients import cancellation
from driftloop.contract.accounts import NatsRole
from driftloop.contract.documents import to_json
from driftloop.contract.platform import NATS_ROLES
from driftloop.contract.recorders import NICENESS, RecorderSettings, WriteOrder
from driftloop.contract.streams import RECORDER_BYTES, RecorderStreams
from driftloop.services import bootstrap
from driftloop.services.imports import pandas_left_out
from driftloop.services.recorder.priority import lower_priority

EXAMPLE = """\
driftloop-recorder serve --namespace ml --pipeline digits --config '{"keep": 2592000}'
  driftloop-recorder write < order.json
  driftloop-recorder export --files traffic --form csv --out traffic.csv"""


def main() -> None:
    """Run `driftloop-recorder`."""
    bootstrap.run_program(build_parser(), run)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `driftloop-recorder`."""
    parser = bootstrap.build_parser("driftloop-recorder", __doc__, EXAMPLE)
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve", help="record the traffic of a pipeline")
    bootstrap.add_server_options(serving)
    serving.add_argument("--config", required=True, help="settings as JSON")
    serving.add_argument(
        "--stream-bytes",
        type=int,
        default=RECORDER_BYTES,
        help="room of the stream of events that are not written yet",
    )
    commands.add_parser("write", help="write the part that the input says, as JSON")
    exporting = commands.add_parser("export", help="put parts together into one file")
    exporting.add_argument("--files", type=Path, required=True, help="folder of parts")
    exporting.add_argument("--form", choices=("parquet", "csv", "jsonl"), required=True)
    exporting.add_argument("--since", help="earliest time of a row, RFC 3339")
    exporting.add_argument("--request", help="id of the only request whose rows are wanted")
    exporting.add_argument("--columns", help="names of columns, separated by commas")
    exporting.add_argument("--out", type=Path, required=True, help="file to write")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Run one of the commands."""
    match arguments.command:
        case "write":
            _write_part()
        case "export":
            _export_parts(arguments)
        case _:
            _serve_recorder(arguments)


def _write_part() -> None:
    from driftloop.services.recorder.writing import write_part

    order = WriteOrder.parse(sys.stdin.buffer.read())
    url = NATS_ROLES[NatsRole.RECORDER].read(os.environ)
    with pandas_left_out():
        result = cancellation.run(write_part(order, url, os.environ))
    print(json.dumps(to_json(result)), flush=True)


def _export_parts(arguments: argparse.Namespace) -> None:
    from driftloop.services.recorder.export import export_parts

    rows = export_parts(
        arguments.files,
        arguments.out,
        arguments.form,
        since=arguments.since,
        request=arguments.request,
        columns=arguments.columns.split(",") if arguments.columns else None,
    )
    print(rows)


def _serve_recorder(arguments: argparse.Namespace) -> None:
    if niceness := os.environ.get(NICENESS):
        lower_priority(int(niceness))
    from driftloop.services.recorder.service import serve_recorder

    service = serve_recorder(
        RecorderStreams(arguments.namespace, arguments.pipeline, arguments.stream_bytes),
        RecorderSettings.parse(arguments.config),
        nats_url=NATS_ROLES[NatsRole.RECORDER].read(os.environ),
        host=arguments.host,
        port=arguments.port,
        yields=bool(niceness),
    )
    bootstrap.run_until_stopped(service)


if __name__ == "__main__":
    main()
