"""The writer: reads one range of the recorder's stream, joins it, stores its rows, and says what it did.

It is told what to do on its input and answers on its output, both JSON. It decides nothing that a repeat
could decide otherwise: the range and the moment are in the order, and the rest follows from the stream.
"""

import logging
import os
from collections.abc import Mapping
from contextlib import aclosing
from datetime import UTC, datetime

import nats.js.errors
from nats.js import JetStreamContext

from driftloop.clients import events
from driftloop.clients.nats import open_connection
from driftloop.contract.batches import GivenPart
from driftloop.contract.captures import (
    DAY,
    MOST_BYTES,
    ROLE_ATTRIBUTE,
    TRAFFIC_ROLES,
    TrafficPart,
    first_kept_day,
)
from driftloop.contract.documents import LONGEST_FILE, DocumentError, parse_json
from driftloop.contract.events import INFERENCE_REQUEST, LABELS_GIVEN, PROTOCOL, RELEASE, REQUEST_ID
from driftloop.contract.labels import LabelBatch
from driftloop.contract.platform import SECRET_KEY
from driftloop.contract.profiles import TableProfile
from driftloop.contract.recorders import PartRange, RecorderSettings, WriteOrder, WriteResult
from driftloop.contract.streams import RecorderStreams
from driftloop.contract.times import SECOND
from driftloop.errors import StoreError
from driftloop.services.reading import CaughtUp, EventReader
from driftloop.services.recorder.columns import Concealment, RequestReader, derive_key
from driftloop.services.recorder.entry import StateStore
from driftloop.services.recorder.given import LabelFolder, build_given
from driftloop.services.recorder.joining import EventSide, JoinedEvents, KeptEvent, join_events
from driftloop.services.recorder.labelled import write_batch
from driftloop.services.recorder.parts import PartRows, write_parquet
from driftloop.services.recorder.storage import TrafficFolder

log = logging.getLogger("recorder")

SINGLE = 500
"""Waiting events that are fetched one by one; more of them are read with all that lies between."""
ASKER = os.getppid()
"""Process that started this one."""
EARLIEST, LATEST = round(DAY) * SECOND, 300 * SECOND
"""Nanoseconds that a logger's time may be before and after the time at which the event was stored."""


_SIDES: Mapping[str, EventSide] = {INFERENCE_REQUEST: "request", LABELS_GIVEN: "label"}


async def write_part(
    order: WriteOrder, nats_url: str, environment: Mapping[str, str]
) -> WriteResult:
    """Write the part of an order, or delete what is not kept; StoreError when a store is away."""
    folder = TrafficFolder.open(environment, order.pipeline)
    if order.batch is not None:
        labels = LabelFolder.open(environment, order.pipeline)
        return WriteResult(batch=write_batch(order, order.batch, labels, folder))
    if order.part is None:
        return WriteResult(counts={"deleted": delete_old(order, folder, environment)})
    names = RecorderStreams(order.namespace, order.pipeline)
    async with open_connection(nats_url, name=f"{order.pipeline}-writer") as js:
        kept, last = await read_range(js, names, order, order.part)
        joined = join_events(kept, order.part.moment)
        rows = build_rows(order, kept, joined, folder, environment)
        await StateStore(js, names).confirm_order(order)
    store_rows(order, order.part, last, rows, folder)
    rows.counts["labels"] = store_labels(order, order.part, kept, environment)
    return WriteResult(
        last=last, open=tuple(event.sequence for event in joined.open), counts=dict(rows.counts)
    )


async def read_range(
    js: JetStreamContext, names: RecorderStreams, order: WriteOrder, part: PartRange
) -> tuple[list[KeptEvent], int]:
    """Return the events that waited and those of the range, in order, and the last of the range: fewer than
    asked for where they are large. StoreError when another recorder has written them, and deleted what it read."""
    kept: list[KeptEvent] = []
    first = part.first
    chosen = set(order.open)
    entry = StateStore(js, names)
    if len(order.open) <= SINGLE:
        for sequence in sorted(order.open):
            try:
                message = await js.get_msg(names.events_stream.name, sequence)
            except nats.js.errors.NotFoundError:
                await entry.confirm_order(order)
                raise
            stored = message.time.timestamp() if message.time is not None else 0.0
            kept.append(read_event(message.data or b"", sequence, round(stored * SECOND)))
    else:
        first = min(order.open)
    last, size = part.first - 1, 0
    if first > part.last:
        return kept, last
    reader = EventReader(js, names.events_stream.name, names.event_subject("*"))
    async with aclosing(reader.read_events(first - 1)) as reads:
        async for read in reads:
            if isinstance(read, CaughtUp):
                await entry.confirm_order(order)
                continue
            sequence, data = read.where.stream, read.message.data
            if sequence > part.last:
                break
            if sequence >= part.first:
                last, size = sequence, size + len(data)
            elif sequence not in chosen:
                continue
            kept.append(read_event(data, sequence, read.where.time))
            if last == part.last or size >= MOST_BYTES:
                break
    return kept, last


def read_event(message: bytes, sequence: int, stored: int) -> KeptEvent:
    """Return an event of the stream, which the recorder's handler wrote."""
    event = events.unpack_event(message)
    time = _read_time(event.get("time"))
    exact = time is not None and stored - EARLIEST <= time <= stored + LATEST
    role = event.get(ROLE_ATTRIBUTE)
    return KeptEvent(
        sequence,
        stored,
        time if time is not None and exact else stored,
        _SIDES.get(event.type, "answer"),
        event.get(REQUEST_ID) or event.id,
        event.get(RELEASE) or "",
        next((each for each in TRAFFIC_ROLES if each == role), "unknown"),
        event.body,
        event.get(PROTOCOL),
        exact,
    )


def _read_time(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    whole = moment.replace(microsecond=0)
    return round(whole.timestamp()) * SECOND + moment.microsecond * 1000


def read_profiles(
    order: WriteOrder, folder: TrafficFolder, releases: set[str]
) -> dict[str, RequestReader]:
    """Return the readers of releases that come in a part; one without a profile has none."""
    readers = {}
    for release in order.settings.releases:
        if release.id not in releases or release.detectors is None:
            continue
        profiles = []
        for text in folder.read_profiles(release.detectors):
            try:
                label = f"a profile of {release.id}"
                document = parse_json(text, label=label, longest=LONGEST_FILE)
                profile = TableProfile.read(document)
            except DocumentError as error:
                log.warning("%s: its columns have the types of their values", error.message)
                continue
            if profile.of == "rows":
                profiles.append(profile)
        if profiles:
            readers[release.id] = RequestReader(profiles)
    return readers


def build_rows(
    order: WriteOrder,
    kept: list[KeptEvent],
    joined: JoinedEvents,
    folder: TrafficFolder,
    environment: Mapping[str, str],
) -> PartRows:
    """Return the rows of the exchanges of a part, without what is dropped and with hashes of what is hashed."""
    settings = order.settings
    secret = environment.get(SECRET_KEY.environment, "")
    rows = PartRows(
        read_profiles(order, folder, {event.release for event in kept}),
        Concealment(
            frozenset(settings.drop),
            frozenset(settings.hash),
            derive_key(secret, order.namespace, order.pipeline),
        ),
    )
    for exchange in joined.exchanges:
        rows.add_exchange(exchange)
    return rows


def store_rows(
    order: WriteOrder, part: PartRange, last: int, rows: PartRows, folder: TrafficFolder
) -> None:
    """Store a file of each day and release; a repeat leaves none that an earlier attempt wrote otherwise."""
    written: list[TrafficPart] = []
    for day, release, table in rows.list_tables():
        file = TrafficPart(
            day, release, order.stream, part.number, part.first, last, table.num_rows
        )
        data = write_parquet(table)
        if os.getppid() != ASKER:
            raise StoreError("the recorder that asked has ended: another one writes this part")
        folder.write_part(file, data)
        rows.counts["files"] += 1
        rows.counts["bytes"] += len(data)
        written.append(file)
    if not order.again:
        return
    for day in {file.day for file in written}:
        for stored in folder.list_parts(day):
            if stored.part.repeats(written[0]) and stored.part not in written:
                folder.delete_part(stored.part)


def store_labels(
    order: WriteOrder, part: PartRange, kept: list[KeptEvent], environment: Mapping[str, str]
) -> int:
    """Store the labels of a part as they were given; their number."""
    batches = [read_labels(event) for event in kept if event.side == "label"]
    if not batches:
        return 0
    day = datetime.fromtimestamp(part.moment // SECOND, UTC).date().isoformat()
    table = build_given(batches)
    folder = LabelFolder.open(environment, order.pipeline)
    folder.write_given(GivenPart(day, order.stream, part.number), table)
    return int(table.num_rows)


def read_labels(event: KeptEvent) -> LabelBatch:
    """Return the labels of an event, which the recorder's handler has read once."""
    return LabelBatch.read(parse_json(event.body, label="the labels", longest=LONGEST_FILE))


def delete_old(order: WriteOrder, folder: TrafficFolder, environment: Mapping[str, str]) -> int:
    """Delete the days that are not kept any longer, and their labels; the number of files."""
    settings, now = order.settings, datetime.now(UTC)
    count = delete_traffic(settings, folder, now)
    if settings.batches is not None and settings.keep is not None:
        count += LabelFolder.open(environment, order.pipeline).delete_old(settings.keep, now)
    return count


def delete_traffic(settings: RecorderSettings, folder: TrafficFolder, now: datetime) -> int:
    """Delete the traffic of days that are not kept any longer; the number of its files."""
    stored = folder.list_parts()
    sizes: dict[str, int] = {}
    for each in stored:
        sizes[each.part.day] = sizes.get(each.part.day, 0) + each.size
    old = set()
    if settings.keep is not None:
        first = first_kept_day(now, settings.keep)
        old = {day for day in sizes if day < first}
    if settings.most is not None:
        left = sum(size for day, size in sizes.items() if day not in old)
        # the present day stays, however large it is
        for day in sorted(sizes.keys() - old - {now.date().isoformat()}):
            if left <= settings.most:
                break
            old.add(day)
            left -= sizes[day]
    gone = [each.part for each in stored if each.part.day in old]
    for part in gone:
        folder.delete_part(part)
    for day in sorted(old):
        log.info("the traffic of %s is deleted: it is not kept any longer", day)
    return len(gone)
