"""Decide from detectors' alarms when a pipeline is retrained."""

import argparse
import os

from driftloop.clients.s3 import StoreLocation
from driftloop.contract.accounts import NatsRole
from driftloop.contract.handovers import RetrainPolicy
from driftloop.contract.platform import KUBERNETES_URL, NATS_ROLES, S3_BUCKET, WEBHOOK_TOKEN
from driftloop.services import bootstrap
from driftloop.services.decision.data import DataLook
from driftloop.services.decision.head import HeadReader
from driftloop.services.decision.service import DecisionOptions, serve_decision

EXAMPLE = (
    "driftloop-decision --namespace ml --pipeline digits "
    '--policy \'{"consecutive": 2, "cooldown": 600, "on": ["drift"]}\' '
    "--webhook http://digits-webhook:12000/retrain --broker http://broker/ml/default"
)


def main() -> None:
    """Run `driftloop-decision`."""
    bootstrap.run_program(build_parser(), run)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `driftloop-decision`."""
    parser = bootstrap.build_parser("driftloop-decision", __doc__, EXAMPLE)
    bootstrap.add_server_options(parser)
    parser.add_argument(
        "--policy", required=True, help="retrain policy of the spec (JSON), times in seconds"
    )
    parser.add_argument("--webhook", required=True, help="URL of the EventSource's webhook")
    parser.add_argument("--broker", required=True, help="URL of the Broker")
    parser.add_argument(
        "--rollback-webhook",
        default="",
        help="URL of the EventSource's webhook for rollbacks; needed with monitors that roll back",
    )
    parser.add_argument(
        "--data", default="", help="folder of the batches; looked at while alarms wait for new ones"
    )
    parser.add_argument(
        "--sources",
        action="store_true",
        help="the pipeline has sources of data: what was copied of them counts, too",
    )
    parser.add_argument(
        "--labels", action="store_true", help="take labels: a monitor of the pipeline reads them"
    )
    parser.add_argument(
        "--tracking", default="", help="URL of an MLflow server that is told of runs and releases"
    )
    parser.add_argument(
        "--tracking-name", default="", help="experiment and model there (default: the pipeline)"
    )
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Run the service until it is stopped."""
    options = DecisionOptions(
        namespace=arguments.namespace,
        pipeline=arguments.pipeline,
        policy=RetrainPolicy.parse(arguments.policy),
        webhook=arguments.webhook,
        rollback_webhook=arguments.rollback_webhook,
        broker=arguments.broker,
        nats_url=NATS_ROLES[NatsRole.DECISION].read(os.environ),
        reader_url=NATS_ROLES[NatsRole.READER].read(os.environ),
        token=WEBHOOK_TOKEN.read(os.environ),
        head=HeadReader.from_environment(os.environ, arguments.pipeline),
        look=DataLook.from_environment(
            os.environ, arguments.pipeline, arguments.data, collected=arguments.sources
        ),
        data=arguments.data,
        labels=arguments.labels,
        bucket=StoreLocation(bucket) if (bucket := os.environ.get(S3_BUCKET.environment)) else None,
        tracking=arguments.tracking,
        tracking_name=arguments.tracking_name,
        environment=os.environ,
        kubernetes_url=os.environ.get(KUBERNETES_URL.environment) or None,
        host=arguments.host,
        port=arguments.port,
    )
    bootstrap.run_until_stopped(serve_decision(options))


if __name__ == "__main__":
    main()
