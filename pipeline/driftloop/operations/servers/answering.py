"""Ask a released model again, before it comes back: its files start in today's server image, and
answer the rows of their own rehearsal."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from driftloop.contract.documents import DocumentError
from driftloop.contract.integrity import describe_mismatch
from driftloop.contract.records import HeldOutRows
from driftloop.contract.trees import ANSWERS_FILE, ROWS_FILE, run_key, spec_path
from driftloop.errors import LocalError, ReleaseError, StoreError
from driftloop.local.ground.own_values import OwnValues
from driftloop.local.ground.state import StateFolder
from driftloop.local.kubelet.images import resolve_image
from driftloop.operations.commits.releases import CommittedPipeline
from driftloop.operations.servers.beside import start_server
from driftloop.operations.servers.rehearsal import ask_rows, wait_until_loaded
from driftloop.plan import make_plan
from driftloop.release.record import Version
from driftloop.spec import load_spec

if TYPE_CHECKING:
    from driftloop.clients.s3 import ObjectStore

MOST_ROWS = 20
"""Rows that it is asked."""


def ask_version(
    pipeline: CommittedPipeline,
    version: Version,
    store: "ObjectStore",
    state: StateFolder | None,
    report: Callable[[str], None],
) -> str | None:
    """Return why a version does not answer; None when it does, or when it can't be asked here,
    which is reported. `state` holds the images of this machine."""
    document = load_spec(pipeline.spec, path=spec_path(pipeline.name))
    plan, spec = make_plan(document), document.spec
    unasked = f"not asked whether {version.id} answers"
    if state is None:
        report(
            f"{unasked}: its server was not started, since only a state folder holds the server's image. "
            "Its model is in the store, with the digest of its release; whether the server can load "
            f"it shows in `driftloop status --cluster -n {plan.names.namespace}` after the commit"
        )
        return None
    if plan.rehearse is None or spec.serve.image is None:
        report(f"{unasked}: its server can't be rehearsed, or `rehearse` is off")
        return None
    try:
        image = resolve_image(state, spec.images[spec.serve.image].ref)
    except LocalError as error:
        report(f"{unasked}: {error.message}")
        return None
    report(f"starting {version.id} in {image.ref}, to see whether it answers")
    with tempfile.TemporaryDirectory(prefix="driftloop-") as folder:
        model, beside = Path(folder, "model"), Path(folder, "server")
        beside.mkdir()
        _fetch_model(store, version, model)
        rows = _read_rows(store, version, report)
        own = OwnValues.load(state)
        with start_server(plan, image, model, beside, own=own) as server:
            start, failure = wait_until_loaded(server, plan.rehearse.start.total_seconds())
            if start is None:
                return failure
            replies, failure = ask_rows(server, rows)
    if failure:
        return failure
    refused = [reply for reply in replies if reply.answer is None]
    if refused:
        return f"{len(refused)} of {len(replies)} rows refused, which it has answered: {refused[0].refusal}"
    report(f"{version.id} loaded in {start:.1f} s and answered {len(replies)} rows")
    return None


def _fetch_model(store: "ObjectStore", version: Version, folder: Path) -> None:
    from driftloop.clients import s3

    store.get_folder(s3.parse_location(version.model), folder)
    _refuse_other(version.model, s3.folder_digest(folder), version.model_digest)


def _refuse_other(place: object, digest: str, expected: str) -> None:
    if digest != expected:
        raise ReleaseError(
            describe_mismatch(place, digest, expected),
            hint="somebody changed it after the release: restore it first",
        )


def _read_rows(
    store: "ObjectStore", version: Version, report: Callable[[str], None]
) -> HeldOutRows:
    """Read the rows that it has answered in its rehearsal; none when it never had one."""
    from driftloop.clients import s3

    bucket = s3.parse_location(version.model).bucket
    folder = s3.StoreLocation(bucket, run_key(version.run, "evaluation"))
    expected = version.record_digests.get("evaluation")
    try:
        if expected is not None:
            _refuse_other(folder, store.digest_folder(folder), expected)
        document = store.read_json(
            s3.StoreLocation(bucket, run_key(version.run, "evaluation", ROWS_FILE))
        )
        answers = store.read_object(
            s3.StoreLocation(bucket, run_key(version.run, "rehearsal", ANSWERS_FILE))
        )
        rows = HeldOutRows.read(document)
        answered = [
            row
            for row, line in zip(rows.rows, answers.splitlines(), strict=False)
            if json.loads(line)["candidate"]["answer"] is not None
        ]
    except (StoreError, DocumentError, ValueError, KeyError, TypeError) as error:
        report(f"{version.id} is not asked rows, those of its rehearsal can't be read: {error}")
        return HeldOutRows(())
    return replace(rows, rows=tuple(answered[:MOST_ROWS]))
