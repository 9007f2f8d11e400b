"""Dead letters as the decision service lists them and sends them again."""

from dataclasses import dataclass

from driftloop.contract.documents import (
    document_key,
    from_json,
    is_text,
    is_texts,
    is_whole,
    to_json,
)


def _count(key: str) -> int:
    value: int = document_key(key, "a number from 0", lambda v: is_whole(v, 0))
    return value


@dataclass(frozen=True, kw_only=True)
class DeadLetterRecord:
    """An event that its subscriber did not take."""

    sequence: int = document_key("sequence", "a number from 1", lambda v: is_whole(v, 1))
    """Its place in the stream."""
    time: str = document_key("time", "a text", is_text)
    """Time at which it was stored."""
    type: str = document_key("type", "a text", is_text)
    """Type of the event."""
    id: str = document_key("id", "a text", is_text)
    """Id of the event."""
    source: str = document_key("source", "a text", is_text)
    """Source of the event."""
    destination: str = document_key("destination", "a text", lambda v: isinstance(v, str))
    """Address that did not take it."""

    @classmethod
    def read(cls, document: object) -> "DeadLetterRecord":
        """Read a dead letter from plain data; DocumentError."""
        return from_json(cls, document, label="a dead letter", closed=False)


@dataclass(frozen=True, kw_only=True)
class DeadLetterList:
    """The oldest dead letters, and how many there are."""

    waiting: int = _count("waiting")
    """Dead letters in all."""
    letters: tuple[DeadLetterRecord, ...] = document_key(
        "letters",
        "a list of dead letters",
        lambda v: isinstance(v, list),
        read=lambda v: tuple(map(DeadLetterRecord.read, v)),
        write=lambda v: [to_json(letter) for letter in v],
    )
    """The oldest ones."""

    @classmethod
    def read(cls, document: object) -> "DeadLetterList":
        """Read the list from plain data; DocumentError."""
        return from_json(cls, document, label="the dead letters", closed=False)


@dataclass(frozen=True, kw_only=True)
class ReplayRecord:
    """Result of sending some dead letters again."""

    sent: int = _count("sent")
    """Letters that were taken now, and are no dead letters any more."""
    failed: tuple[str, ...] = document_key(
        "failed", "a list of texts", is_texts, read=tuple, write=list
    )
    """A line for each that was not."""
    last: int = _count("last")
    """The last one's place in the stream: the next call goes on after it."""
    done: bool = document_key("done", "true or false", lambda v: isinstance(v, bool))
    """There is none after it."""
    waiting: int = _count("waiting")
    """Dead letters that are left."""

    @classmethod
    def read(cls, document: object) -> "ReplayRecord":
        """Read the result from plain data; DocumentError."""
        return from_json(cls, document, label="the result of a replay", closed=False)
