"""release.yaml: which versions of a model exist in which role, the traffic weights and the
phase.

The only state automation writes. A move is a pure function from one Release to the next, so `git
revert` of its commit is its undo, and no move depends on anything that is not in the file.

    empty -first-> stable -shadow-> shadow -canary-> canary (again and again) -promote-> stable
                     ^                |                 |
                     +-----reject-----+-----reject------+        stable -rollback-> stable
                     +--------------leave---------------+        stable -leave-> stable

A promotion is two commits in one push (`stages`), so that its undo is the release before the
rollout.
"""

from typing import Annotated, Any, Literal, Self, assert_never

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from driftloop.errors import ReleaseError
from driftloop.text.dump import dump_yaml
from driftloop.text.load import describe_problem
from driftloop.text.node import YamlNode
from driftloop.text.read import ReadRules, read

_RULES = ReadRules(max_bytes=256 * 1024, aliases=False, text_keys=True, exact=True)

Phase = Literal["empty", "stable", "shadow", "canary"]
ReleaseId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]{0,15}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Signature = Annotated[str, StringConstraints(pattern=r"^RU[A-Za-z0-9+/]{97}=$")]
Uri = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+://\S+$")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        alias_generator=to_camel,
        allow_inf_nan=False,
    )


class Recent(_Frozen):
    """Metrics of a version, and of production at its time, on held-out rows that production had
    not seen."""

    against: ReleaseId
    """The production it was compared with."""
    rows: Annotated[int, Field(ge=1)]
    """Number of rows."""
    metrics: dict[str, float]
    """The version's own metrics on them."""
    production: dict[str, float]
    """Production's metrics on them."""


class NumbersAlike(_Frozen):
    """A version's answers that are numbers, beside production's, to recent rows in its rehearsal."""

    against: ReleaseId
    """The production it was compared with."""
    rows: Annotated[int, Field(ge=1)]
    """Number of rows."""
    tolerance: Annotated[float, Field(ge=0)]
    """Distance at which two answers count as alike, from the residuals of both."""
    agreement: Annotated[float, Field(ge=0, le=1)]
    """Share of the rows that both answered alike."""


class Rehearsed(_Frozen):
    """A version's answers in its rehearsal, before any traffic."""

    start: Annotated[float, Field(ge=0)]
    """Seconds until its server had loaded the model."""
    p99: Annotated[float, Field(ge=0)] | None = None
    """99th percentile of its answer times, in seconds; None when no row was asked."""
    rows: Annotated[int, Field(ge=0)]
    """Rows that it answered."""
    numbers: NumbersAlike | None = None
    """None unless its answers are numbers and production was asked, too. `agreement: auto` is
    worked out from it."""


class Version(_Frozen):
    """One trained model: what a predictor serves, and where it came from."""

    id: ReleaseId
    """Release id and predictor name: `r` and eight hex digits of the run's hash."""
    run: str
    """Run id: the Workflow that trained it."""
    model: Uri
    """Address of the model's files, `s3://bucket/runs/<run>/release/model`."""
    model_digest: Digest
    """Digest over the model's files."""
    detectors: Uri | None = None
    """Folder of the detectors fitted on this version's reference data; none without monitors."""
    detector_digests: dict[Name, Digest] = Field(default_factory=dict)
    """Digest over each detector's files, by name; empty from older versions of driftloop, whose
    detectors are not checked."""
    monitor_digests: dict[Name, Digest] = Field(default_factory=dict)
    """Digest of the settings that each detector was fitted with, by name; empty from older versions of
    driftloop, of whose detectors nobody knows."""
    fitted_by: str | None = None
    """Run that fitted the detectors anew, after the monitors had changed and the model had not; None:
    the run that trained it."""
    record_digests: dict[Name, Digest] = Field(default_factory=dict)
    """Digest over the folders that its run left beside its model, by name: `snapshot` (the batches,
    and which were recent) and `evaluation` (metrics and held-out rows); empty from older versions
    of driftloop, whose folders are not checked."""
    data_digest: Digest
    """Digest of the data snapshot it was trained on."""
    recipe_digest: Digest | None = None
    """Digest of code, parameters and images that made it; None from older versions of driftloop."""
    forced: bool = False
    """A person forced its run, though there may have been nothing new."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Metrics on the held-out rows."""
    recent: Recent | None = None
    """On the recent ones; None for a first release. `agreement: auto` is worked out from it."""
    rehearsed: Rehearsed | None = None
    """None without a rehearsal. Probes leave its server time accordingly."""
    signature: Signature | None = None
    """Signature of all of this by the platform's key (`release/signing.py`), in minisign's format; None
    where the spec did not ask for one."""


class LeftRelease(_Frozen):
    """A release that the loop went back from by itself, because of alarms about it."""

    release: ReleaseId
    """The release that was left; the loop never goes back to it by itself."""
    to: ReleaseId
    """The one that was production after it."""
    decision: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
    """Id of the order."""
    cause: str
    """The alarm, and what it says."""


MOST_LEFT = 20
"""Releases that were left, the newest of them; a candidate to go back to is one of the last two."""


class Release(_Frozen):
    """Content of release.yaml. Build it with `empty`, `load` or a move; weights are percent and
    sum to 100."""

    name: Name
    namespace: Name
    phase: Phase = "empty"
    production: Version | None = None
    candidate: Version | None = None
    """Present in shadow and canary only."""
    previous: Version | None = None
    """Version that `rollback` restores; set at promotion."""
    weights: dict[str, Annotated[int, Field(ge=0, le=100)]] = Field(default_factory=dict)
    """Percent of the traffic per release id; the candidate is absent in shadow."""
    left: tuple[LeftRelease, ...] = ()
    """Releases that the loop went back from by itself, the newest last."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if problem := _problem(self):
            raise ValueError(problem)
        return self


def _problem(release: Release) -> str | None:
    match release.phase:
        case "empty":
            if release.production or release.candidate or release.previous or release.weights:
                return "phase `empty` has no production, candidate, previous or weights"
            return None
        case "stable":
            live = {release.production.id} if release.production else set()
        case "shadow" | "canary":
            if release.candidate is None:
                return f"phase `{release.phase}` needs a candidate"
            live = {release.production.id} if release.production else set()
            if release.candidate.id in live:
                return f"candidate and production are both `{release.candidate.id}`"
            if release.phase == "canary":
                live.add(release.candidate.id)
        case _:
            assert_never(release.phase)
    if release.production is None:
        return f"phase `{release.phase}` needs production"
    if release.phase == "stable" and release.candidate is not None:
        return "phase `stable` has no candidate"
    if set(release.weights) != live:
        expected = ", ".join(f"`{id}`" for id in sorted(live))
        named = ", ".join(f"`{id}`" for id in sorted(release.weights)) or "nothing"
        return f"weights name {named}, must name {expected} in phase `{release.phase}`"
    if (total := sum(release.weights.values())) != 100:
        return f"weights sum to {total}, must sum to 100"
    return None


def empty_release(name: str, namespace: str) -> Release:
    """A pipeline before its first release."""
    return Release(name=name, namespace=namespace)


# Moves


def release_first(release: Release, version: Version) -> Release:
    """empty -> stable: the first version takes all traffic."""
    _needs(release, "first release", "empty")
    return _moved(release, phase="stable", production=version, weights={version.id: 100})


def start_shadow(release: Release, version: Version) -> Release:
    """stable -> shadow: the candidate sees a copy of the traffic and answers nobody."""
    _needs(release, "shadow", "stable")
    if release.production is not None and release.production.id == version.id:
        raise ReleaseError(
            f"`{version.id}` is already production", hint="a new candidate comes from a new run"
        )
    if is_same_model(release.production, version):
        raise ReleaseError(
            f"`{version.id}` is the very model that is production, {version.model_digest[:19]}",
            hint="a candidate brings another model: new batches, or other code or parameters",
        )
    return _moved(release, phase="shadow", candidate=version)


def is_same_model(one: Version | None, other: Version) -> bool:
    """Return True if both versions are the same bytes."""
    return one is not None and one.model_digest == other.model_digest


def set_canary(release: Release, percent: int) -> Release:
    """shadow | canary -> canary: the candidate answers `percent` of the traffic (1 to 99)."""
    _needs(release, f"canary at {percent} %", "shadow", "canary")
    if not 1 <= percent <= 99:
        raise ReleaseError(
            f"canary weight is {percent}, must be between 1 and 99",
            hint="`promote` sends all traffic to the candidate",
        )
    production, candidate = _both(release)
    return _moved(
        release, phase="canary", weights={production.id: 100 - percent, candidate.id: percent}
    )


def promote_candidate(release: Release) -> Release:
    """shadow | canary -> stable: the candidate becomes production, production becomes previous.

    `previous` is always another model: a rollback to the same one would restore nothing.
    """
    _needs(release, "promotion", "shadow", "canary")
    production, candidate = _both(release)
    previous = release.previous if is_same_model(production, candidate) else production
    if is_same_model(previous, candidate):
        previous = None
    return _moved(
        release,
        phase="stable",
        production=candidate,
        candidate=None,
        previous=previous,
        weights={candidate.id: 100},
    )


def carry_version(release: Release, version: Version) -> Release:
    """empty -> stable, stable -> shadow: a version that is production on another cluster is the first here, or the
    candidate. Nothing moves when it is there already."""
    if version in (release.production, release.candidate):
        return release
    if release.phase == "empty":
        return release_first(release, version)
    return start_shadow(release, version)


def reject_candidate(release: Release) -> Release:
    """shadow | canary -> stable: the candidate goes, production has all traffic as before."""
    _needs(release, "rejection", "shadow", "canary")
    production, _ = _both(release)
    return _moved(release, phase="stable", candidate=None, weights={production.id: 100})


def restore_previous(release: Release) -> Release:
    """stable -> stable: the previous version is production again.

    What it replaces is in git's history, not in `previous`: a second rollback must not bring the
    bad model back.
    """
    _needs(release, "rollback", "stable")
    if release.previous is None:
        raise ReleaseError(
            f"`{release.name}` has no previous version to roll back to",
            hint="`git log` of deployments/ shows all earlier versions; `git revert` restores one",
        )
    return restore_version(release, release.previous)


def leave_production(release: Release, *, decision: str, cause: str) -> Release:
    """stable | shadow | canary -> stable: the previous version is production again, by the loop itself.

    A candidate goes with the production that it was measured against. ReleaseError says why there is no
    way back: production was itself gone back to, there is no previous version, or the loop has left that
    one before.
    """
    _needs(release, "rollback", "stable", "shadow", "canary")
    production, previous = release.production, release.previous
    assert production is not None  # noqa: S101 - the model checks it
    last = release.left[-1] if release.left else None
    if last is not None and last.to == production.id and previous is None:
        raise ReleaseError(
            f"the loop went back to {production.id} from {last.release} by itself, and goes back no further"
        )
    if previous is None:
        raise ReleaseError(f"there is no release before {production.id}")
    if (before := find_left(release, previous.id)) is not None:
        raise ReleaseError(
            f"the release before it, {previous.id}, was itself left because of {before.cause}"
        )
    if release.candidate is not None:
        release = reject_candidate(release)
    left = LeftRelease(release=production.id, to=previous.id, decision=decision, cause=cause)
    return _moved(
        restore_previous(release),
        left=(*(each for each in release.left if each.release != production.id), left)[-MOST_LEFT:],
    )


def find_left(release: Release, id: str) -> LeftRelease | None:
    """Return how the loop left a release by itself; None when it never did."""
    return next((each for each in release.left if each.release == id), None)


def restore_version(release: Release, version: Version) -> Release:
    """stable -> stable: an earlier version is production again, and none is `previous`."""
    _needs(release, "rollback", "stable")
    return _moved(release, production=version, previous=None, weights={version.id: 100})


def split_move(before: Release, after: Release) -> tuple[Release, ...]:
    """The releases that a move from one to the other goes through, one commit each; none when
    nothing moves.

    A promotion goes through the release as it was before the rollout began, so that taking back
    its last commit takes back the rollout, not only its last step. So does what leaves production
    during a rollout. Everything else is one commit.
    """
    if after == before:
        return ()
    ended = before.candidate is not None and after.candidate != before.candidate
    if ended and after.production != before.production:
        return (reject_candidate(before), after)
    return (after,)


def _needs(release: Release, move: str, *phases: Phase) -> None:
    if release.phase not in phases:
        allowed = " or ".join(f"`{phase}`" for phase in phases)
        raise ReleaseError(
            f"`{release.name}` is in phase `{release.phase}`; {move} needs phase {allowed}",
            hint=_HINTS[release.phase],
        )


_HINTS: dict[Phase, str] = {
    "empty": "the first training run makes the first version: `driftloop trigger`",
    "stable": "no candidate is being rolled out; start a training run: `driftloop trigger`",
    "shadow": "a candidate is being rolled out; end it with `driftloop promote` or `driftloop rollback`",
    "canary": "a candidate is being rolled out; end it with `driftloop promote` or `driftloop rollback`",
}


def _both(release: Release) -> tuple[Version, Version]:
    assert release.production is not None and release.candidate is not None  # noqa: S101, PT018 - the model checks it
    return release.production, release.candidate


def _moved(release: Release, **changes: Any) -> Release:
    # model_copy does not validate; a move that breaks the rules must never reach git.
    return Release.model_validate({**dict(release), **changes})


# The file


class _Metadata(_Frozen):
    name: Name
    namespace: Name


class _Spec(_Frozen):
    phase: Phase
    production: Version | None = None
    candidate: Version | None = None
    previous: Version | None = None
    weights: dict[str, int] = Field(default_factory=dict)
    left: tuple[LeftRelease, ...] = ()


class _Document(_Frozen):
    api_version: Literal["driftloop.dev/v1alpha1"]
    kind: Literal["Release"]
    metadata: _Metadata
    spec: _Spec


def load_release(text: str, *, path: str = "release.yaml") -> Release:
    """A release from the text of its file; ReleaseError says `path:line: what is wrong`, all
    findings at once."""
    reading = read(text, rules=_RULES)
    if reading.problems:
        lines = (describe_problem(problem, path) for problem in reading.problems)
        raise ReleaseError("\n".join(lines), hint=_HAND)
    if len(reading.documents) > 1:
        second = reading.documents[1]
        message = (
            f"{path}:{second.line}:{second.column}: a second document begins, must be the only one"
        )
        raise ReleaseError(message, hint=_HAND)
    node = reading.documents[0] if reading.documents else YamlNode(None, 1, 1)
    value = node.plain_data()
    try:
        document = _Document.model_validate(value)
    except ValidationError as error:
        findings = [
            f"{path}:{_line(node, detail['loc'])}: {'.'.join(map(str, detail['loc'])) or 'the file'}: {_said(detail)}"
            for detail in error.errors()
        ]
        raise ReleaseError("\n".join(findings), hint=_HAND) from error
    spec = document.spec
    try:
        return Release(
            name=document.metadata.name,
            namespace=document.metadata.namespace,
            phase=spec.phase,
            production=spec.production,
            candidate=spec.candidate,
            previous=spec.previous,
            weights=spec.weights,
            left=spec.left,
        )
    except ValidationError as error:
        findings = [
            f"{path}:{_line(node, ('spec', *detail['loc']))}: {_said(detail)}"
            for detail in error.errors()
        ]
        raise ReleaseError("\n".join(findings), hint=_HAND) from error


def dump_release(release: Release) -> str:
    """The text of release.yaml: same release, same bytes."""
    fields = release.model_dump(mode="json", by_alias=True)
    for role in ("production", "candidate", "previous"):
        if fields[role] is not None:
            # left out where they say nothing, so that a file of an older version keeps its bytes
            fields[role] = {k: v for k, v in fields[role].items() if k not in _SPARSE or v}
            rehearsed = fields[role].get("rehearsed")
            if rehearsed is not None and rehearsed["numbers"] is None:
                del rehearsed["numbers"]
    if not fields["left"]:
        del fields["left"]
    metadata = {"name": fields.pop("name"), "namespace": fields.pop("namespace")}
    document = {
        "apiVersion": "driftloop.dev/v1alpha1",
        "kind": "Release",
        "metadata": metadata,
        "spec": fields,
    }
    return dump_yaml(document)


_SPARSE = (
    *("recipeDigest", "forced", "detectorDigests", "monitorDigests", "fittedBy", "recordDigests"),
    "signature",
)

_HAND = "correct the file, or `git revert` the commit that changed it; only `weights` is meant to be changed by hand"


def _said(found: Any) -> str:
    message = str(found["msg"]).removeprefix("Value error, ")
    value = found.get("input")
    return f"is {value!r}: {message}" if isinstance(value, str | int | float | bool) else message


def _line(node: YamlNode, where: tuple[Any, ...]) -> int:
    """The line of the deepest value on the way that exists."""
    return node.get(*where).place[0]
