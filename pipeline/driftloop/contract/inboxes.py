"""Files of labels that are put into a folder of the bucket of runs: where they are, how far one was read, and what became of
it."""

from dataclasses import dataclass

from driftloop.contract.documents import (
    document_key,
    escape_text,
    from_json,
    is_text,
    is_whole,
    texts_key,
)


def inbox_key(pipeline: str) -> str:
    """Return the key of the folder that people put files of labels into."""
    return f"labels/{pipeline}/inbox"


def read_key(pipeline: str, etag: str, name: str) -> str:
    """Return the key of a file that was read."""
    return f"labels/{pipeline}/read/{etag[:12]}-{name}"


def refused_folder(pipeline: str) -> str:
    """Return the key of the folder of files that are none of labels."""
    return f"labels/{pipeline}/refused"


def refused_key(pipeline: str, etag: str, name: str) -> str:
    """Return the key of a file that is none of labels."""
    return f"{refused_folder(pipeline)}/{etag[:12]}-{name}"


def reading_key(pipeline: str) -> str:
    """Return the key of the record of how far a file was read."""
    return f"labels/{pipeline}/reading.json"


@dataclass(frozen=True, kw_only=True)
class InboxPlace:
    """How far a file was read."""

    source: str = document_key("source", "a digest", is_text)
    """Digest of its key and its ETag."""
    parts: int = document_key("parts", "a number", lambda v: is_whole(v, 0))
    """Parts of it that were passed on."""

    @classmethod
    def read(cls, document: object) -> "InboxPlace":
        """Read it from plain data; DocumentError."""
        return from_json(cls, document, label="the record of a file of labels", closed=False)


@dataclass(frozen=True, kw_only=True)
class InboxResult:
    """What became of a file of labels, beside it as `NAME.json`."""

    time: str = document_key("time", "a time", is_text)
    """When it was read."""
    accepted: int = document_key("accepted", "a number", lambda v: is_whole(v, 0))
    """Labels that were passed on."""
    malformed: int = document_key("malformed", "a number", lambda v: is_whole(v, 0), default=0)
    """Rows without a label."""
    reasons: tuple[str, ...] = texts_key("reasons")
    """A line for each of the first of these."""
    refused: str = document_key("refused", "a text", lambda v: isinstance(v, str), default="")
    """Why it could not be read, or not to its end; empty for one that was."""

    @classmethod
    def read(cls, document: object) -> "InboxResult":
        """Read it from plain data; DocumentError."""
        return from_json(cls, document, label="what became of a file of labels", closed=False)

    @property
    def text(self) -> str:
        """The result in words."""
        said = f"{self.accepted} labels are passed on"
        if self.malformed:
            said += f", {self.malformed} rows have none ({self.reasons[0]})"
        return f"{said}; it is refused: {self.refused}" if self.refused else said


@dataclass(frozen=True, kw_only=True)
class InboxStatus:
    """What the decision service knows of files of labels."""

    waiting: int = document_key("waiting", "a number", lambda v: is_whole(v, 0), default=0)
    """Files that are not read yet."""
    refused: int = document_key("refused", "a number", lambda v: is_whole(v, 0), default=0)
    """Files in the folder of refused ones."""
    file: str = document_key("file", "a text", lambda v: isinstance(v, str), default="")
    """Key of the last of them; empty without one."""
    reason: str = document_key("reason", "a text", lambda v: isinstance(v, str), default="")
    """Why it was refused."""
    time: str = document_key("refusedAt", "a text", lambda v: isinstance(v, str), default="")
    """When."""

    @classmethod
    def read(cls, document: object) -> "InboxStatus":
        """Read it from plain data; DocumentError."""
        return from_json(cls, document, label="the status of files of labels", closed=False)

    @property
    def text(self) -> str:
        """What a person should know, in one line; empty while nothing is refused or waits."""
        parts = [f"{_count_files(self.waiting)} to be read"] if self.waiting else []
        if self.refused:
            why = f" at {self.time}: {self.reason}" if self.reason else ""
            parts.append(
                f"{_count_files(self.refused)} refused, the last one {escape_text(self.file)}{why}; delete it there once "
                "its labels are loaded"
            )
        return "; ".join(parts)


def _count_files(count: int) -> str:
    return "1 file of labels" if count == 1 else f"{count} files of labels"
