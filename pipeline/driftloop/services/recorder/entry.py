"""The recorder's entry in NATS: how far its stream is written, and by whom."""

import json

import nats.js.errors
from nats.js import JetStreamContext

from driftloop.clients.nats import publish_message
from driftloop.contract.documents import DocumentError, to_json
from driftloop.contract.recorders import RecorderState, WriteOrder
from driftloop.contract.streams import RECORDERS, RecorderStreams
from driftloop.errors import StoreError


class StateStore:
    """The recorder's entry: written only if nobody else wrote meanwhile."""

    def __init__(self, js: JetStreamContext, names: RecorderStreams) -> None:
        self._js = js
        self._subject = names.state
        self._revision = 0

    async def load_state(self) -> RecorderState:
        """Return what is stored; a new state where nothing is."""
        try:
            message = await self._js.get_last_msg(RECORDERS.name, self._subject)
        except nats.js.errors.NotFoundError:
            self._revision = 0
            return RecorderState()
        self._revision = message.seq or 0
        try:
            return RecorderState.parse(message.data or b"")
        except DocumentError as error:
            raise StoreError(f"{self._subject}: {error.message}") from error

    async def store_state(self, state: RecorderState) -> None:
        """Store a state; WrongLastSequenceError when another recorder wrote meanwhile."""
        payload = json.dumps(to_json(state), separators=(",", ":")).encode()
        ack = await publish_message(self._js, self._subject, payload, expected_last=self._revision)
        self._revision = ack.seq

    async def confirm_order(self, order: WriteOrder) -> None:
        """Return while the part of an order is still its asker's to write; StoreError when another recorder has taken it
        over. Events are deleted when their part is stored: all that was read before this was there."""
        state = await self.load_state()
        mine = (order.stream, order.part, order.writer)
        if (state.stream, state.part, state.writer) != mine:
            raise StoreError("another recorder writes this part")
