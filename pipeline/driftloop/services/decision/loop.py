"""Stepping the decision and carrying it out: apply under compare-and-set, fire the webhook, look
after the lease, and tell of a run that was lost."""

import asyncio
import logging
import time
from dataclasses import replace
from typing import assert_never, get_args

import aiohttp
from nats.js import JetStreamContext
from prometheus_client import CollectorRegistry, Counter, Gauge

from driftloop.clients import events
from driftloop.clients.events import EventRefusedError
from driftloop.clients.kubernetes import (
    KubernetesClient,
    KubernetesUnreachableError,
    workflow_ended,
)
from driftloop.contract.handovers import RetrainPolicy
from driftloop.contract.names import release_id
from driftloop.contract.outcomes import RunOutcome
from driftloop.contract.streams import DetectorStreams
from driftloop.errors import StoreError
from driftloop.retrain.decision import find_watched, find_watched_rollback, is_claimed
from driftloop.retrain.effects import Effect, FireRollback, FireWebhook, TellLoss, TellWait
from driftloop.retrain.postponing import count_recheck, still_alarms
from driftloop.retrain.rollbacks import ORDERED, describe_rollback
from driftloop.retrain.state import (
    AlarmEvent,
    Event,
    HeadEvent,
    LostEvent,
    NewDataEvent,
    Outcome,
    Phase,
    RecheckEvent,
    RetrainState,
    RollbackOutcome,
    TickEvent,
    ToldEvent,
    WaitToldEvent,
)
from driftloop.retrain.store import AppliedEvent, DecisionStore
from driftloop.services.decision.data import DataLook
from driftloop.services.decision.evidence import read_last
from driftloop.services.decision.head import HeadReader

log = logging.getLogger("decision")

TICK = 0.5
ANSWER = 10.0
"""Seconds that the webhook may take."""
FIRED = ("accepted", "refused", "unreachable")
"""How a call of it ends."""
GIT_LOOK = 30.0
"""Seconds between two looks at git; before an alarm counts that may start a run, and before a run
is asked for, it is always asked."""
DATA_LOOK = 10.0
"""Seconds between two looks for new batches while alarms wait for them."""
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
        rollback_webhook: str = "",
        token: str,
        broker: str,
        kubernetes: KubernetesClient | None,
        head: HeadReader | None = None,
        look: DataLook | None = None,
        verdicts: JetStreamContext | None = None,
        registry: CollectorRegistry,
        grace: float = GRACE,
    ) -> None:
        self._store = store
        self._policy = policy
        self._namespace = namespace
        self._pipeline = pipeline
        self._session = session
        self._webhook = webhook
        self._rollback_webhook = rollback_webhook
        self._token = token
        self._broker = broker
        self._kubernetes = kubernetes
        self._head = head
        self._look = look
        self._verdicts = verdicts
        self._grace = grace
        self._one_at_a_time = asyncio.Lock()
        # what git said is applied before it is read again, so that production never goes back
        self._following = asyncio.Lock()
        self._doing: set[asyncio.Task[None]] = set()
        self._clock = ""
        self._telling: set[str] = set()
        self._missing: dict[str, float] = {}
        """Workflow that is gone or has ended, and since when."""
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
        self._stale = Gauge(
            "driftloop_decision_stale_alarms",
            "Alarms about releases that were not production any more, or over after quiet hours, ever",
            registry=registry,
        )
        self._strikes = Gauge(
            "driftloop_decision_candidates_in_vain",
            "Candidates refused or rejected since the last release",
            registry=registry,
        )
        self._breaker = Gauge(
            "driftloop_decision_halted_itself",
            "1 while the loop is halted because of them",
            registry=registry,
        )
        self._production = Gauge(
            "driftloop_decision_production_since_seconds",
            "Time of the commit that made a release production, in seconds since 1970",
            ["release", "commit", "change"],
            registry=registry,
        )
        self._rollback = Gauge(
            "driftloop_decision_rollback",
            "1 for what became of the rollback for which the loop is halted",
            ["outcome"],
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

    async def count_alarm(self, alarm: AlarmEvent) -> RetrainState:
        """Step by an alarm, about which git is asked first whether its release is production.
        StoreError as `apply_event`."""
        state = await self.read_state()
        # while the loop is busy or pauses, an alarm starts nothing whatever it is about; it may halt it
        asks = state.phase == "idle" or self._policy.interrupts(alarm.detector)
        head = await self._follow_git() if asks else None
        production = head.production if head is not None else None
        return await self.apply_event(replace(alarm, production=production))

    async def may_end(self, run: str) -> bool:
        """Return False when the run holds the lease and its Workflow does not say that it is over.
        StoreError when NATS or the API server is away.

        `step finish` ends its run in the store itself, before it tells anybody.
        """
        state = await self.read_state()
        if not is_claimed(state, run):
            return True
        if self._kubernetes is None or state.workflow is None:
            return False
        try:
            workflow = await asyncio.to_thread(
                self._kubernetes.get_workflow, self._namespace, state.workflow
            )
        except KubernetesUnreachableError as error:
            raise StoreError(error.message) from error
        return workflow is not None and workflow_ended(workflow)

    async def run(self) -> None:
        """Tick for ever."""
        looked = looked_at_git = looked_at_data = 0.0
        while True:
            try:
                state = await self.apply_event(TickEvent())
                if time.monotonic() - looked_at_git >= GIT_LOOK:
                    looked_at_git = time.monotonic()
                    await self._follow_git()
                if state.phase == "waiting" and time.monotonic() - looked_at_data >= DATA_LOOK:
                    looked_at_data = time.monotonic()
                    await self._look_for_data(state)
                if state.phase == "postponed" and time.monotonic() - looked_at_data >= DATA_LOOK:
                    looked_at_data = time.monotonic()
                    await self._recheck_alarms(state)
                if time.monotonic() - looked >= LEASE:
                    looked = time.monotonic()
                    await self._check_lease(state)
            except StoreError as error:
                log.warning("tick failed, retrying in %g s: %s", TICK, error.message)
            await asyncio.sleep(TICK)

    async def _follow_git(self) -> HeadEvent | None:
        """Step by what git says; None when that is not known."""
        async with self._following:
            head = await self._head.read_event() if self._head is not None else None
            if head is not None:
                await self.apply_event(head)
            self._show_production()
            return head

    def _show_production(self) -> None:
        now = self._head.production if self._head is not None else None
        self._production.clear()
        if now is not None:
            self._production.labels(now.release, now.commit[:12], now.change).set(now.at)

    async def _look_for_data(self, state: RetrainState) -> None:
        waits = state.waits
        if self._look is None or waits is None or waits.news:
            return
        if await self._look.is_new():
            await self.apply_event(NewDataEvent())

    async def _recheck_alarms(self, state: RetrainState) -> None:
        """After the quiet hours: do the monitors of postponed alarms alarm still?"""
        if self._verdicts is None or state.quiet_until is not None:
            return
        head = await self._follow_git()
        still: list[str] = []
        over: list[str] = []
        for alarm in state.postponed:
            cause, count = alarm.cause, self._policy.count_of(alarm.cause.detector)
            last = await read_last(
                self._verdicts,
                DetectorStreams(self._namespace, self._pipeline, cause.detector, cause.release),
                count_recheck(cause, count),
            )
            (still if still_alarms(cause, count, last) else over).append(alarm.source)
        production = head.production if head is not None else None
        await self.apply_event(RecheckEvent(tuple(still), tuple(over), production))

    async def _check_lease(self, state: RetrainState) -> None:
        """Are the run and the rollback that were claimed, or that should be, still there?"""
        order = state.rollback
        claimed = (
            (find_watched(state, self._pipeline), state.live),
            (
                find_watched_rollback(state, self._pipeline),
                order is not None and order.run is not None,
            ),
        )
        watched = {name: live for name, live in claimed if name is not None}
        self._missing = {name: at for name, at in self._missing.items() if name in watched}
        if self._kubernetes is not None:
            for name, live in watched.items():
                await self._check_workflow(self._kubernetes, name, live=live)

    async def _check_workflow(self, kubernetes: KubernetesClient, name: str, *, live: bool) -> None:
        """Is a Workflow still there? `live` once it has claimed what it was made for."""
        try:
            workflow = await asyncio.to_thread(kubernetes.get_workflow, self._namespace, name)
        except KubernetesUnreachableError as error:
            log.warning("lease can't be checked: workflow=%s error=%s", name, error.message)
            return
        # a decision that is pending has no Workflow yet; only one that ended without a claim is a sign
        if not workflow_ended(workflow) or (workflow is None and not live):
            self._missing.pop(name, None)
            return
        since = self._missing.setdefault(name, time.monotonic())
        if time.monotonic() - since >= self._grace:
            how = (
                "is gone"
                if workflow is None
                else f"ended in phase {workflow['status']['phase']} without reporting its outcome"
            )
            # a rollback that was committed has ended well, whatever became of its step
            await self._follow_git()
            await self.apply_event(LostEvent(name, f"workflow {name} {how}"))
            del self._missing[name]

    async def _carry_out(self, effect: Effect) -> None:
        match effect:
            case FireWebhook():
                if await self._confirm_decision(effect):
                    await self._fire_webhook(effect, self._webhook)
            case FireRollback():
                if await self._confirm_decision(effect):
                    await self._fire_webhook(effect, self._rollback_webhook)
            case TellLoss():
                await self._tell_loss(effect)
            case TellWait():
                await self._tell_wait(effect)
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

    async def _tell_wait(self, effect: TellWait) -> None:
        """Send the event of a wait; the state machine asks again until that is known."""
        if effect.key in self._telling:
            return
        self._telling.add(effect.key)
        told = events.loop_waits(
            self._namespace,
            self._pipeline,
            key=effect.key,
            waits_for=effect.waits_for,
            reason=effect.reason,
        )
        try:
            await events.post_event(self._session, self._broker, told)
            await self.apply_event(WaitToldEvent(effect.key))
            log.warning("%s: %s", self._pipeline, effect.reason)
        except (EventRefusedError, StoreError) as error:
            log.warning("a wait is not told yet: %s", error.message)
        finally:
            self._telling.discard(effect.key)

    async def _confirm_decision(self, effect: FireWebhook | FireRollback) -> bool:
        """Ask git before a run or a rollback is asked for; False when the decision is about a release
        that was replaced, or over."""
        try:
            await self._follow_git()
            state = await self.read_state()
        except StoreError as error:
            log.warning("a run is not asked for yet, retrying: %s", error.message)
            return False
        match effect:
            case FireWebhook():
                asks = state.phase == "pending" and state.decision == effect.decision
            case FireRollback():
                order = state.rollback
                asks = order is not None and order.run is None and order.decision == effect.decision
            case _:
                assert_never(effect)
        if asks:
            return True
        log.info("decision is over, no run is asked for: decision=%s", effect.decision)
        return False

    async def _fire_webhook(self, effect: FireWebhook | FireRollback, url: str) -> None:
        """POST a webhook once; the state machine asks again until the decision is claimed."""
        body = {"pipeline": self._pipeline, "decision": effect.decision, "cause": effect.cause}
        headers = {"Authorization": f"Bearer {self._token}"}
        without = aiohttp.ClientTimeout()
        try:
            # not aiohttp's own timeout: it swallows a cancellation that comes in the same moment (3.14)
            async with (
                asyncio.timeout(ANSWER),
                self._session.post(url, json=body, headers=headers, timeout=without) as answer,
            ):
                await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._fires.labels("unreachable").inc()
            log.warning(
                "webhook can't be reached: url=%s error=%s",
                url,
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
            log.error("webhook refused the token: url=%s", url)
        else:
            log.warning("webhook refused the decision: url=%s status=%d", url, answer.status)

    def _note_change(self, applied: AppliedEvent, event: Event) -> None:
        # also what others have changed: a run claims and ends by itself
        self._show_state(applied.state)
        if applied.state.clock != self._clock:
            log.warning("%s: %s", self._pipeline, applied.state.clock)
            self._clock = applied.state.clock
        if applied.changed and not isinstance(event, TickEvent):
            log.info("event applied: phase=%s event=%s", applied.state.phase, event)

    def _show_state(self, state: RetrainState) -> None:
        for phase in get_args(Phase):
            self._phase.labels(phase).set(float(phase == state.phase))
        for outcome in get_args(Outcome):
            self._outcome.labels(outcome).set(float(outcome == state.outcome))
        self._suppressed.set(state.suppressed)
        self._stale.set(state.stale)
        self._strikes.set(state.strikes)
        self._breaker.set(state.breaker)
        rollback = describe_rollback(state)
        for which in (ORDERED, *get_args(RollbackOutcome)):
            self._rollback.labels(which).set(float(which == rollback))
