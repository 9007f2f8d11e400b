"""Cancellations that come in the same moment as what is waited for."""

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from nats.js.api import AckPolicy, ConsumerConfig
from support.processes import PATIENCE, nats, url

from driftloop.clients import cancellation
from driftloop.clients.nats import ensure_stream, open_connection, read_messages


async def _cancelled(task: "asyncio.Task[object]") -> bool:
    """Whether it ends as cancelled."""
    done, _ = await asyncio.wait([task], timeout=PATIENCE)
    return bool(done) and task.cancelled()


async def test_a_cancellation_beside_the_result_is_not_lost() -> None:
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task: asyncio.Task[object] = asyncio.create_task(cancellation.wait_for(ready, PATIENCE))
    await asyncio.sleep(0)
    ready.set_result(1)
    task.cancel()
    assert await _cancelled(task)


async def test_results_errors_and_time_limits_pass() -> None:
    async def soon() -> int:
        await asyncio.sleep(0.01)
        return 7

    async def broken() -> None:
        raise OSError("broken")

    assert await cancellation.wait_for(soon(), PATIENCE) == 7
    assert await cancellation.wait_for(soon(), None) == 7
    with pytest.raises(OSError, match="broken"):
        await cancellation.wait_for(broken(), PATIENCE)
    with pytest.raises(TimeoutError):
        await cancellation.wait_for(asyncio.sleep(PATIENCE), 0.01)
    with pytest.raises(TimeoutError):
        await cancellation.wait_for(asyncio.sleep(PATIENCE), 0)
    over: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    over.set_result(3)
    assert await cancellation.wait_for(over, 0) == 3


@pytest.fixture
def mended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "wait_for", cancellation.wait_for)


PACKAGE = Path(__file__).parents[2] / "pipeline" / "driftloop"


def test_every_program_starts_its_event_loop_mended() -> None:
    starters = {
        "asyncio.run(",
        "asyncio.Runner(",
        "uvloop.run(",
        "uvloop.install(",
        "run_until_complete(",
    }
    modules = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if any(starter in path.read_text() for starter in starters)
    }
    assert modules == {"clients/cancellation.py"}


def test_an_import_patches_nothing() -> None:
    code = (
        "import asyncio; before = asyncio.wait_for; "
        "import driftloop.clients.nats, driftloop.retrain.store, driftloop.services.bootstrap; "
        "assert asyncio.wait_for is before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="mended by Python itself")
def test_a_program_runs_mended(tmp_path: Path) -> None:
    code = (
        "import asyncio\nfrom driftloop.clients import cancellation\n"
        "async def main(): return asyncio.wait_for is cancellation.wait_for\n"
        "assert cancellation.run(main())"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.usefixtures("mended")
async def test_a_reader_of_nats_ends_whenever_it_is_told_to(tmp_path: Path) -> None:
    """Cancelled at the very moment a message comes, again and again."""
    server = nats(tmp_path).start()
    try:
        async with open_connection(url(server), name="test") as js:
            await ensure_stream(js, "S", ["s"])
            config = ConsumerConfig(durable_name="reader", ack_policy=AckPolicy.NONE)
            await js.add_consumer("S", config)
            for turns in range(40):
                subscription = await js.pull_subscribe_bind("reader", "S")

                async def read(subscription: object = subscription) -> None:
                    async for _ in read_messages(subscription):  # type: ignore[arg-type]
                        pass

                task: asyncio.Task[object] = asyncio.create_task(read())
                await asyncio.sleep(0.01)
                sent = asyncio.create_task(js.publish("s", b"x"))
                while not subscription._sub._pending_queue.qsize() and not sent.done():  # noqa: ASYNC110
                    await asyncio.sleep(0)
                for _ in range(turns % 4):
                    await asyncio.sleep(0)
                task.cancel()
                assert await _cancelled(task), turns
                with contextlib.suppress(Exception):
                    await sent
                await subscription.unsubscribe()
    finally:
        server.kill()
