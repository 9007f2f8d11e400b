"""docs/reference/contract.md, made from `contract/`."""

import ast
import dataclasses
import inspect
import itertools
import json
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import ModuleType

from driftloop.contract import (
    alibi,
    batches,
    captures,
    distributions,
    documents,
    events,
    functions,
    handovers,
    images,
    inboxes,
    labels,
    names,
    outcomes,
    platform,
    quality,
    recorders,
    records,
    replays,
    runs,
    streams,
    tracking,
    trees,
    verdicts,
    windows,
)

HANDOVERS: dict[type, str] = {
    handovers.RetrainPolicy: "`driftloop-decision --policy`.",
    handovers.DetectorSettings: "`driftloop-detector serve --config`, `fit --detector`, and detector.json at rest.",
    functions.FunctionSettings: "`function` of the detector's settings, and `driftloop-train monitor --settings`.",
    handovers.GateRule: "`driftloop step gate --gates`, a list of them.",
    handovers.RolloutLimits: "`driftloop step advance --limits`.",
    handovers.RehearsalLimits: "`driftloop step rehearse --limits`.",
    recorders.RecorderSettings: "`driftloop-recorder serve --config`.",
    recorders.RecordedRelease: "One of its `releases`.",
    recorders.WriteOrder: "Input of `driftloop-recorder write`.",
    recorders.PartRange: "`part` of it, and of what the recorder remembers.",
    batches.BatchSettings: "`batches` of the recorder's settings.",
    batches.BatchRange: "`batch` of the writer's order, and `range` of what the recorder remembers of batches.",
}
RECORDS: dict[type, str] = {
    records.Snapshot: "`runs/<run>/snapshot/snapshot.json`, written by `step snapshot`.",
    records.SnapshotBatch: "One of its `objects`.",
    records.SeenBatches: "`pipelines/P/seen.json`, written by `step snapshot`, read by `step look`.",
    records.ProductionRelease: "release.json beside production's model, written by `step snapshot`, read by `driftloop-train evaluate`.",
    records.TrialResult: "Output parameters of `driftloop-train`, read by `step pick` as the list that Argo makes of a loop.",
    records.Evaluation: "metrics.json, written by `driftloop-train evaluate`, read by `step gate` and `step register`.",
    records.GateVerdict: "verdict.json, written by `step gate`.",
    records.GateResult: "One of its `gates`.",
    records.HeldOutRows: "rows.json, written by `driftloop-train evaluate --rows`, read by `step rehearse`.",
    records.HeldOutRow: "One of its `rows`.",
    records.StoredReference: "reference.stored.json in a release's detector, written by `step store`, read by `step fetch`.",
    records.PruneRecord: "`pipelines/P/pruned.json`, written by `step prune` and `driftloop prune`.",
    records.CapturedRequests: "requests.json, written by `step claim`, read by `step rehearse`.",
    records.Rehearsal: "rehearsal.json, written by `step rehearse`, read by `step register` and `step finish`.",
    records.RunRecord: "Data of the events of a run.",
    runs.RunReport: "`runs/<run>/run.json`, written by `step snapshot` and `step finish`, shown by `driftloop runs`.",
    runs.RunAlarm: "Its `alarm`.",
    runs.RunStep: "One of its `steps`.",
    runs.RunData: "Its `data`.",
    runs.RunTrial: "One of its `trials`.",
    runs.RunDigests: "Its `digests`.",
    tracking.TrackedRun: "`runs/<run>/tracking.json`, written by what tells a tracking server, shown by `driftloop runs show`.",
    tracking.TrackingStatus: "Answer of the decision service's `GET /tracking`, shown by `driftloop status`.",
    verdicts.WindowRecord: "A message of the verdict stream, written and read by `driftloop-detector`.",
    verdicts.ColumnChange: "A column that the details of a verdict name, in `columns`.",
    quality.SlicedQuality: "`slices` in the details of a verdict.",
    quality.SliceQuality: "One of its `slices`.",
    quality.EstimatedQuality: "`estimate` in the details of a verdict.",
    verdicts.LastingRecord: "`lasting` in the details of a verdict.",
    distributions.StoredDistribution: "One of `distributions` in the details of an alarm as it is stored: a column's shares.",
    verdicts.UnjudgedRecord: "Beside the verdicts of a release, under `<subject>.unjudged`; read by `driftloop status`.",
    alibi.AlibiSettings: "`alibi` of the detector's settings.",
    functions.RowsHead: "First line of the rows that a detector sends to a user's function.",
    functions.ColumnHead: "One of its `columns`.",
    functions.FunctionVerdict: "Answer of `driftloop-train monitor` to a window.",
    functions.FunctionFailure: "Its answer to rows that the function failed on.",
    replays.ReplayOrder: "`driftloop-detector replay --order`, written by `driftloop backtest`.",
    replays.InjectedChange: "One of its `changes`.",
    replays.ReplayReport: "Printed by `driftloop-detector replay`, read by `driftloop backtest`.",
    replays.ReplayRecord: "Its `plain`, and one of its `changed`.",
    windows.OpenWindow: "Answer of a detector's `GET /window`; `driftloop status` and `driftloop why` show it.",
    windows.PendingWindows: "Its `together`.",
    records.LoopRecord: "Data of the event that the loop waits.",
    outcomes.RunOutcome: "`runs/<run>/outcome.json`, and output `outcome` of a Workflow's last step.",
    labels.LabelBatch: "Data of an event of labels.",
    labels.RequestLabel: "One of its `labels`, and of those that are posted to the decision service's `/labels`.",
    labels.LabelReceipt: "Answer of the decision service to labels.",
    inboxes.InboxPlace: "`labels/P/reading.json` in the bucket of runs.",
    inboxes.InboxStatus: "Answer of the decision service to `GET /labels`, and part of `driftloop status --output json`.",
    inboxes.InboxResult: "`NAME.json` beside a file of labels that was read or refused.",
    labels.LabelCounts: "`labels` in the details of a verdict, and of `GET /window`.",
    verdicts.VerdictRecord: "Data of a detector's event, as the decision reads it.",
    recorders.RecorderState: "The last message of a recorder's subject in `DRIFTLOOP_RECORDERS`.",
    captures.RecorderTrouble: "Its `trouble`.",
    batches.BatchState: "`batch` of the recorder's message.",
    batches.BatchResult: "`batch` of what the writer prints, and the metadata of a batch's ledger.",
    recorders.WriteResult: "Printed by `driftloop-recorder write`.",
}
IMAGES: dict[type, str] = {
    images.ImageRecord: "`images/<digest of the ref>/image.json` of the local runtime's state folder.",
}
P, N, R, D = "P", "N", "<release>", "<detector>"


def reference() -> str:
    """Return the whole page."""
    return "\n\n".join(block.strip() for block in blocks()) + "\n"


def blocks() -> Iterator[str]:
    yield "# Contract"
    yield (
        "Everything that crosses from one room or program to another, once: generated from "
        "`pipeline/driftloop/contract/`. `P` is a pipeline, `N` its namespace."
    )
    yield "## Names"
    yield "`contract/names.py`. A pipeline has at most 34 characters, so object names stay within 52."
    yield table(("name", "of"), name_rows())
    yield "### Labels and annotations"
    yield table(("key", "meaning"), label_rows())
    yield "### Addresses"
    yield "The same in every cluster; the local runtime's Envoy resolves them, too."
    yield table(("address", "of"), address_rows())
    yield "## Settings"
    yield (
        f"`contract/platform.py`: keys of the ConfigMap and the Secret `{names.PLATFORM}` in each pipeline's "
        "namespace. Pods take single keys as environment variables."
    )
    yield table(
        ("key", "object", "environment variable", "value", "example"),
        (
            (code(row.key), row.kind, code(row.environment), row.description, code(row.example))
            for row in platform.SETTINGS
        ),
    )
    rclone = ", ".join(map(code, platform.rclone_settings("", "", "")))
    yield f"The Secret also holds the object store's credentials as Seldon's rclone initializer reads them: {rclone}."
    yield "## Events"
    yield "`contract/events.py`. Own events carry the extensions of the pipeline, its namespace and the release."
    yield table(
        ("type", "sent by", "received by", "data", "id"),
        (
            (code(row.type), row.sender, row.receivers, row.data, row.id)
            for row in events.EVENT_TYPES
        ),
    )
    yield "### Extension attributes"
    yield table(("attribute", "meaning"), extension_rows())
    yield "## Streams and buckets"
    yield "`contract/streams.py`, on NATS JetStream. A stream of one pipeline has its names in upper case."
    yield table(
        ("stream", "subjects", "holds", "limits"),
        (
            (code(row.name), listed(row.subjects), row.description, limits(row))
            for row in all_streams()
        ),
    )
    yield table(
        ("bucket", "keys", "holds", "values kept"),
        (
            (code(row.name), code(row.keys), row.description, str(row.history))
            for row in streams.BUCKETS
        ),
    )
    yield "## Hand-overs"
    yield (
        "`contract/handovers.py`: JSON that a rendered command hands to the program it starts. Unknown keys and "
        "other values are refused by name."
    )
    for record, place in HANDOVERS.items():
        yield f"### {record.__name__}"
        yield place
        yield table(("key", "allowed", "default", "meaning"), document_rows(record))
    yield "## Records"
    yield (
        "`contract/records.py`, `contract/runs.py` and `contract/verdicts.py`: files of a run in the bucket, and data of "
        "events. A reader checks the keys it needs and leaves others alone."
    )
    for record, place in RECORDS.items():
        yield f"### {record.__name__}"
        yield place
        yield table(("key", "allowed", "default", "meaning"), document_rows(record))
    yield "### Outcomes"
    yield "`contract/outcomes.py`. The exit code is that of a command that waited, such as `driftloop trigger --wait`."
    yield table(
        ("outcome", "meaning", "exit code"),
        (
            (code(kind), outcomes.describe_kind(kind), str(outcomes.exit_code(kind)))
            for kind in outcomes.OUTCOME_KINDS
        ),
    )
    yield "## Images of the local runtime"
    yield "`contract/images.py`. A reader leaves other keys alone."
    for record, place in IMAGES.items():
        yield f"### {record.__name__}"
        yield place
        yield table(("key", "allowed", "default", "meaning"), document_rows(record))
    yield "## Captured traffic"
    yield (
        "`contract/captures.py`: columns of each Parquet file of the recorder, before those of requests (by name) and of "
        f"answers (`{captures.ANSWER}`, or `{captures.ANSWER}.NAME`). A column of a request with one of these names is "
        "called `request.NAME`. Files are "
        f"`{captures.traffic_key(P)}/{captures.TrafficPart('<day>', R, '<stream>', 1, 2, 3, 4).key}` in the bucket, where the "
        "numbers are those of the part, of its first and last event, and of its rows."
    )
    yield table(
        ("column", "type", "meaning"),
        ((code(row.name), row.type, row.description) for row in captures.TRAFFIC_COLUMNS),
    )
    yield "A recorder counts:"
    yield table(("count", "of"), ((code(name), text) for name, text in recorders.COUNTS.items()))
    yield "## Paths"
    yield "`contract/trees.py`: the cluster repository."
    yield table(("path", "of"), path_rows())
    yield "The bucket of runs:"
    yield table(("key", "of"), key_rows())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def code(text: str) -> str:
    return f"`{text}`" if text else "–"


def listed(texts: Iterable[str]) -> str:
    return ", ".join(map(code, texts))


def summary(member: object) -> str:
    """Return a docstring as one line, without the full stop."""
    return " ".join((inspect.getdoc(member) or "").split()).removesuffix(".")


def constants(module: ModuleType) -> Iterator[tuple[str, str, str]]:
    """Yield (name, value, docstring) of a module's documented text constants."""
    source = inspect.getsource(module)
    lines = source.splitlines()
    for number, line in enumerate(lines[:-1]):
        name, equals, _ = line.partition(" = ")
        following = lines[number + 1]
        if equals and name.isidentifier() and name.isupper() and following.startswith('"""'):
            value = getattr(module, name)
            if isinstance(value, str):
                text = "\n".join(lines[number + 1 :])[3:].partition('"""')[0]
                yield name, value, " ".join(text.split()).removesuffix(".")


def name_rows() -> Iterator[tuple[str, str]]:
    example = names.Names(P, N)
    for name, member in vars(names.Names).items():
        if name.startswith("_") or name in ("host",) or name.endswith("_url"):
            continue
        if isinstance(member, property):
            yield code(getattr(example, name)), summary(member.fget)
        elif inspect.isfunction(member):
            value = member(example, *sample(member))
            yield code(value), summary(member)


def document_rows(record: type) -> Iterator[tuple[str, str, str, str]]:
    docs = field_docs(record)
    for field, name in documents.keys_of(record):
        default = field.default
        shown = "required" if default is dataclasses.MISSING else code(json.dumps(default))
        yield code(name.name), name.allowed, shown, docs.get(field.name, "")


def field_docs(record: type) -> dict[str, str]:
    """Return the docstring below each field of a dataclass."""
    body = ast.parse(textwrap.dedent(inspect.getsource(record))).body[0]
    docs: dict[str, str] = {}
    assert isinstance(body, ast.ClassDef)
    for statement, following in itertools.pairwise(body.body):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            match following:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    docs[statement.target.id] = " ".join(text.split()).removesuffix(".")
    return docs


def sample(method: Callable[..., str]) -> list[object]:
    """Return an argument for each parameter after self."""
    values: dict[str, object] = {
        "name": D,
        "side": "<side>",
        "release": R,
        "nodes": (),
        "tree": "<tree>",
    }
    return [
        values[name]
        for name, parameter in list(inspect.signature(method).parameters.items())[1:]
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY
    ]


def label_rows() -> Iterator[tuple[str, str]]:
    for name, value, text in constants(names):
        if name.endswith(("_LABEL", "_ANNOTATION")):
            yield code(value), text


def address_rows() -> Iterator[tuple[str, str]]:
    example = names.Names(P, N)
    yield code(names.GATEWAY_URL), "Ingress gateway"
    yield code(names.NATS_URL), "NATS"
    yield code(names.STORAGE_URL), "Object store"
    for name, member in vars(names.Names).items():
        if name.endswith("_url"):
            if isinstance(member, property):
                yield code(getattr(example, name)), summary(member.fget)
            else:
                yield code(member(example, *sample(member))), summary(member)


def extension_rows() -> Iterator[tuple[str, str]]:
    for _, value, text in constants(events):
        if text.startswith("Extension"):
            yield code(value), text.partition(": ")[2] or text


def all_streams() -> Iterator[streams.Stream]:
    yield streams.VERDICTS
    yield streams.DEAD_LETTERS
    yield streams.DetectorStreams(N, P, D, R).events_stream
    yield streams.AnalysisStreams(N, P).responses
    yield streams.RecorderStreams(N, P).events_stream
    yield streams.RECORDERS
    yield streams.event_bus_stream(N)


def limits(stream: streams.Stream) -> str:
    parts = []
    if stream.max_age:
        parts.append(f"{stream.max_age / streams.HOUR:g} h")
    if stream.max_bytes > 0:
        parts.append(
            f"{stream.max_bytes // streams.MIB} MiB, then {'refuses' if stream.refuses_when_full else 'drops'}"
        )
    if stream.max_msgs > 0:
        parts.append(f"{stream.max_msgs} messages, then drops")
    if stream.max_msgs_per_subject > 0:
        parts.append(f"{stream.max_msgs_per_subject} messages a subject")
    return "; ".join(parts) or "none"


def path_rows() -> Iterator[tuple[str, str]]:
    yield code(trees.spec_path(P)), "Spec, byte for byte"
    yield code(trees.release_path(P)), "Release, the only state that automation writes"
    for folder in trees.pipeline_folders(P):
        yield code(folder), "Rendered objects"
    yield (
        code(trees.access_path("<cluster>", P)),
        "Namespace of the pipeline, and accounts that it must not change",
    )
    yield code(trees.flux_path("<cluster>", P)), "Flux Kustomizations of the pipeline"
    yield code(trees.INFRASTRUCTURE), "Platform, by hand"
    yield code(trees.platform_folder("<cluster>")), "Settings and sealed credentials of a cluster"
    yield code(trees.platform_path("<cluster>")), "Flux Kustomization that applies them"


def key_rows() -> Iterator[tuple[str, str]]:
    run = "<run>"
    yield code(trees.run_key(run)), "Folder of a run"
    yield code(trees.report_key(run)), "Everything about the run, from its trigger to its outcome"
    yield code(trees.snapshot_key(run)), "Data that the run saw"
    yield code(trees.verdict_key(run)), "Gates and how the candidate did"
    yield code(trees.release_key(run)), "Model and detectors of the release"
    yield code(trees.seen_key(P)), "Batches that some run has seen"
