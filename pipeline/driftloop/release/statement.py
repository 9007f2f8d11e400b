"""Statement of a release that the platform's key signs.

The signed text names the digests, so that a pod can be given it and compare files with it; it ends
with a digest of all that release.yaml says of the version, which programs compare that read the file.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from driftloop.contract.documents import (
    DocumentError,
    document_key,
    from_json,
    is_text,
    is_text_map,
    parse_json,
    to_json,
)
from driftloop.contract.names import API_GROUP
from driftloop.release.record import Version

MODEL = "model"
"""Part of a release beside its detectors; no monitor can have this name."""

_KIND = f"{API_GROUP}/release"
"""First word of what is signed: a key may be used for other texts, too."""


@dataclass(frozen=True)
class Statement:
    """Signed facts of one version."""

    namespace: str = document_key("namespace", "a name", is_text)
    pipeline: str = document_key("pipeline", "a name", is_text)
    release: str = document_key("release", "a release id", is_text)
    model: str = document_key(MODEL, "a digest", is_text)
    detectors: Mapping[str, str] = document_key("detectors", "an object of digests", is_text_map)
    record: str = document_key("record", "a digest", is_text)
    """Digest of the version's entry in release.yaml, without the signature."""
    kind: str = document_key("kind", _KIND, lambda v: v == _KIND, default=_KIND)

    @property
    def text(self) -> str:
        """The text that is signed: same statement, same bytes."""
        return json.dumps(to_json(self), sort_keys=True, separators=(",", ":"))

    @property
    def full_name(self) -> str:
        """The pipeline, with its namespace."""
        return f"{self.namespace}/{self.pipeline}"

    @classmethod
    def parse(cls, text: str) -> "Statement":
        """Read what `text` wrote; DocumentError."""
        return from_json(cls, parse_json(text, label="the statement"), label="the statement")

    def digest_of(self, part: str) -> str | None:
        """The digest of the model, or of a detector; None for one that the release does not have."""
        return self.model if part == MODEL else self.detectors.get(part)


@dataclass(frozen=True)
class SignedPart:
    """The model of a release, or one of its detectors, with what is known of it."""

    namespace: str
    pipeline: str
    release: str
    part: str
    """`model`, or the monitor's name."""

    @property
    def text(self) -> str:
        """The part as a command names it."""
        return "/".join((self.namespace, self.pipeline, self.release, self.part))

    @classmethod
    def parse(cls, text: str) -> "SignedPart":
        """Read what `text` wrote; DocumentError."""
        parts = text.split("/")
        if len(parts) != 4 or not all(parts):
            raise DocumentError(f"`{text}` must be NAMESPACE/PIPELINE/RELEASE/PART")
        return cls(*parts)


def state_version(namespace: str, pipeline: str, version: Version) -> Statement:
    """Return what is signed of a version of a pipeline."""
    entry = version.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"signature"})
    # what says nothing is left out, so that a field that later versions add changes no signature
    said = {name: value for name, value in entry.items() if value}
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return Statement(
        namespace=namespace,
        pipeline=pipeline,
        release=version.id,
        model=version.model_digest,
        detectors=dict(version.detector_digests),
        record="sha256:" + hashlib.sha256(text.encode()).hexdigest(),
    )
