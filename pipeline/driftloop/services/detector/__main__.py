"""`driftloop-detector serve | fit`: the detector service, and the training step that prepares it."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

# One window is judged at a time; more threads in the linear algebra only cost memory. It has to be said before numpy
# loads.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from driftloop.contract.platform import NATS  # noqa: E402
from driftloop.errors import PipelineError  # noqa: E402
from driftloop.services.detector.config import Config  # noqa: E402


def main() -> None:
    """Entry point: exit 0, or 1 with one clear line."""
    parser = argparse.ArgumentParser(prog="driftloop-detector", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve", help="judge the traffic of one release")
    serving.add_argument("--port", type=int, default=8080)
    serving.add_argument("--namespace", required=True)
    serving.add_argument("--pipeline", required=True)
    serving.add_argument("--detector", required=True, help="its name in the spec: drift, outlier, adversarial")
    serving.add_argument("--release", required=True, help="the release whose events are judged")
    serving.add_argument("--config", required=True, help="settings as JSON")
    serving.add_argument("--artifact", type=Path, required=True, help="folder with detector.json and reference.npz")
    serving.add_argument("--broker", required=True, help="where verdicts are sent")
    fitting = commands.add_parser("fit", help="prepare a detector from reference data")
    fitting.add_argument("--detector", required=True, help="settings as JSON")
    fitting.add_argument("--reference", type=Path, required=True, help="folder with .npz, .csv or .jsonl files")
    fitting.add_argument("--features", default="x", help="array in .npz files, columns in others")
    fitting.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        if arguments.command == "fit":
            _fit(arguments)
        else:
            _serve(arguments)
    except PipelineError as error:
        sys.exit(f"error: {error}")


def _fit(arguments: argparse.Namespace) -> None:
    from driftloop.services.detector import artifact
    from driftloop.services.detector.detectors import fitted

    config = Config.parse(arguments.detector)
    found = artifact.gather(arguments.reference, arguments.features, config)
    # a detector that can't be fitted should fail here, in the training run, not when it is served
    judgement = fitted(config, found.reference).judge(found.reference[: config.window])
    artifact.save(found, arguments.out)
    rows, width = found.reference.shape
    print(f"{config.kind}: {rows} reference rows of {width} numbers, score on its own rows {judgement.score:.3g}")


def _serve(arguments: argparse.Namespace) -> None:
    import uvloop

    from driftloop.contract.streams import DetectorStreams
    from driftloop.services.detector.service import serve

    names = DetectorStreams(arguments.namespace, arguments.pipeline, arguments.detector, arguments.release)
    config = Config.parse(arguments.config)
    url = NATS.read(os.environ)

    async def run() -> None:
        task = asyncio.ensure_future(
            serve(names, config, arguments.artifact, nats_url=url, broker=arguments.broker, port=arguments.port)
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    uvloop.run(run())


if __name__ == "__main__":
    main()
