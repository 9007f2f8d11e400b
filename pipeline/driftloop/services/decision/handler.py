"""The HTTP side: events at /, dead letters at /deadletter, labels at /labels, a person's halt and
resume, the state to look at.

An event is answered when what it means is stored. When NATS is away the answer is 503, so the
broker sends it again.
"""

import hmac
import logging
import time
from dataclasses import replace

from aiohttp import web
from nats.js import JetStreamContext
from prometheus_client import CollectorRegistry, Counter, generate_latest

from driftloop.clients import events, sdk
from driftloop.clients.nats import publish_message
from driftloop.contract.documents import DocumentError, to_json
from driftloop.contract.events import (
    ERROR_DESTINATION,
    PIPELINE,
    RUN_FINISHED,
    detector_of,
    is_own_type,
)
from driftloop.contract.handovers import RetrainPolicy
from driftloop.contract.labels import LARGEST_SENT
from driftloop.contract.names import alarm_text
from driftloop.contract.records import RunRecord
from driftloop.contract.streams import dead_letter_subject
from driftloop.contract.verdicts import VerdictRecord
from driftloop.errors import StoreError
from driftloop.retrain.explanation import explain_state
from driftloop.retrain.state import AlarmEvent, EndEvent, HaltEvent, ResumeEvent
from driftloop.services.decision.deadletters import DeadLetters
from driftloop.services.decision.evidence import find_stored
from driftloop.services.decision.inbox import InboxWatch
from driftloop.services.decision.labels import BusyError, LabelDoor, LabelsRefusedError
from driftloop.services.decision.loop import DecisionLoop
from driftloop.services.decision.tracking import TrackingLoop

log = logging.getLogger("decision")

LIMIT = 4 * 1024 * 1024
KINDS = ("alarm", "unconfirmed", "end", "ignored", "malformed", "deadletter")


class DecisionHandlers:
    """Routes of the decision service."""

    def __init__(
        self,
        loop: DecisionLoop,
        js: JetStreamContext,
        verdicts: JetStreamContext,
        *,
        namespace: str,
        pipeline: str,
        on: frozenset[str],
        token: str,
        policy: RetrainPolicy,
        data: str,
        registry: CollectorRegistry,
        letters: DeadLetters,
        labels: LabelDoor | None,
        tracking: TrackingLoop | None = None,
        inbox: InboxWatch | None = None,
    ) -> None:
        self._loop = loop
        self._letters = letters
        self._labels = labels
        self._tracking = tracking
        self._inbox = inbox
        self._js = js
        self._verdicts = verdicts
        self._namespace = namespace
        self._subject = dead_letter_subject(namespace, pipeline)
        self._pipeline = pipeline
        self._on = on
        self._token = token
        self._policy = policy
        self._data = data
        self._registry = registry
        self._events = Counter(
            "driftloop_decision_events",
            "Events received, by kind",
            ["kind"],
            registry=registry,
        )
        for kind in KINDS:
            self._events.labels(
                kind
            )  # a counter that begins with its first event hides that one from `increase`

    def build_application(self) -> web.Application:
        """The routes."""
        application = web.Application(client_max_size=LIMIT)
        application.router.add_post("/", self._take_event)
        application.router.add_post("/deadletter", self._keep_deadletter)
        application.router.add_get("/deadletters", self._list_deadletters)
        application.router.add_post("/deadletters/replay", self._replay_deadletters)
        application.router.add_post("/labels", self._take_labels)
        application.router.add_post("/halt", self._suspend_decision)
        application.router.add_post("/resume", self._resume_decision)
        application.router.add_get("/state", self._answer_state)
        application.router.add_get("/why", self._answer_why)
        application.router.add_get("/tracking", self._answer_tracking)
        application.router.add_get("/labels", self._answer_labels)
        application.router.add_get("/healthz", self._answer_health)
        application.router.add_get("/metrics", self._answer_metrics)
        return application

    async def _take_event(self, request: web.Request) -> web.Response:
        try:
            event = sdk.read_event(request.headers, await request.read())
            meant = self._read_meaning(event)
            confirmed = None if meant is None else await self._confirm_event(meant)
            if meant is not None and confirmed is None:
                self._events.labels("unconfirmed").inc()
                return web.Response(status=202)
        except StoreError as error:
            return web.Response(status=503, text=error.message)
        except events.MalformedEventError as error:
            self._events.labels("malformed").inc()
            log.warning("malformed event: %s", error.message)
            return web.Response(status=202)
        if confirmed is None:
            self._events.labels("ignored").inc()
            return web.Response(status=202)
        try:
            if isinstance(confirmed, AlarmEvent):
                await self._loop.count_alarm(confirmed)
            else:
                await self._loop.apply_event(confirmed)
        except StoreError as error:
            return web.Response(status=503, text=error.message)
        self._events.labels("alarm" if isinstance(confirmed, AlarmEvent) else "end").inc()
        return web.Response(status=202)

    async def _confirm_event(self, meant: AlarmEvent | EndEvent) -> AlarmEvent | EndEvent | None:
        """Return what more than an event says, None when nothing else does: whoever reaches the broker
        can send one."""
        if isinstance(meant, AlarmEvent):
            return await self._confirm_alarm(meant)
        over = await self._loop.may_end(meant.run)
        if not over:
            log.error("end of a run whose Workflow is not over, ignored: run=%s", meant.run)
        return meant if over else None

    async def _confirm_alarm(self, alarm: AlarmEvent) -> AlarmEvent | None:
        """Return an alarm with the words of the stored verdict behind it, None without one; a window
        number from the future would shut out real ones."""
        verdict = VerdictRecord(alarm.detector, alarm.release, alarm.window, alarm=True)
        try:
            stored = await find_stored(self._verdicts, self._namespace, self._pipeline, verdict)
        except DocumentError as error:
            raise StoreError(error.message) from error
        if stored is None:
            log.error(
                "alarm without a stored verdict, ignored: detector=%s release=%s window=%d id=%s",
                alarm.detector,
                alarm.release,
                alarm.window,
                alarm.event,
            )
            return None
        words = alarm_text(alarm.event, stored.words)
        return replace(alarm, event=words, lasting=stored.verdict.lasting)

    def _read_meaning(self, event: events.Event) -> AlarmEvent | EndEvent | None:
        """Read the meaning of an event to the decision; None: it has none. MalformedEventError when its data
        are not as agreed."""
        if event.get(PIPELINE) != self._pipeline or not is_own_type(event.type):
            return None
        try:
            if event.type == RUN_FINISHED:
                return _read_end(RunRecord.read(event.parse_json()))
            if detector_of(event.type) not in self._on:
                return None
            verdict = VerdictRecord.read(event.parse_json())
        except DocumentError as error:
            raise events.MalformedEventError(f"event {event.id}: {error.message}") from error
        if not verdict.alarm:
            return None
        return AlarmEvent(verdict.detector, verdict.release, verdict.window, True, event.id)

    async def _keep_deadletter(self, request: web.Request) -> web.Response:
        """Keep what could not be delivered, whatever it is."""
        body = await request.read()
        try:
            event = events.from_http(request.headers, body)
        except events.MalformedEventError:
            self._events.labels("malformed").inc()
            return web.Response(status=202)
        try:
            destination = event.get(ERROR_DESTINATION) or ""
            await publish_message(
                self._js,
                self._subject,
                events.pack_event(event),
                message_id=f"{destination} {event.key}",
            )
        except StoreError as error:
            return web.Response(status=503, text=error.message)
        self._events.labels("deadletter").inc()
        log.error(
            "dead letter: type=%s id=%s destination=%s",
            event.type,
            event.id,
            event.get(ERROR_DESTINATION),
        )
        return web.Response(status=202)

    async def _list_deadletters(self, request: web.Request) -> web.Response:
        if not self._is_person(request):
            return web.Response(status=401)
        try:
            letters = await self._letters.list_waiting()
        except StoreError as error:
            return web.Response(status=503, text=error.message)
        return web.json_response(to_json(letters))

    async def _replay_deadletters(self, request: web.Request) -> web.Response:
        """Send dead letters again; the body is the place in the stream to go on after."""
        if not self._is_person(request):
            return web.Response(status=401)
        after = (await request.read()).decode(errors="replace").strip() or "0"
        if not (after.isascii() and after.isdigit() and len(after) < 20):
            return web.Response(status=400, text="the body must be a place in the stream")
        try:
            result = await self._letters.replay_letters(int(after))
        except StoreError as error:
            return web.Response(status=503, text=error.message)
        return web.json_response(to_json(result))

    async def _take_labels(self, request: web.Request) -> web.Response:
        """Store right answers to requests for the monitors that read them."""
        if not self._is_person(request):
            return web.Response(status=401)
        if self._labels is None:
            text = "no monitor of the pipeline reads labels: add one with `on: label` to the spec"
            return web.Response(status=404, text=text)
        if (request.content_length or 0) > LARGEST_SENT:
            return web.Response(status=413, text=f"must be at most {LARGEST_SENT} bytes at once")
        try:
            receipt = await self._labels.take_labels(await request.read())
        except DocumentError as error:
            return web.Response(status=400, text=error.message)
        except BusyError:
            return web.Response(
                status=429, headers={"Retry-After": "1"}, text="too many requests at once"
            )
        except LabelsRefusedError as refused:
            answer = {**to_json(refused.receipt), "error": refused.message}
            return web.json_response(answer, status=503)
        status = 202 if receipt.accepted else 400
        return web.json_response(to_json(receipt), status=status)

    def _is_person(self, request: web.Request) -> bool:
        """Return True for a request with the webhook's token."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        sent = token.encode(errors="surrogateescape")
        return bool(self._token) and hmac.compare_digest(sent, self._token.encode())

    async def _suspend_decision(self, request: web.Request) -> web.Response:
        reason = (await request.read()).decode(errors="replace")[:200] or "by hand"
        return await self._by_hand(request, HaltEvent(reason))

    async def _resume_decision(self, request: web.Request) -> web.Response:
        return await self._by_hand(request, ResumeEvent())

    async def _by_hand(self, request: web.Request, event: HaltEvent | ResumeEvent) -> web.Response:
        if not self._is_person(request):
            return web.Response(status=401)
        try:
            state = await self._loop.apply_event(event)
        except StoreError as error:
            return web.Response(status=503, text=error.message)
        return web.json_response({"phase": state.phase, "halt": state.halt})

    async def _answer_state(self, request: web.Request) -> web.Response:
        try:
            return web.json_response((await self._loop.read_state()).to_json())
        except StoreError as error:
            return web.Response(status=503, text=error.message)

    async def _answer_why(self, request: web.Request) -> web.Response:
        """Answer what the loop waits for, in words."""
        try:
            state = await self._loop.read_state()
        except StoreError as error:
            return web.Response(status=503, text=error.message)
        explained = explain_state(state, self._pipeline, time.time(), self._policy, data=self._data)
        return web.json_response(
            {
                "pipeline": self._pipeline,
                "phase": explained.phase,
                "summary": explained.summary,
                "text": explained.paragraph,
            }
        )

    async def _answer_tracking(self, request: web.Request) -> web.Response:
        """Answer how far the tracking server has been told; null without one."""
        tracking = self._tracking
        return web.json_response(None if tracking is None else to_json(tracking.status))

    async def _answer_labels(self, request: web.Request) -> web.Response:
        """Answer which files of labels wait and were refused; null where none are read."""
        inbox = self._inbox
        return web.json_response(None if inbox is None else to_json(inbox.status))

    async def _answer_health(self, request: web.Request) -> web.Response:
        connected = self._js._nc.is_connected and self._verdicts._nc.is_connected
        return web.Response(status=200 if connected else 503)

    async def _answer_metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), content_type="text/plain")


def _read_end(run: RunRecord) -> EndEvent:
    if run.outcome is None:
        raise DocumentError("the run has finished without an outcome")
    return EndEvent(run.run, run.outcome, run.reason or "", run.obstacle)
