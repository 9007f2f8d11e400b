"""Measure candidate and production while a pipeline's rollout runs."""

import argparse
import os

from driftloop.clients.nats import open_connection
from driftloop.contract.accounts import NatsRole
from driftloop.contract.platform import NATS_ROLES
from driftloop.services import bootstrap
from driftloop.services.analysis.service import AnalysisService, AnalysisSettings
from driftloop.services.application import ApplicationServer

EXAMPLE = "driftloop-judge --namespace ml --pipeline digits"


def main() -> None:
    """Run `driftloop-judge`."""
    bootstrap.run_program(build_parser(), run)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `driftloop-judge`."""
    parser = bootstrap.build_parser("driftloop-judge", __doc__, EXAMPLE)
    bootstrap.add_server_options(parser)
    parser.add_argument("--each-pod", action="store_true", help="predictors have several pods")
    parser.add_argument(
        "--labels", action="store_true", help="join labels with answers: a bound needs live quality"
    )
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Run the service until it is stopped."""
    settings = AnalysisSettings(
        arguments.pipeline,
        arguments.namespace,
        NATS_ROLES[NatsRole.JUDGE].read(os.environ),
        each_pod=arguments.each_pod,
        labels=arguments.labels,
    )
    bootstrap.run_until_stopped(_serve_analysis(settings, arguments.host, arguments.port))


async def _serve_analysis(settings: AnalysisSettings, host: str, port: int) -> None:
    async with open_connection(settings.nats_url, name=f"{settings.pipeline}-judge", wait=60) as js:
        application = AnalysisService(settings, js).build_application()
        async with bootstrap.serve_http(ApplicationServer(application), host, port):
            await bootstrap.wait_forever()


if __name__ == "__main__":
    main()
