"""One reader for all visitors."""

import asyncio

import pytest
from support.console_world import StoredSource, keep, make_window, recent

from driftloop.console import collector as collecting
from driftloop.console.collector import Collector
from driftloop.console.snapshot import Trouble
from driftloop.errors import LocalError
from driftloop.operations.rollouts.answer_counts import AnswerCount, parse_counts


async def test_many_visitors_share_one_look(
    source: StoredSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "PATIENCE", 60)
    collector = Collector(source)
    task = asyncio.create_task(collector.run_forever())
    try:
        pages = await asyncio.gather(*(collector.look() for _ in range(50)))
        assert source.reads == 1
        assert {page.version for page in pages} == {1}
        assert pages[0].names == ("digits",)
    finally:
        task.cancel()


async def test_nobody_is_asked_while_nobody_looks(
    source: StoredSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "PERIOD", 0.01)
    monkeypatch.setattr(collecting, "WATCHED", 0.05)
    monkeypatch.setattr(collecting, "PATIENCE", 60)
    collector = Collector(source)
    task = asyncio.create_task(collector.run_forever())
    try:
        await asyncio.sleep(0.1)
        assert source.reads == 0
        await collector.look()
        # the look that began while somebody looked may still be on
        await asyncio.sleep(1.0)
        seen = source.reads
        await asyncio.sleep(0.2)
        assert source.reads == seen
    finally:
        task.cancel()


async def test_visitors_hear_of_what_is_new_and_of_nothing_else(source: StoredSource) -> None:
    collector = Collector(source)
    await collector.refresh()
    versions = collector.follow_versions()
    assert await anext(versions) == 1
    await collector.refresh()
    assert collector.snapshot.version == 1
    keep(source, decisions={"digits.digits": "halted"})
    hearing = asyncio.create_task(anext(versions))
    await asyncio.sleep(0)
    await collector.refresh()
    assert await hearing == 2
    await versions.aclose()


async def test_a_part_that_can_t_be_read_keeps_what_it_had_and_is_told(
    source: StoredSource,
) -> None:
    collector = Collector(source)
    await collector.refresh()
    assert len(collector.snapshot.windows["digits/digits/drift"]) == 6

    def refuse(*_: object) -> None:
        raise LocalError("NATS is away")

    source.read_windows = refuse  # type: ignore[method-assign]
    keep(source, verdicts={})
    await collector.refresh()
    since = collector.snapshot.troubles["windows"].since
    for _ in range(2):
        assert collector.snapshot.troubles == {"windows": Trouble("NATS is away", since)}
        # it is asked again although there is no news, and told since when
        await collector.refresh()
    assert len(collector.snapshot.windows["digits/digits/drift"]) == 6
    del source.read_windows
    source.records.append(("digits", "digits", make_window(7, at=recent(1))))
    keep(source, verdicts={"digits/digits/drift": {"release": "r1", "window": 7, "alarm": False}})
    await collector.refresh()
    assert collector.snapshot.troubles == {}
    assert len(collector.snapshot.windows["digits/digits/drift"]) == 7


async def test_a_store_without_news_is_asked_now_and_then(
    source: StoredSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "STORE_PERIOD", 0.0)
    collector = Collector(source)
    await collector.refresh()

    def refuse(*_: object) -> None:
        raise LocalError("NATS is away")

    source.read_windows = refuse  # type: ignore[method-assign]
    await collector.refresh()
    assert collector.snapshot.troubles["windows"].text == "NATS is away"


async def test_a_bug_of_one_look_ends_no_page(
    source: StoredSource, caplog: pytest.LogCaptureFixture
) -> None:
    collector = Collector(source)

    def fail() -> None:
        raise RuntimeError("a bug")

    source.read_status = fail  # type: ignore[method-assign]
    await collector.refresh()
    assert "console" in collector.snapshot.troubles
    assert "a bug" in caplog.text


async def test_a_shared_question_is_asked_once_and_its_refusal_reaches_all(
    source: StoredSource,
) -> None:
    collector, asked = Collector(source), []

    def ask() -> str:
        asked.append(1)
        raise LocalError("no")

    answers = await asyncio.gather(
        *(collector.share(("a",), ask) for _ in range(20)), return_exceptions=True
    )
    assert len(asked) == 1
    assert all(isinstance(answer, LocalError) for answer in answers)


async def test_what_could_not_be_answered_is_asked_again_before_its_time(
    source: StoredSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "PERIOD", 0.0)
    collector, asked = Collector(source), []

    def ask() -> str:
        asked.append(1)
        if len(asked) == 1:
            raise LocalError("no")
        return "yes"

    with pytest.raises(LocalError):
        await collector.share(("a",), ask, seconds=60)
    for _ in range(2):
        assert await collector.share(("a",), ask, seconds=60) == "yes"
    assert len(asked) == 2


def test_answers_are_counted_by_service_from_the_gateway_s_statistics() -> None:
    name = "cluster.outbound|8000||digits-r12345678.digits.svc.cluster.local.upstream_rq"
    text = f"{name}_completed: 10\n{name}_2xx: 7\n{name}_4xx: 2\n{name}_5xx: 1\ncluster.xds.upstream_rq_5xx: 3\nx"
    assert parse_counts(text) == {"digits/digits-r12345678": AnswerCount(10, 2, 1)}
