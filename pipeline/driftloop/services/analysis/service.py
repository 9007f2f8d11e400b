"""The analysis service. Responses come from the broker and are stored before they are acknowledged;
numbers go out on `GET /judgement?production=&candidate=&since=&tolerance=`, where `since` is a `now` that the
service has given."""

import asyncio
import json
import math
import socket
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import nats.errors
import nats.js.errors
from aiohttp import web
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from driftloop.clients import events
from driftloop.clients import nats as jetstream
from driftloop.clients.events import Event, MalformedEventError
from driftloop.contract.documents import DocumentError, to_json
from driftloop.contract.events import (
    INFERENCE_RESPONSE,
    LABELS_GIVEN,
    PIPELINE,
    PROTOCOL,
    RELEASE,
    REQUEST_ID,
)
from driftloop.contract.labels import LabelBatch
from driftloop.contract.names import PREDICTOR_PORT, Names
from driftloop.contract.streams import AnalysisStreams
from driftloop.errors import StoreError
from driftloop.release.answers import Answer, read_answers, read_class_names
from driftloop.release.judgement import MOST_LONE, Answers, Measured, StageTraffic
from driftloop.release.live import LiveQuality
from driftloop.services.analysis import metrics
from driftloop.services.analysis.join import ResponseJoin
from driftloop.services.analysis.quality import QualityJoin
from driftloop.services.reading import EventReader, UndeliveredError

LIMIT = 2 * 1024 * 1024
"""Bytes of one event at most."""
ANSWER = 5.0
"""Seconds that a predictor may take to show its metrics."""
TAKEN = (
    "stored",
    "labels",
    "duplicate",
    "foreign",
    "malformed",
    "refused",
    "unscraped",
    "unresolved",
)
"""What became of a response, or of an event of labels; the last two are of a predictor that does not
show its metrics, or has no address."""
QUESTIONS = 8
"""Questions (production, candidate, since) that are counted for at the same time."""


@dataclass(frozen=True)
class AnalysisSettings:
    """Settings of the analysis of one pipeline's rollouts."""

    pipeline: str
    namespace: str
    nats_url: str
    predictor_port: int = PREDICTOR_PORT
    """Port at which predictors show their metrics."""
    each_pod: bool = False
    """True when predictors have several pods: each is asked alone, since its counters are its
    own."""
    labels: bool = False
    """True when a bound on live quality needs labels, and the names of classes."""

    @property
    def names(self) -> Names:
        """Names of the pipeline's objects."""
        return Names(self.pipeline, self.namespace)

    @property
    def streams(self) -> AnalysisStreams:
        """Stream and subjects of the responses."""
        return AnalysisStreams(self.namespace, self.pipeline)

    @property
    def stream(self) -> str:
        """Name of the stream of responses."""
        return self.streams.responses.name


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """The part of a response event that is stored."""

    request: str
    release: str
    answers: tuple[Answer, ...]
    time: float
    names: tuple[str, ...] = ()
    """Names of the classes whose places the answers are; none when labels are not read."""

    def to_json(self) -> bytes:
        stored: list[object] = [self.request, self.release, self.answers, self.time]
        return json.dumps(
            [*stored, self.names] if self.names else stored, separators=(",", ":")
        ).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "StoredResponse":
        request, release, found, when, *names = json.loads(text)
        return cls(request, release, tuple(found), when, tuple(*names))


Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Name and port to the `host:port` of everything that has that name; OSError when nothing has."""


async def resolve_addresses(name: str, port: int) -> list[str]:
    """Return the addresses that DNS has for a name; OSError when it has none."""
    entries = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    hosts = {
        f"[{at[0]}]" if family == socket.AF_INET6 else str(at[0]) for family, _, _, _, at in entries
    }
    return [f"{host}:{port}" for host in sorted(hosts)]


@dataclass
class _AnalysisQuestion:
    production: metrics.PredictorCounting
    candidate: metrics.PredictorCounting
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class AnalysisService:
    """Measures the two versions of a rollout; `application()` is its HTTP side."""

    def __init__(
        self, settings: AnalysisSettings, js: JetStreamContext, resolve: Resolve = resolve_addresses
    ) -> None:
        self._settings = settings
        self._js = js
        self._resolve = resolve
        self._join = ResponseJoin()
        self._quality = QualityJoin()
        self._questions: OrderedDict[tuple[str, str, float], _AnalysisQuestion] = OrderedDict()
        self._last: dict[tuple[str, str], Measured] = {}
        self._session: aiohttp.ClientSession | None = None
        self._registry = CollectorRegistry()
        self._taken = Counter(
            "driftloop_analysis_responses", "Response events", ["what"], registry=self._registry
        )
        for metric in TAKEN:
            self._taken.labels(metric)
        Gauge(
            "driftloop_analysis_waiting_responses",
            "Responses that wait for the response of the other version",
            registry=self._registry,
        ).set_function(lambda: float(len(self._join)))

    def build_application(self) -> web.Application:
        """The HTTP application; its start-up makes the stream and reads back what it holds."""
        application = web.Application(client_max_size=LIMIT)
        application.router.add_post("/", self._take_event)
        application.router.add_get("/judgement", self._answer_judgement)
        application.router.add_get("/healthz", self._answer_health)
        application.router.add_get("/metrics", self._answer_metrics)
        application.on_startup.append(self._start_up)
        application.on_cleanup.append(self._clean_up)
        return application

    async def _start_up(self, _: web.Application) -> None:
        self._session = aiohttp.ClientSession(trust_env=True, timeout=aiohttp.ClientTimeout())
        await jetstream.ensure_contract_stream(self._js, self._settings.streams.responses)
        await self._replay_stream()

    async def _clean_up(self, _: web.Application) -> None:
        if self._session is not None:
            await self._session.close()

    async def _replay_stream(self) -> None:
        """Join again what was stored before this process started."""
        stream, subject = self._settings.stream, self._settings.streams.subject("*")
        try:
            state = (await self._js.stream_info(stream)).state
            if not state.messages:
                return
            reader = EventReader(self._js, stream, subject)
            async with aclosing(reader.read_stored(state.last_seq)) as reads:
                async for read in reads:
                    self._join_stored(read.message)
        except UndeliveredError:
            return  # the rest aged out meanwhile
        except (nats.errors.Error, nats.js.errors.APIError) as error:
            raise StoreError(
                f"stream {stream} can't be read: {error}", hint=jetstream.HINT
            ) from error

    def _join_stored(self, message: Msg) -> None:
        if message.subject == self._settings.streams.labels:
            self._join_labels(json.loads(message.data))
        else:
            self._join_response(StoredResponse.from_json(message.data))

    def _join_response(self, response: StoredResponse) -> None:
        self._join.add_response(response.request, response.release, response.answers, response.time)
        if self._settings.labels:
            self._quality.add_answers(
                response.request,
                response.release,
                response.answers,
                response.names,
                response.time,
            )

    def _join_labels(self, stored: dict[str, Any]) -> None:
        batch = LabelBatch.read(stored["labels"])
        self._quality.add_labels(stored["event"], batch, stored["time"])

    async def _take_event(self, request: web.Request) -> web.Response:
        try:
            event = events.from_http(request.headers, await request.read())
        except MalformedEventError as error:
            # 202 all the same: sent again it would be no better
            self._taken.labels("malformed").inc()
            return web.Response(status=202, text=error.message)
        if event.type == LABELS_GIVEN and event.get(PIPELINE) == self._settings.pipeline:
            return await self._take_labels(event)
        release, id = event.get(RELEASE), event.get(REQUEST_ID)
        wanted = event.type == INFERENCE_RESPONSE and event.get(PIPELINE) == self._settings.pipeline
        if not wanted or not release or not id or not _is_token(release):
            self._taken.labels("foreign").inc()
            return web.Response(status=202)
        protocol = event.get(PROTOCOL)
        response = StoredResponse(
            id[:200],
            release,
            read_answers(event.body, protocol),
            time.time(),
            read_class_names(event.body, protocol) if self._settings.labels else (),
        )
        try:
            ack = await jetstream.publish_message(
                self._js,
                self._settings.streams.subject(release),
                response.to_json(),
                message_id=f"judge/{event.key}",
            )
        except StoreError as error:
            self._taken.labels("refused").inc()
            return web.Response(status=503, text=error.message)
        self._taken.labels("duplicate" if ack.duplicate else "stored").inc()
        self._join_response(response)
        return web.Response(status=202)

    async def _take_labels(self, event: Event) -> web.Response:
        """Store labels, and join them with what both versions have answered."""
        try:
            labels = to_json(LabelBatch.read(event.parse_json()))
        except (MalformedEventError, DocumentError) as error:
            self._taken.labels("malformed").inc()
            return web.Response(status=202, text=error.message)
        stored = {"labels": labels, "event": event.key, "time": time.time()}
        try:
            ack = await jetstream.publish_message(
                self._js,
                self._settings.streams.labels,
                json.dumps(stored, separators=(",", ":")).encode(),
                message_id=f"judge/{event.key}",
            )
        except StoreError as error:
            self._taken.labels("refused").inc()
            return web.Response(status=503, text=error.message)
        self._taken.labels("duplicate" if ack.duplicate else "labels").inc()
        self._join_labels(stored)
        return web.Response(status=202)

    async def _answer_judgement(self, request: web.Request) -> web.Response:
        """Answer with the numbers since a time; without `since`, with the clock and the last
        numbers."""
        now = time.time()
        names = {name: request.query.get(name, "") for name in ("production", "candidate")}
        for name, release in names.items():
            if not _is_token(release):
                return web.json_response({"error": f"`{name}` is not a release id"}, status=400)
        text = request.query.get("since")
        if text is None:
            last = self._last.get((names["production"], names["candidate"]))
            return web.json_response(
                {"now": now, **names, "last": last.to_json() if last is not None else None}
            )
        try:
            since = float(text)
            tolerance = float(request.query.get("tolerance", "nan"))
            needed = int(request.query.get("labels", "0"))
            asked = _read_asked(request.query)
        except ValueError:
            error = (
                "`since` must be seconds since 1970, `tolerance` and `seconds` numbers, `labels`, `requests` and "
                "`compared` whole numbers"
            )
            return web.json_response({"error": error}, status=400)
        measured = await self._measure_releases(
            names["production"],
            names["candidate"],
            since,
            now,
            None if math.isnan(tolerance) else tolerance,
        )
        metric = request.query.get("metric")
        if metric in ("accuracy", "mae", "rmse"):
            theirs, ours = self._quality.measure(names["production"], names["candidate"])
            quality = LiveQuality(metric, needed, theirs, ours)  # type: ignore[arg-type]
            measured = replace(measured, quality=quality)
        self._last[names["production"], names["candidate"]] = replace(measured, asked=asked)
        while len(self._last) > QUESTIONS:
            self._last.pop(next(iter(self._last)))
        return web.json_response(
            {"now": now, "since": since, "releases": names, **measured.to_json()}
        )

    async def _measure_releases(
        self, production: str, candidate: str, since: float, now: float, tolerance: float | None
    ) -> Measured:
        key = (production, candidate, since)
        question = self._questions.setdefault(
            key,
            _AnalysisQuestion(metrics.PredictorCounting(since), metrics.PredictorCounting(since)),
        )
        self._questions.move_to_end(key)
        while len(self._questions) > QUESTIONS:
            self._questions.popitem(last=False)
        async with question.lock:
            scrapes = await asyncio.gather(
                self._scrape_predictor(production, now), self._scrape_predictor(candidate, now)
            )
            for counting, scraped in zip(
                (question.production, question.candidate), scrapes, strict=True
            ):
                for address, scrape in scraped.items():
                    counting.add_scrape(scrape, address)
        agreement = self._join.measure_agreement(production, candidate, since, tolerance)
        alone = self._join.list_alone(production, candidate, since, now)
        return Measured(
            max(0.0, now - since),
            self._correct_requests(production, question.production.total, since),
            self._correct_requests(candidate, question.candidate.total, since),
            agreement.joined,
            agreement.rows,
            agreement.agreed,
            len(alone),
            lone=alone[-MOST_LONE:],
        )

    def _correct_requests(self, release: str, counted: Answers, since: float) -> Answers:
        """A predictor's metrics count probes as requests too, its events don't; failed and refused
        requests have no event."""
        answered = self._join.count_responses(release, since)
        return replace(counted, requests=answered + counted.errors + counted.refused)

    async def _scrape_predictor(
        self, release: str, now: float
    ) -> dict[str, metrics.PredictorScrape]:
        """The counters of a predictor's processes by address; those that don't show them now are
        left out."""
        settings = self._settings
        names = settings.names
        url = urlsplit(names.metrics_url(release, port=settings.predictor_port))
        addresses = (
            await self._resolve_pods(names.host(names.pods(release)), url)
            if settings.each_pod
            else [url.netloc]
        )
        pages = await asyncio.gather(
            *(
                self._read_page(url._replace(netloc=address), names.predictor(release), now)
                for address in addresses
            )
        )
        return {
            address: page
            for address, page in zip(addresses, pages, strict=True)
            if page is not None
        }

    async def _resolve_pods(self, name: str, url: SplitResult) -> list[str]:
        """Return the addresses of the pods behind a name.

        A proxy resolves names itself: that is one machine, where one process counts for all
        replicas.
        """
        if "http" in getproxies() and not proxy_bypass(url.hostname or ""):
            return [url.netloc]
        try:
            return await self._resolve(name, url.port or 80)
        except OSError:
            self._taken.labels("unresolved").inc()
            return []

    async def _read_page(
        self, url: SplitResult, predictor: str, now: float
    ) -> metrics.PredictorScrape | None:
        """None when nothing of that kind is there now: the process may be starting."""
        assert self._session is not None  # noqa: S101 - made at start-up
        try:
            # not aiohttp's own timeout: it swallows a cancellation that comes in the same moment (3.14)
            async with asyncio.timeout(ANSWER), self._session.get(url.geturl()) as answer:
                if answer.status != 200:
                    return None
                text = await answer.text(errors="replace")
            return metrics.parse_metrics(text, predictor, now=now)
        except (aiohttp.ClientError, TimeoutError, ValueError):
            self._taken.labels("unscraped").inc()
            return None

    async def _answer_health(self, _: web.Request) -> web.Response:
        """Ready while NATS answers: without it no event could be stored."""
        connected: bool = self._js._nc.is_connected
        return web.Response(
            status=200 if connected else 503, text="ok" if connected else "NATS is not connected"
        )

    async def _answer_metrics(self, _: web.Request) -> web.Response:
        headers: Mapping[str, str] = {"Content-Type": "text/plain; version=0.0.4"}
        return web.Response(body=generate_latest(self._registry), headers=headers)


def _read_asked(query: Mapping[str, str]) -> StageTraffic | None:
    """Return what the stage that measures waits for; None for one that does not say, ValueError for no numbers."""
    if "requests" not in query:
        return None
    seconds = float(query.get("seconds", "0"))
    if not math.isfinite(seconds):
        raise ValueError
    return StageTraffic(int(query["requests"]), seconds, int(query.get("compared", "0")))


def _is_token(text: str) -> bool:
    return (
        bool(text)
        and len(text) <= 63
        and all(c.isascii() and (c.isalnum() or c == "-") for c in text)
    )
