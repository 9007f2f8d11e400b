"""Stepping the decision and carrying it out: apply under compare-and-set, fire the webhook, look
after the lease, and tell of a run that was lost."""

import asyncio
import logging
import time
from typing import assert_never, get_args

import aiohttp
from prometheus_client import CollectorRegistry, Counter, Gauge

from driftloop.clients import events
from driftloop.clients.events import EventRefusedError
from driftloop.clients.kubernetes import (
    KubernetesClient,
    KubernetesUnreachableError,
    workflow_ended,
)
from driftloop.contract.handovers import RetrainPolicy
from driftloop.contract.outcomes import RunOutcome
from driftloop.errors import StoreError
from driftloop.release.record import release_id
from driftloop.retrain.decision import find_watched
from driftloop.retrain.state import (
    Effect,
    Event,
    FireWebhook,
    LostEvent,
    Outcome,
    Phase,
    RetrainState,
    TellLoss,
    TickEvent,
    ToldEvent,
)
from driftloop.retrain.store import AppliedEvent, DecisionStore

log = logging.getLogger("decision")

TICK = 0.5
ANSWER = 10.0
"""Seconds that the webhook may take."""
FIRED = ("accepted", "refused", "unreachable")
"""How a call of it ends."""
LEASE = 2.0
GRACE = 6.0
"""Seconds a Workflow must be seen gone or ended before its run counts as lost; its last step may
be reporting right now."""


class DecisionLoop:
    """One pipeline's decision."""

    def __init__(
        self,
        store: DecisionStore,
        policy: RetrainPolicy,
        *,
        namespace: str,
        pipeline: str,
        session: aiohttp.ClientSession,
        webhook: str,
        token: str,
        broker: str,
        kubernetes: KubernetesClient | None,
        registry: CollectorRegistry,
        grace: float = GRACE,
    ) -> None:
        self._store = store
        self._policy = policy
        self._namespace = namespace
        self._pipeline = pipeline
        self._session = session
        self._webhook = webhook
        self._token = token
        self._broker = broker
        self._kubernetes = kubernetes
        self._grace = grace
        self._one_at_a_time = asyncio.Lock()
        self._doing: set[asyncio.Task[None]] = set()
        self._telling: set[str] = set()
        self._missing: tuple[str, float] | None = None
        self._fires = Counter(
            "driftloop_decision_fires", "Webhook calls, by result", ["result"], registry=registry
        )
        for result in FIRED:
            self._fires.labels(result)
        self._phase = Gauge(
            "driftloop_decision_phase",
            "1 for the current phase of the decision",
            ["phase"],
            registry=registry,
        )
        self._outcome = Gauge(
            "driftloop_decision_outcome",
            "1 for the outcome of the last run, until the next one starts",
            ["outcome"],
            registry=registry,
        )
        self._suppressed = Gauge(
            "driftloop_decision_suppressed_causes",
            "Causes dropped or over budget, in total",
            registry=registry,
        )
        self._show_state(RetrainState(f"{namespace}.{pipeline}"))

    async def read_state(self) -> RetrainState:
        """The state now. StoreError when NATS is away."""
        return await self._store.read_state()

    async def apply_event(self, event: Event) -> RetrainState:
        """Step by one event and start what follows. StoreError: nothing is known to be stored,
        send it again."""
        async with self._one_at_a_time:
            applied = await self._store.apply_event(event, self._policy)
        self._note_change(applied, event)
        for effect in applied.effects:
            task = asyncio.create_task(self._carry_out(effect))
            self._doing.add(task)
            task.add_done_callback(self._doing.discard)
        return applied.state

    async def run(self) -> None:
        """Tick for ever."""
        looked = 0.0
        while True:
            try:
                state = await self.apply_event(TickEvent())
                if time.monotonic() - looked >= LEASE:
                    looked = time.monotonic()
                    await self._check_lease(state)
            except StoreError as error:
                log.warning("tick failed, retrying in %g s: %s", TICK, error.message)
            await asyncio.sleep(TICK)

    async def _check_lease(self, state: RetrainState) -> None:
        """Is the run that holds the lease, or that should take it, still there?"""
        name = find_watched(state, self._pipeline)
        if name is None or self._kubernetes is None:
            self._missing = None
            return
        try:
            workflow = await asyncio.to_thread(self._kubernetes.get_workflow, self._namespace, name)
        except KubernetesUnreachableError as error:
            log.warning("lease can't be checked: workflow=%s error=%s", name, error.message)
            return
        # a decision that is pending has no Workflow yet; only one that ended without a claim is a sign
        if not workflow_ended(workflow) or (workflow is None and not state.live):
            self._missing = None
            return
        if self._missing is None or self._missing[0] != name:
            self._missing = (name, time.monotonic())
            return
        if time.monotonic() - self._missing[1] >= self._grace:
            how = (
                "is gone"
                if workflow is None
                else f"ended in phase {workflow['status']['phase']} without reporting its outcome"
            )
            await self.apply_event(LostEvent(name, f"workflow {name} {how}"))
            self._missing = None

    async def _carry_out(self, effect: Effect) -> None:
        match effect:
            case FireWebhook():
                await self._fire_webhook(effect)
            case TellLoss():
                await self._tell_loss(effect)
            case _:
                assert_never(effect)

    async def _tell_loss(self, effect: TellLoss) -> None:
        """Send `run.finished` for a run that can't do it itself; the state machine asks again
        until that is known."""
        if effect.run in self._telling:
            return
        self._telling.add(effect.run)
        told = events.run_finished(
            self._namespace,
            self._pipeline,
            run=effect.run,
            decision=effect.decision,
            outcome=RunOutcome.now("failed", effect.reason),
            release=release_id(effect.run),
        )
        try:
            await events.post_event(self._session, self._broker, told)
            await self.apply_event(ToldEvent(effect.run))
            log.info("run is lost, `run.finished` is sent: run=%s", effect.run)
        except (EventRefusedError, StoreError) as error:
            log.warning(
                "sending `run.finished` of a lost run failed, retrying: run=%s error=%s",
                effect.run,
                error.message,
            )
        finally:
            self._telling.discard(effect.run)

    async def _fire_webhook(self, effect: FireWebhook) -> None:
        """POST the webhook once; the state machine asks again until the decision is claimed."""
        body = {"pipeline": self._pipeline, "decision": effect.decision, "cause": effect.cause}
        headers = {"Authorization": f"Bearer {self._token}"}
        without = aiohttp.ClientTimeout()
        try:
            # not aiohttp's own timeout: it swallows a cancellation that comes in the same moment (3.14)
            async with (
                asyncio.timeout(ANSWER),
                self._session.post(
                    self._webhook, json=body, headers=headers, timeout=without
                ) as answer,
            ):
                await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._fires.labels("unreachable").inc()
            log.warning(
                "webhook can't be reached: url=%s error=%s",
                self._webhook,
                error or type(error).__name__,
            )
            return
        good = 200 <= answer.status < 300
        self._fires.labels("accepted" if good else "refused").inc()
        if good:
            log.info(
                "webhook accepted the decision: decision=%s attempt=%d",
                effect.decision,
                effect.attempt,
            )
        elif answer.status == 401:
            log.error("webhook refused the token: url=%s", self._webhook)
        else:
            log.warning(
                "webhook refused the decision: url=%s status=%d", self._webhook, answer.status
            )

    def _note_change(self, applied: AppliedEvent, event: Event) -> None:
        # also what others have changed: a run claims and ends by itself
        self._show_state(applied.state)
        if applied.changed and not isinstance(event, TickEvent):
            log.info("event applied: phase=%s event=%s", applied.state.phase, event)

    def _show_state(self, state: RetrainState) -> None:
        for phase in get_args(Phase):
            self._phase.labels(phase).set(float(phase == state.phase))
        for outcome in get_args(Outcome):
            self._outcome.labels(outcome).set(float(outcome == state.outcome))
        self._suppressed.set(state.suppressed)
