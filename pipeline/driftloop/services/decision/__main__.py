"""`driftloop-decision`: decide when to retrain."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from dataclasses import dataclass

import aiohttp
import uvloop
from aiohttp import web
from prometheus_client import CollectorRegistry

from driftloop.clients.kubernetes import Kubernetes
from driftloop.clients.nats import connect, ensure_contract_stream
from driftloop.contract.platform import KUBERNETES_URL, NATS, WEBHOOK_TOKEN
from driftloop.contract.streams import DEAD_LETTERS
from driftloop.errors import PipelineError
from driftloop.retrain.store import DecisionStore
from driftloop.services.decision.door import Door
from driftloop.services.decision.loop import Loop
from driftloop.services.decision.settings import Settings


@dataclass(frozen=True)
class Arguments:
    """What the service is told."""

    namespace: str
    pipeline: str
    settings: Settings
    webhook: str
    broker: str
    port: int
    nats_url: str
    token: str
    kubernetes_url: str | None


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="driftloop-decision", description=__doc__)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--pipeline", required=True)
    parser.add_argument("--policy", required=True, help="the retrain part of the spec as JSON, times in seconds")
    parser.add_argument("--webhook", required=True, help="the EventSource's URL")
    parser.add_argument("--broker", required=True, help="the Broker's URL")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        arguments = Arguments(
            given.namespace,
            given.pipeline,
            Settings.parse(given.policy),
            given.webhook,
            given.broker,
            given.port,
            NATS.read(os.environ),
            WEBHOOK_TOKEN.read(os.environ),
            os.environ.get(KUBERNETES_URL.environment) or None,
        )
        uvloop.run(_run(arguments))
    except PipelineError as error:
        sys.exit(f"error: {error}")


async def _run(arguments: Arguments) -> None:
    task = asyncio.ensure_future(serve(arguments))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def serve(arguments: Arguments) -> None:
    """Run until cancelled."""
    namespace, pipeline = arguments.namespace, arguments.pipeline
    client = await connect(arguments.nats_url, name=f"{pipeline}-decision", wait=60)
    js = client.jetstream(timeout=5)
    registry = CollectorRegistry()
    runner: web.AppRunner | None = None
    try:
        await ensure_contract_stream(js, DEAD_LETTERS)
        store = await DecisionStore.open(js, namespace, pipeline)
        async with aiohttp.ClientSession(trust_env=True) as session:
            loop = Loop(
                store,
                arguments.settings.policy,
                namespace=namespace,
                pipeline=pipeline,
                session=session,
                webhook=arguments.webhook,
                token=arguments.token,
                broker=arguments.broker,
                kubernetes=Kubernetes.at(arguments.kubernetes_url) if arguments.kubernetes_url else None,
                registry=registry,
            )
            door = Door(
                loop,
                js,
                namespace=namespace,
                pipeline=pipeline,
                on=arguments.settings.on,
                token=arguments.token,
                registry=registry,
            )
            runner = web.AppRunner(door.application(), access_log=None)
            await runner.setup()
            try:
                await web.TCPSite(runner, "0.0.0.0", arguments.port, backlog=512).start()  # noqa: S104
            except OSError as error:
                raise PipelineError(
                    f"port {arguments.port} can't be used: {error.strerror}", hint="choose another --port"
                ) from error
            await loop.run()
    finally:
        if runner is not None:
            await runner.cleanup()
        await client.close()


if __name__ == "__main__":
    main()
