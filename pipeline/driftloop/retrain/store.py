"""The decision state of a pipeline in its key-value entry: read, step, write only if nobody else
wrote meanwhile."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext
from nats.js.kv import KeyValue

from driftloop.clients import cancellation
from driftloop.clients.nats import HINT, key_value, open_connection
from driftloop.contract.handovers import RetrainPolicy
from driftloop.contract.streams import DECISIONS, decision_key
from driftloop.errors import StoreError
from driftloop.retrain.decision import step_decision
from driftloop.retrain.effects import Effect
from driftloop.retrain.state import Event, RetrainState

ATTEMPTS = 50


@dataclass(frozen=True)
class AppliedEvent:
    """The state after an event, what is to be done now, and whether this event changed the
    state."""

    state: RetrainState
    effects: tuple[Effect, ...]
    changed: bool


class DecisionStore:
    """One pipeline's entry. Every method raises StoreError when NATS is away."""

    def __init__(
        self,
        bucket: KeyValue,
        namespace: str,
        pipeline: str,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._bucket = bucket
        self._key = decision_key(namespace, pipeline)
        self._clock = clock

    @classmethod
    async def open_bucket(
        cls,
        js: JetStreamContext,
        namespace: str,
        pipeline: str,
        *,
        clock: Callable[[], float] = time.time,
    ) -> "DecisionStore":
        """The entry, in a bucket that is made when it is missing."""
        return cls(
            await key_value(js, DECISIONS.name, history=DECISIONS.history),
            namespace,
            pipeline,
            clock=clock,
        )

    async def read_state(self) -> RetrainState:
        """The state now; idle when nothing was ever stored."""
        state, _ = await self._load_state()
        return state

    async def apply_event(self, event: Event, policy: RetrainPolicy) -> AppliedEvent:
        """Step the state by `event` under compare-and-set; whoever loses the race reads again
        and applies again."""
        for attempt in range(ATTEMPTS):
            before, revision = await self._load_state()
            after, effects = step_decision(before, event, self._clock(), policy)
            if after == before:
                return AppliedEvent(before, effects, changed=False)
            if await self._store_state(after, revision):
                return AppliedEvent(after, effects, changed=True)
            await asyncio.sleep(0.002 * min(attempt + 1, 20))
        raise StoreError(
            f"the decision state {self._key} could not be written: {ATTEMPTS} concurrent writes in a row"
        )

    async def _load_state(self) -> tuple[RetrainState, int | None]:
        try:
            entry = await self._bucket.get(self._key)
        except nats.js.errors.KeyDeletedError as error:
            return RetrainState(
                self._key
            ), error.entry.revision if error.entry is not None else None
        except nats.js.errors.KeyNotFoundError:
            return RetrainState(self._key), None
        except (nats.errors.Error, TimeoutError) as error:
            raise StoreError(f"the decision state {self._key} can't be read", hint=HINT) from error
        return RetrainState.parse(entry.value or b"{}"), entry.revision

    async def _store_state(self, state: RetrainState, revision: int | None) -> bool:
        value = json.dumps(state.to_json(), separators=(",", ":")).encode()
        try:
            await self._bucket.update(self._key, value, last=revision or 0)
        except nats.js.errors.KeyWrongLastSequenceError:
            return False
        except (nats.errors.Error, TimeoutError) as error:
            # it may have been stored all the same; saying it failed loses nothing, since events can be applied twice
            raise StoreError(
                f"the decision state {self._key} can't be written", hint=HINT
            ) from error
        return True


KEEP = RetrainPolicy(cooldown=float("inf"), while_running="remember", budget=0, hold=float("inf"))


def apply_once(
    url: str, namespace: str, pipeline: str, event: Event, policy: RetrainPolicy | None = None
) -> RetrainState:
    """`apply` for programs without an event loop (`driftloop step claim` and `finish`).

    Whatever the pipeline's policy is, the default keeps what the decision service will judge by
    its own: neither a cooldown nor a pause ends here, nothing halts the loop, and a pending decision that a claim overtakes is
    remembered.
    """

    async def once() -> RetrainState:
        async with open_connection(url, name=f"{pipeline}-step") as js:
            store = await DecisionStore.open_bucket(js, namespace, pipeline)
            return (await store.apply_event(event, policy or KEEP)).state

    return cancellation.run(once())


def read_once(url: str, namespace: str, pipeline: str) -> RetrainState:
    """Return the state now, for programs without an event loop; StoreError when NATS is away."""

    async def once() -> RetrainState:
        async with open_connection(url, name=f"{pipeline}-step") as js:
            return await (await DecisionStore.open_bucket(js, namespace, pipeline)).read_state()

    return cancellation.run(once())
