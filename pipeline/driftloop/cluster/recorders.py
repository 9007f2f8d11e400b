"""State of a cluster's recorder, asked through the API server."""

from collections.abc import Iterator

from driftloop.cluster.reader import ClusterError, TextReader
from driftloop.contract.batches import BatchState
from driftloop.contract.captures import RecorderTrouble
from driftloop.contract.documents import DocumentError, parse_json
from driftloop.contract.names import SERVICE_PORT, Names
from driftloop.contract.recorders import RecorderState


def describe_recorder(reader: TextReader, names: Names) -> Iterator[str]:
    """Yield a line when the recorder of a pipeline writes nothing; none where the pipeline has no recorder.
    ClusterError when it can't be asked."""
    home = f"namespaces/{names.namespace}"
    if reader.get(f"/apis/apps/v1/{home}/deployments/{names.recorder}") is None:
        return
    text = reader.text(f"/api/v1/{home}/services/{names.recorder}:{SERVICE_PORT}/proxy/state")
    try:
        answer = parse_json(text or "{}", label="the recorder's answer")
        found = answer if isinstance(answer, dict) else {}
        trouble, batch = found.get("trouble"), found.get("batch")
        state = RecorderState(
            trouble=RecorderTrouble.read(trouble) if trouble is not None else None,
            batch=BatchState.read(batch) if batch is not None else None,
        )
    except DocumentError as error:
        raise ClusterError(error.message) from error
    for since, told in state.list_troubles(names.pipeline, found.get("waiting")):
        yield f"since {since}: {told}"
